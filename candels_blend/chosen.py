"""Blends of galaxies that a user chooses, rather than of drawn ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from candels_blend.draw import draw_shift, words
from candels_blend.drawn import blend_dtype
from candels_blend.sample import Sample
from candels_blend.stamp_archive import SIZE, Archive
from skyshards.errors import UsageError

FIRST_NUMBER = 1 << 62
"""Numbers of chosen blends begin here, so that they share no noise with drawn ones."""


class Chosen:
    """Blends of an archive's galaxies by their IDs.

    Parameters
    ----------
    archive : Archive
    sample : Sample
        Of which the seed, `rad_diff` and `n_galaxies` are used.
    """

    def __init__(self, archive: Archive, sample: Sample):
        self._archive = archive
        self._sample = sample

    def blend(self, ids: Sequence[int], shift: Any, noise: int) -> tuple[int, np.ndarray]:
        """Return the number of a blend, which determines its noise, and the blend (array [1] of `blend_dtype`).

        Raises
        ------
        UsageError
            See `candels_blend.Blends.pair`.
        """
        wanted = self._sample.n_galaxies
        if len(ids) != wanted:
            raise UsageError(f"expected {wanted} galaxies, as in these blends (`n_galaxies`), found {len(ids)}")
        if not isinstance(noise, (int, np.integer)) or noise < 0:
            raise UsageError(f"noise: expected an integer of at least 0, found {noise!r:.60}")
        rows = [self._row(number) for number in ids]
        shifts = self._drawn_shifts(ids, rows) if shift is None else _checked(shift, wanted - 1)
        drawn = (rows[0], *(value for row, at in zip(rows[1:], shifts, strict=True) for value in (row, *at)))
        entropy = (*rows, *(SIZE + value for at in shifts for value in at), int(noise))
        low, high = np.random.SeedSequence(entropy).generate_state(2).tolist()
        number = FIRST_NUMBER | (high << 32 | low) >> 2
        return number, np.array([drawn], blend_dtype(wanted))

    def _row(self, number: int) -> int:
        ids = self._archive.catalogue["ID"].to_numpy()
        found = np.flatnonzero(ids == number)
        if len(found) != 1:
            which = "no galaxy" if not len(found) else f"{len(found)} galaxies"
            raise UsageError(f"the archive has {which} of ID {number!r:.60}; IDs are those of the column `galaxy_id`")
        if found[0] not in self._archive.rows:
            why = next(reason for reason, left_out in self._archive.left_out.items() if number in left_out)
            raise UsageError(f"the stamp of the galaxy of ID {number} is unusable: {why}")
        return int(found[0])

    def _drawn_shifts(self, ids: Sequence[int], rows: list[int]) -> list[tuple[int, int]]:
        seed = np.random.SeedSequence((self._sample.seed, *rows))
        word = words(np.random.RandomState(np.random.MT19937(seed)))
        radius = self._archive.catalogue["radius"].to_numpy(float)[rows].tolist()
        shifts = []
        for number, other in zip(ids[1:], radius[1:], strict=True):
            shift = draw_shift(radius[0], other, self._sample.rad_diff, word)
            if shift is None:
                raise UsageError(f"galaxies {ids[0]} and {number}: no shift found; give `shift`, or raise `rad_diff`")
            shifts.append(shift)
        return shifts


def _checked(shift: Any, count: int) -> list[tuple[int, int]]:
    """Return shifts as pairs of integers. Raises `UsageError` if they are not."""
    try:
        found = np.asarray(shift)
    except ValueError:
        found = np.empty(0)
    right = found.shape == (count, 2) or (count == 1 and found.shape == (2,))
    if not right or found.dtype.kind not in "iu" or np.abs(found.astype(np.int64)).max() >= SIZE:
        expected = "(dy, dx)" if count == 1 else f"{count} pairs (dy, dx)"
        raise UsageError(f"shift: expected {expected} of integers from {1 - SIZE} to {SIZE - 1}, found {shift!r:.60}")
    return [(int(dy), int(dx)) for dy, dx in found.reshape(count, 2).tolist()]
