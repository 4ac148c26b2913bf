"""Draw galaxies and their shifts: for pairs, exactly the draws of candels-blender for a seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import chain, islice, repeat

import numpy as np

from candels_blend.cuts import LeftOut, split_galaxies
from candels_blend.drawn import blend_dtype
from candels_blend.sample import SPLITS, Sample
from candels_blend.stamp_archive import SIZE, Archive
from skyshards.errors import BuildError

TRIES = 25
"""Number of shifts drawn for two galaxies before the blend is rejected."""
MAX_REJECTED = 10_000
"""Number of consecutive rejected blends before the draw fails."""

Rejected = Callable[[int, int], None]


class Draw:
    """Draws for one sample of an archive, in order: the split of the galaxies, the train blends, the test blends.

    Parameters
    ----------
    archive : Archive
    sample : Sample
    rejected : callable, optional
        Called with the archive's rows of two galaxies for which no shift was found.
    left_out : callable, optional
        See `LeftOut`.

    Attributes
    ----------
    galaxies : dict of split -> array of int64
        Rows of the archive, in drawn order.

    Raises
    ------
    BuildError
        The cuts leave fewer than two galaxies.
    """

    def __init__(
        self,
        archive: Archive,
        sample: Sample,
        rejected: Rejected = lambda g1, g2: None,
        left_out: LeftOut = lambda what, count, of: None,
    ):
        self._sample = sample
        self._rejected = rejected
        self._magnitude = archive.catalogue["mag"].to_numpy(float)
        self._radius = archive.catalogue["radius"].to_numpy(float)
        state = np.random.RandomState(sample.seed)
        self.galaxies = split_galaxies(archive, sample, state, left_out)
        self._word = words(state)

    def blends(self, split: str) -> Iterator[tuple[int, ...]]:
        """Yield blends of a split, endlessly, as tuples for `blend_dtype`. All train blends come before the test ones.

        Raises
        ------
        BuildError
            The split has no two galaxies within mag_diff of each other, or no shift is found for any blend.
        """
        sample = self._sample
        rows = self.galaxies[split].tolist()
        magnitude, radius = self._magnitude[rows].tolist(), self._radius[rows].tolist()
        if len(rows) < 2 or not np.diff(np.sort(magnitude)).min() < sample.mag_diff:
            loosen = "" if sample.cut is None else "loosen `cut`, "
            raise BuildError(
                f"no two of the {len(rows)} {split} galaxies differ by less than {sample.mag_diff} mag; {loosen}"
                "raise `mag_diff`, widen `mag_low` and `mag_high`, exclude fewer types, or change `test_ratio`"
            )
        return self._blends(split, rows, magnitude, radius)

    def _blends(self, split, rows, magnitude, radius) -> Iterator[tuple[int, ...]]:
        mag_diff, rad_diff, word = self._sample.mag_diff, self._sample.rad_diff, self._word
        count, mask, in_a_row = len(rows), _mask(len(rows)), 0
        others = range(self._sample.n_galaxies - 1)
        while in_a_row < MAX_REJECTED:
            while (first := word() & mask) >= count:
                pass
            blend: tuple[int, ...] = (rows[first],)
            for _ in others:
                while (other := word() & mask) >= count or not abs(magnitude[first] - magnitude[other]) < mag_diff:
                    pass
                shift = draw_shift(radius[first], radius[other], rad_diff, word)
                if shift is None:
                    in_a_row += 1
                    self._rejected(rows[first], rows[other])
                    break
                blend += (rows[other], *shift)
            else:
                in_a_row = 0
                yield blend
        raise BuildError(
            f"no shift found for {MAX_REJECTED} pairs of {split} galaxies in a row; raise `rad_diff` (now {rad_diff})"
        )


def draw_shift(radius1: float, radius2: float, rad_diff: float, word: Callable[[], int]) -> tuple[int, int] | None:
    """Draw (dy, dx) of length between the larger radius and `rad_diff` times the smaller one; None if none found."""
    rad_min = max(radius1, radius2)
    rad_max = min(min(radius1, radius2) * rad_diff, SIZE // 2)
    if rad_min >= rad_max:
        rad_min = 0.8 * rad_max
    half = int(rad_max)
    if half < 1:  # not one whole pixel to shift by
        return None
    width, mask = 2 * half, _mask(2 * half)
    for _ in range(TRIES):
        while (dy := word() & mask) >= width:
            pass
        while (dx := word() & mask) >= width:
            pass
        if rad_min <= math.hypot(dy - half, dx - half) <= rad_max:
            return dy - half, dx - half
    return None


def words(state: np.random.RandomState) -> Callable[[], int]:
    """Function that returns the 32-bit words of a generator, one after the other.

    `state.randint(n)` of `RandomState`, frozen by NEP 19, masks each word to the bits of n - 1 and discards those that
    are not below n. Drawing many words at a time is faster.
    """
    blocks = (state.randint(0, 2**32, size=4096, dtype=np.uint32).tolist() for _ in repeat(None))
    return chain.from_iterable(blocks).__next__


def _mask(n: int) -> int:
    """Bit mask of n - 1, for n of at least 2."""
    return (1 << (n - 1).bit_length()) - 1


def draw_sample(
    archive: Archive,
    sample: Sample,
    n_blends: int,
    rejected: Rejected = lambda g1, g2: None,
    left_out: LeftOut = lambda what, count, of: None,
) -> dict[str, np.ndarray]:
    """Draw all blends (arrays of `blend_dtype`) of a sample of `n_blends`, by split."""
    draw, dtype = Draw(archive, sample, rejected, left_out), blend_dtype(sample.n_galaxies)
    counts = sample.split_blends(n_blends)
    return {
        split: np.fromiter(islice(draw.blends(split), counts[split]), dtype, counts[split])
        if counts[split]
        else np.empty(0, dtype)
        for split in SPLITS
    }
