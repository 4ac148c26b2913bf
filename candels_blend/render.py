"""Render the pixels of a blend from two stamps, a shift and the noise of its number.

candels-blender replaces the neighbours of a galaxy by Gaussian noise and then adds noise of the same deviation s to
the whole stamp. A pixel's noise is thus Gaussian of variance v = s**2, or 2 s**2 where a neighbour was, and that of
the blend is Gaussian of variance v1 + v2 (v2 shifted with its stamp and padded with zeros). So one deviate z per pixel
gives the blend's noise, e = sqrt(v1 + v2) z. If the two galaxies are also requested, a second deviate z' splits it:
given their sum e, the first galaxy's noise is Gaussian of mean e v1 / (v1 + v2) and variance v1 v2 / (v1 + v2), and
the second has the rest. Both are distributed as in candels-blender, and the blend is the same with or without the
split.

All pixels of a blend are integer multiples of one power of two, some 2**-22 of the brightest pixel: fine enough to
vanish in the noise, and coarse enough that their float32 sums and differences are exact. So the galaxies sum to the
image, to the last bit.
"""

from __future__ import annotations

import threading
from collections.abc import Collection

import numpy as np

from candels_blend.stamp_archive import SIZE
from candels_blend.stamps import Stamps
from candels_blend.targets import CHANNELS, MASKS

Pair = tuple[int, int, int, int]
"""Pair as in `candels_blend.draw.PAIR`: rows of the two galaxies in the stamps, dy and dx."""
TINY = np.finfo(np.float32).tiny
FLOATS = ("image", "galaxies")
PIXELS = (*FLOATS, "masks", *MASKS)
"""Rendered columns."""


def noise_generator(seed: int, number: int) -> np.random.Generator:
    """Generator of the deviates of blend `number`, determined by (seed, number)."""
    # SFC64 is NumPy's fastest: 8 % ahead of PCG64 in float32 deviates.
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence((seed, number))))


def window(shift: int) -> tuple[slice, slice]:
    """Slice of the stamp covered by a shifted axis, and the slice of the axis that falls there."""
    return slice(max(shift, 0), SIZE + min(shift, 0)), slice(max(-shift, 0), SIZE - max(shift, 0))


def grid_offset(bound: np.ndarray) -> np.ndarray:
    """Offset that rounds float32 values up to `bound` when added and subtracted: 1.5 * 2**23 grid steps."""
    return 1.5 * np.exp2(np.ceil(np.log2(np.maximum(bound, 1e-30))) + 1.0)


class _Scratch(threading.local):
    """Scratch arrays of each thread."""

    def __init__(self):
        self.variance, self.shifted, self.deviates = np.empty((3, SIZE, SIZE), np.float32)


class Renderer:
    """Renderer of blends. Thread-safe."""

    def __init__(self, stamps: Stamps, seed: int):
        self._stamps = stamps
        self._seed = seed
        self._scratch = _Scratch()

    def batch(self, numbers: np.ndarray, pairs: np.ndarray, names: Collection[str]) -> dict[str, np.ndarray]:
        """Render the named columns of `PIXELS` for blends with these numbers and pairs; arrays [n, ...].

        A blend's values depend only on its number and pair, not on the other columns requested.
        """
        shapes = {"image": (SIZE, SIZE), "masks": (2, SIZE, SIZE), "galaxies": (2, SIZE, SIZE)}
        shapes |= {name: (SIZE, SIZE, channels) for name, channels in CHANNELS.items()}
        targets = [name for name in names if name in MASKS]
        wanted = {*names, *(["image"] if "galaxies" in names else []), *(["masks"] if targets else [])}
        out = {
            name: np.empty((len(pairs), *shapes[name]), np.float32 if name in FLOATS else np.uint8) for name in wanted
        }
        offsets = grid_offset(self._stamps.bound[pairs["g1"]] + self._stamps.bound[pairs["g2"]]).astype(np.float32)
        for k, (number, pair) in enumerate(zip(numbers.tolist(), pairs.tolist(), strict=True)):
            if "image" in wanted:
                galaxies = out["galaxies"][k] if "galaxies" in wanted else None
                self._image(number, pair, offsets[k], out["image"][k], galaxies)
            if "masks" in wanted:
                self._masks(pair, out["masks"][k])
            for name in targets:
                MASKS[name](out["masks"][k], out=out[name][k])
        return out

    def _masks(self, pair: Pair, masks: np.ndarray) -> None:
        """Render the masks (uint8 [2, 128, 128]) of each galaxy's central source, the second shifted."""
        g1, g2, dy, dx = pair
        (to_y, of_y), (to_x, of_x) = window(dy), window(dx)
        masks[0] = self._stamps.central[g1]
        masks[1] = 0
        masks[1, to_y, to_x] = self._stamps.central[g2, of_y, of_x]

    def _image(
        self, number: int, pair: Pair, offset: np.float32, image: np.ndarray, galaxies: np.ndarray | None
    ) -> None:
        """Render the image (float32 [128, 128]) of a blend and, optionally, its galaxies (float32 [2, 128, 128])."""
        stamps, generator = self._stamps, noise_generator(self._seed, number)
        g1, g2, dy, dx = pair
        (to_y, of_y), (to_x, of_x) = window(dy), window(dx)
        variance, shifted = self._scratch.variance, self._scratch.shifted[to_y, to_x]
        _noise_variance(stamps.replaced[g1], stamps.variance[g1], variance)
        _noise_variance(stamps.replaced[g2, of_y, of_x], stamps.variance[g2], shifted)
        if galaxies is not None:
            first, share = galaxies
            np.copyto(first, variance)
        _add(variance[to_y, to_x], shifted)
        if galaxies is not None:
            np.divide(first, np.maximum(variance, TINY, out=share), out=share)

        generator.standard_normal(dtype=np.float32, out=image)
        image *= np.sqrt(variance, out=variance)
        if galaxies is not None:  # first galaxy's share of the noise in `image`, and its own part
            first *= np.subtract(1, share, out=variance)
            np.sqrt(first, out=first)
            first *= generator.standard_normal(dtype=np.float32, out=self._scratch.deviates)
            first += np.multiply(share, image, out=share)
            first += stamps.images[g1]
            _round(first, offset)

        image += stamps.images[g1]
        _add(image[to_y, to_x], stamps.images[g2, of_y, of_x])
        _round(image, offset)
        if galaxies is not None:
            np.subtract(image, first, out=galaxies[1])


def _add(to: np.ndarray, what: np.ndarray) -> None:
    """Add to a window of an array; `array[window] += what` would also copy the window onto itself."""
    to += what


def _noise_variance(replaced: np.ndarray, variance: np.float32, out: np.ndarray) -> None:
    """Noise variance of each pixel of a stamp: the background's, doubled where another source was replaced."""
    np.multiply(replaced, variance, out=out)
    out += variance


def _round(values: np.ndarray, offset: np.float32) -> None:
    """Round to the grid, in place; see `grid_offset`."""
    values += offset
    values -= offset
