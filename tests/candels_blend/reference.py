"""Parts of candels-blender's recipe in the plainest form, to test ours against."""

import numpy as np


def shifted(array, dy, dx):
    """The original's shift: padded by half a stamp, rolled, and cropped, so that zeros come in."""
    padded = np.roll(np.pad(array, 64), (dy, dx), axis=(0, 1))
    return padded[64:-64, 64:-64]


def binary_dilation(mask, iterations):
    """A mask of 128 x 128 pixels, dilated by a cross so many times: all pixels within that many steps of it."""
    steps = range(-iterations, iterations + 1)
    near = [shifted(mask != 0, dy, dx) for dy in steps for dx in steps if abs(dy) + abs(dx) <= iterations]
    return np.any(near, axis=0)


def pair_pixels(stamps, pair, generator):
    """Image and galaxies of a pair, by the formulas of the card, in float32 and in the order written there."""
    g1, g2, dy, dx = pair
    one = np.float32(1)
    variance1 = stamps.variance[g1] * stamps.replaced[g1] + stamps.variance[g1]
    variance2 = shifted(stamps.variance[g2] * stamps.replaced[g2] + stamps.variance[g2], dy, dx)
    both = variance1 + variance2
    noise = generator.standard_normal(dtype=np.float32, size=both.shape) * np.sqrt(both)
    share = variance1 / np.maximum(both, np.finfo(np.float32).tiny)
    own = np.sqrt(variance1 * (one - share)) * generator.standard_normal(dtype=np.float32, size=both.shape)
    step = 2.0 ** (np.ceil(np.log2(stamps.bound[g1] + stamps.bound[g2])) - 22)  # on this grid, sums are exact

    def rounded(values):
        return (np.round(values.astype(float) / step) * step).astype(np.float32)

    image = rounded(noise + stamps.images[g1] + shifted(stamps.images[g2], dy, dx))
    first = rounded(own + share * noise + stamps.images[g1])
    return image, np.stack([first, image - first])
