"""Draw pairs of galaxies and the shift of the second: exactly the draws of candels-blender for a seed."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat
from numbers import Integral, Real

import numpy as np

from candels_blend.stamp_archive import SIZE, Archive
from candels_blend.stamps import clean_rows
from skyshards.errors import BuildError, UsageError

GALAXY_TYPES = ("disk", "irr", "sph", "sphd")
SPLITS = ("train", "test")
PAIR = np.dtype([("g1", np.int32), ("g2", np.int32), ("dy", np.int16), ("dx", np.int16)])
"""A drawn blend: rows of the two galaxies in the archive, and the shift of the second in pixels."""
TRIES = 25
"""Number of shifts drawn for a pair before it is rejected."""
MAX_REJECTED = 10_000
"""Number of consecutive rejected pairs before the draw fails."""

Rejected = Callable[[int, int], None]
LeftOut = Callable[[str, int, int], None]
"""Called with each cut that leaves out galaxies: its name, the number left out, and the number before."""


@dataclass(frozen=True)
class Sample:
    """Options that determine the pairs and shifts of a sample, beside the archive and the number of blends.

    Parameters
    ----------
    seed : int
        From 0 to 2**32 - 1.
    mag_low, mag_high : float
        Range of magnitudes, bounds excluded.
    mag_diff : float
        Bound on the difference of the two magnitudes of a blend, excluded. At least 0.
    rad_diff : float
        Maximum shift, in units of the smaller of the two radii (and at most 64 pixels). At least 0.
    test_ratio : float
        Fraction of the galaxies, and of the blends, in the test split.
    excluded_types : tuple of str
        Types to leave out, of `GALAXY_TYPES`.
    use_clean_galaxies : bool
        Leave out galaxies whose stamp is not clean (see `candels_blend.stamps.is_clean`).

    Raises
    ------
    UsageError
        A value is out of bounds, or not a number where one is expected.
    """

    seed: int = 42
    mag_low: float = 0.0
    mag_high: float = 100.0
    mag_diff: float = 2.0
    rad_diff: float = 4.0
    test_ratio: float = 0.2
    excluded_types: tuple[str, ...] = ()
    use_clean_galaxies: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "excluded_types", tuple(sorted(set(self.excluded_types))))
        if not isinstance(self.seed, Integral) or not 0 <= self.seed < 2**32:
            raise UsageError(f"seed: expected an integer from 0 to 2**32 - 1, found {self.seed!r}")
        for name in ("mag_low", "mag_high"):
            bound = getattr(self, name)
            if not isinstance(bound, Real) or math.isnan(bound):
                raise UsageError(f"{name}: expected a magnitude, found {bound!r}")
        for name in ("mag_diff", "rad_diff"):
            limit = getattr(self, name)
            if not isinstance(limit, Real) or not limit >= 0:
                raise UsageError(f"{name}: expected a number of at least 0, found {limit!r}")
        if not isinstance(self.test_ratio, Real) or not 0 <= self.test_ratio <= 1:
            raise UsageError(f"test_ratio: expected a number from 0 to 1, found {self.test_ratio!r}")
        if unknown := set(self.excluded_types) - set(GALAXY_TYPES):
            raise UsageError(
                f"excluded_types: expected some of {', '.join(GALAXY_TYPES)}, found {', '.join(sorted(unknown))}"
            )

    def split_blends(self, n_blends: int) -> dict[str, int]:
        """Number of train and test blends in a sample of `n_blends`."""
        n_test = int(self.test_ratio * n_blends)
        return {"train": n_blends - n_test, "test": n_test}


class Draw:
    """Draws for one sample of an archive, in order: the split of the galaxies, the train pairs, the test pairs.

    Parameters
    ----------
    archive : Archive
    sample : Sample
    rejected : callable, optional
        Called with the archive's rows of each pair for which no shift was found.
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
        self._word = _words(state)

    def pairs(self, split: str) -> Iterator[tuple[int, int, int, int]]:
        """Yield pairs of a split, endlessly, as tuples for `PAIR`. All train pairs come before the test ones.

        Raises
        ------
        BuildError
            The split has no two galaxies within mag_diff of each other, or no shift is found for any pair.
        """
        sample = self._sample
        rows = self.galaxies[split].tolist()
        magnitude, radius = self._magnitude[rows].tolist(), self._radius[rows].tolist()
        if len(rows) < 2 or not np.diff(np.sort(magnitude)).min() < sample.mag_diff:
            raise BuildError(
                f"no two of the {len(rows)} {split} galaxies differ by less than {sample.mag_diff} mag; "
                "raise `mag_diff`, widen `mag_low` and `mag_high`, exclude fewer types, or change `test_ratio`"
            )
        return self._pairs(split, rows, magnitude, radius)

    def _pairs(self, split, rows, magnitude, radius) -> Iterator[tuple[int, int, int, int]]:
        mag_diff, rad_diff, word = self._sample.mag_diff, self._sample.rad_diff, self._word
        count, mask, in_a_row = len(rows), _mask(len(rows)), 0
        while in_a_row < MAX_REJECTED:
            while (first := word() & mask) >= count:
                pass
            while (second := word() & mask) >= count or not abs(magnitude[first] - magnitude[second]) < mag_diff:
                pass
            shift = _draw_shift(radius[first], radius[second], rad_diff, word)
            if shift is None:
                in_a_row += 1
                self._rejected(rows[first], rows[second])
            else:
                in_a_row = 0
                yield rows[first], rows[second], *shift
        raise BuildError(
            f"no shift found for {MAX_REJECTED} pairs of {split} galaxies in a row; raise `rad_diff` (now {rad_diff})"
        )


