"""Render the pixels of a blend from its stamps, their shifts and the noise of its number.

candels-blender replaces the neighbours of a galaxy by Gaussian noise and then adds noise of the same deviation s to
the whole stamp. A pixel's noise is thus Gaussian of variance v = s**2, or 2 s**2 where a neighbour was, and that of
the blend is Gaussian of variance v1 + v2 (v2 shifted with its stamp and padded with zeros). So one deviate z per pixel
gives the blend's noise, e = sqrt(v1 + v2) z. If the two galaxies are also requested, a second deviate z' splits it:
given their sum e, the first galaxy's noise is Gaussian of mean e v1 / (v1 + v2) and variance v1 v2 / (v1 + v2), and
the second has the rest. Both are distributed as in candels-blender, and the blend is the same with or without the
split. Of more galaxies, the variances add up likewise, and the last is split off first, then the one before it, until
two are left.

All pixels of a blend are integer multiples of one power of two, some 2**-22 of the brightest pixel: fine enough to
vanish in the noise, and coarse enough that their float32 sums and differences are exact. So the galaxies sum to the
image, to the last bit.

Stamps that are not masked are added as they are, in float32, one after the other.
"""

from __future__ import annotations

import threading
from collections.abc import Collection

import numpy as np

from candels_blend.drawn import galaxies as galaxies_of
from candels_blend.drawn import n_galaxies
from candels_blend.stamp_archive import SIZE
from candels_blend.stamps import Stamps
from candels_blend.targets import MASKS, channels

Window = tuple[slice, slice]
Shifted = tuple[int, Window, Window]
"""Row of a shifted galaxy in the stamps, where it is in the blend, and the part of its stamp that is there."""
TINY = np.finfo(np.float32).tiny
FLOATS = ("image", "galaxies")
PIXELS = (*FLOATS, "masks", *MASKS)
"""Rendered columns."""


def noise_generator(seed: int, number: int) -> np.random.Generator:
    """Generator of the deviates of blend `number`, determined by (seed, number)."""
    # SFC64 is NumPy's fastest: 8 % ahead of PCG64 in float32 deviates.
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence((seed, number))))


def windows(shift: int) -> tuple[slice, slice]:
    """Slice of the stamp covered by a shifted axis, and the slice of the axis that falls there."""
    return slice(max(shift, 0), SIZE + min(shift, 0)), slice(max(-shift, 0), SIZE - max(shift, 0))


