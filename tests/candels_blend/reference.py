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