def split_galaxies(
    archive: Archive, sample: Sample, state: np.random.RandomState, left_out: LeftOut
) -> dict[str, np.ndarray]:
    """Rows of the archive's train and test galaxies, shuffled at the start and again after each cut."""
    catalogue, rows = archive.catalogue, archive.rows
    cuts = [("`use_clean_galaxies`", clean_rows(archive))] if sample.use_clean_galaxies else []
    cuts += [
        (f"`mag_low` {sample.mag_low}", (catalogue["mag"] > sample.mag_low).to_numpy()),
        (f"`mag_high` {sample.mag_high}", (catalogue["mag"] < sample.mag_high).to_numpy()),
    ]
    cuts += [(f"`excluded_types` {name}", (catalogue["galtype"] != name).to_numpy()) for name in sample.excluded_types]
    order = state.permutation(len(rows))
    for what, cut in cuts:
        before, rows = len(rows), rows[cut[rows]]
        if len(rows) < before:
            left_out(what.replace("`", ""), before - len(rows), before)
        if len(rows) < 2:
            raise BuildError(
                f"the cut {what} leaves {len(rows)} of {before} galaxies, expected at least two; loosen it"
            )
        order = state.permutation(len(rows))
    n_test = int(len(rows) * sample.test_ratio)
    return {"train": rows[order[n_test:]], "test": rows[order[:n_test]]}


def _draw_shift(radius1: float, radius2: float, rad_diff: float, word: Callable[[], int]) -> tuple[int, int] | None:
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


def _words(state: np.random.RandomState) -> Callable[[], int]:
    """Function that returns the 32-bit words of a generator, one after the other.

    `state.randint(n)` of `RandomState`, frozen by NEP 19, masks each word to the bits of n - 1 and discards those that
    are not below n. Drawing many words at a time is faster.
    """
    blocks = (state.randint(0, 2**32, size=4096, dtype=np.uint32).tolist() for _ in repeat(None))
    return chain.from_iterable(blocks).__next__


def _mask(n: int) -> int:
    """Bit mask of n - 1, for n of at least 2."""
    return (1 << (n - 1).bit_length()) - 1


class Pairs:
    """Pairs by number, drawn on demand and kept (12 bytes each). Thread-safe.

    After the stream has failed, the pairs before the failure remain available; all others raise its error.

    Parameters
    ----------
    stream : iterator
        Iterator from `Draw.pairs`.
    """

    def __init__(self, stream: Iterator[tuple[int, int, int, int]]):
        self._stream = stream
        self._drawn = np.empty(0, PAIR)
        self._failure = "the drawing of pairs was interrupted; make these blends anew"
        self._lock = threading.Lock()

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        """Return the pairs (array of `PAIR`) with the given numbers, none negative.

        Raises
        ------
        BuildError
            The stream failed before the last of them.
        """
        needed = int(np.max(numbers, initial=-1)) + 1
        if needed > len(self._drawn):
            with self._lock:
                if needed > len(self._drawn):
                    self._draw(max(needed, len(self._drawn) + len(self._drawn) // 4, 1024) - len(self._drawn))
                if needed > len(self._drawn):
                    raise BuildError(self._failure)
        return self._drawn[numbers]

    def _draw(self, count: int) -> None:
        """Draw `count` more pairs, or those before the stream fails."""
        stream, self._stream = (
            self._stream,
            iter(()),
        )  # interrupted, it must not go on, as it would with other pairs
        drawn = np.fromiter(self._until_failure(islice(stream, count)), PAIR)
        self._drawn = np.concatenate([self._drawn, drawn])
        if len(drawn) == count:
            self._stream = stream

    def _until_failure(self, pairs: Iterator[tuple[int, int, int, int]]) -> Iterator[tuple[int, int, int, int]]:
        try:
            yield from pairs
        except BuildError as error:
            self._failure = str(error)


def draw_sample(
    archive: Archive,
    sample: Sample,
    n_blends: int,
    rejected: Rejected = lambda g1, g2: None,
    left_out: LeftOut = lambda what, count, of: None,
) -> dict[str, np.ndarray]:
    """Draw all pairs (arrays of `PAIR`) of a sample of `n_blends`, by split."""
    draw = Draw(archive, sample, rejected, left_out)
    counts = sample.split_blends(n_blends)
    return {
        split: np.fromiter(islice(draw.pairs(split), counts[split]), PAIR, counts[split])
        if counts[split]
        else np.empty(0, PAIR)
        for split in SPLITS
    }