def shifted_galaxies(drawn: tuple[int, ...]) -> list[Shifted]:
    """Return where the shifted galaxies of a drawn blend (of `candels_blend.drawn.blend_dtype`) are."""
    found = []
    for place in range(1, len(drawn), 3):
        row, dy, dx = drawn[place : place + 3]
        (to_y, of_y), (to_x, of_x) = windows(dy), windows(dx)
        found.append((row, (to_y, to_x), (of_y, of_x)))
    return found


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

    def batch(self, numbers: np.ndarray, drawn: np.ndarray, names: Collection[str]) -> dict[str, np.ndarray]:
        """Render the named columns of `PIXELS` for drawn blends with these numbers; arrays [blends, ...].

        A blend's values depend only on its number, galaxies and shifts, not on the other columns requested.
        """
        n = n_galaxies(drawn)
        shapes = {"image": (SIZE, SIZE), "masks": (n, SIZE, SIZE), "galaxies": (n, SIZE, SIZE)}
        shapes |= {name: (SIZE, SIZE, channels(name, n)) for name in MASKS}
        targets = [name for name in names if name in MASKS]
        wanted = {*names, *(["image"] if "galaxies" in names else []), *(["masks"] if targets else [])}
        out = {
            name: np.empty((len(drawn), *shapes[name]), np.float32 if name in FLOATS else np.uint8) for name in wanted
        }
        if "image" in wanted:
            offsets = grid_offset(self._stamps.bound[galaxies_of(drawn)].sum(axis=1)).astype(np.float32)
            image_of = self._image if self._stamps.masked else self._plain_image
        for k, (number, blend) in enumerate(zip(numbers.tolist(), drawn.tolist(), strict=True)):
            central, others = blend[0], shifted_galaxies(blend)
            if "image" in wanted:
                galaxies = out["galaxies"][k] if "galaxies" in wanted else None
                image_of(number, central, others, offsets[k], out["image"][k], galaxies)
            if "masks" in wanted:
                self._masks(central, others, out["masks"][k])
            for name in targets:
                MASKS[name](out["masks"][k], out=out[name][k])
        return out

    def _masks(self, central: int, others: list[Shifted], masks: np.ndarray) -> None:
        """Render the masks (uint8 [n, 128, 128]) of each galaxy's central source, all but the first shifted."""
        masks[0] = self._stamps.central[central]
        masks[1:] = 0
        for mask, (row, to, of) in zip(masks[1:], others, strict=True):
            mask[to] = self._stamps.central[row][of]

    def _image(
        self,
        number: int,
        central: int,
        others: list[Shifted],
        offset: np.float32,
        image: np.ndarray,
        galaxies: np.ndarray | None,
    ) -> None:
        """Render the image (float32 [128, 128]) of a blend and, optionally, its galaxies (float32 [n, 128, 128])."""
        stamps, generator = self._stamps, noise_generator(self._seed, number)
        variance, shifted, deviates = self._scratch.variance, self._scratch.shifted, self._scratch.deviates
        _noise_variance(stamps.replaced[central], stamps.variance[central], variance)
        for place, (row, to, of) in enumerate(others):
            if galaxies is not None:
                np.copyto(galaxies[place], variance)  # of the galaxies up to this place
            _noise_variance(stamps.replaced[row][of], stamps.variance[row], shifted[to])
            _add(variance[to], shifted[to])
        generator.standard_normal(dtype=np.float32, out=image)
        image *= np.sqrt(variance, out=variance if galaxies is None else deviates)
        if galaxies is not None:
            self._split(generator, central, others, offset, image, galaxies)

        image += stamps.images[central]
        for row, to, of in others:
            _add(image[to], stamps.images[row][of])
        _round(image, offset)
        if galaxies is not None:
            _give_rest_to_second(image, others[0][1], galaxies)

    def _split(
        self,
        generator: np.random.Generator,
        central: int,
        others: list[Shifted],
        offset: np.float32,
        noise: np.ndarray,
        galaxies: np.ndarray,
    ) -> None:
        """Render all galaxies but the second, which gets the rest of the image, with their share of a blend's noise.

        Before, `galaxies[k]` is the variance of galaxies 0 to k, and the scratch array that of all.
        """
        stamps, variance, deviates = self._stamps, self._scratch.variance, self._scratch.deviates
        if len(others) > 1:
            noise = noise.copy()
        for place in range(len(others), 1, -1):
            row, to, of = others[place - 1]
            total = variance if place == len(others) else galaxies[place]
            own = self._scratch.shifted[to]
            _noise_variance(stamps.replaced[row][of], stamps.variance[row], own)
            share = own / np.maximum(total[to], TINY)
            own *= 1 - share
            np.sqrt(own, out=own)
            own *= generator.standard_normal(dtype=np.float32, out=deviates)[to]
            own += share * noise[to]
            _add(noise[to], -own)
            own += stamps.images[row][of]
            _round(own, offset)
            galaxies[place] = 0
            galaxies[place][to] = own
        first, share = galaxies[:2]
        np.divide(first, np.maximum(variance if len(others) == 1 else share, TINY, out=share), out=share)
        first *= np.subtract(1, share, out=variance)
        np.sqrt(first, out=first)
        first *= generator.standard_normal(dtype=np.float32, out=deviates)
        first += np.multiply(share, noise, out=share)
        first += stamps.images[central]
        _round(first, offset)

    def _plain_image(
        self,
        number: int,
        central: int,
        others: list[Shifted],
        offset: np.float32,
        image: np.ndarray,
        galaxies: np.ndarray | None,
    ) -> None:
        """As `_image`, of stamps that are added as they are."""
        stamps = self._stamps.images
        image[:] = stamps[central]
        for row, to, of in others:
            _add(image[to], stamps[row][of])
        if galaxies is not None:
            galaxies[0], galaxies[1:] = stamps[central], 0
            for galaxy, (row, to, of) in zip(galaxies[1:], others, strict=True):
                galaxy[to] = stamps[row][of]


def _give_rest_to_second(image: np.ndarray, inside: Window, galaxies: np.ndarray) -> None:
    """Set the second galaxy to the image less all others; outside its window, where it is 0, add that to the first."""
    first, second = galaxies[:2]
    rest = image
    for galaxy in galaxies[2:]:
        rest = np.subtract(rest, galaxy, out=second)
    if len(galaxies) > 2:  # of two, it is 0 there anyway
        outside = np.ones(image.shape, bool)
        outside[inside] = False
        np.copyto(first, rest, where=outside)
    np.subtract(rest, first, out=second)


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
