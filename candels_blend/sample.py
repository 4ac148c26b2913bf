"""Options that determine the galaxies and shifts of a sample of blends."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from skyshards.errors import UsageError

GALAXY_TYPES = ("disk", "irr", "sph", "sphd")
SPLITS = ("train", "test")
MOST_GALAXIES = 5
"""Maximum number of galaxies in a blend."""


@dataclass(frozen=True)
class Sample:
    """Options that determine the galaxies and shifts of a sample, beside the archive and the number of blends.

    Parameters
    ----------
    seed : int
        From 0 to 2**32 - 1.
    mag_low, mag_high : float
        Range of magnitudes, bounds excluded.
    mag_diff : float
        Bound on the difference of a galaxy's magnitude from that of the central one, excluded. At least 0.
    rad_diff : float
        Maximum shift, in units of the smaller of the two radii (and at most 64 pixels). At least 0.
    test_ratio : float
        Fraction of the galaxies, and of the blends, in the test split.
    excluded_types : tuple of str
        Types to leave out, of `GALAXY_TYPES`.
    use_clean_galaxies : bool
        Leave out galaxies whose stamp is not clean (see `candels_blend.stamps.is_clean`).
    cut : str, optional
        Leave out galaxies for which this condition on the catalogue is false; see `candels_blend.cuts.passing`.
    n_galaxies : int
        Number of galaxies in a blend, 2 to 5.

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
    cut: str | None = None
    n_galaxies: int = 2

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

        if self.cut is not None and not isinstance(self.cut, str):
            raise UsageError(f"cut: expected a condition in text, such as 'z < 1', found {self.cut!r:.60}")
        if not isinstance(self.n_galaxies, Integral) or not 2 <= self.n_galaxies <= MOST_GALAXIES:
            raise UsageError(f"n_galaxies: expected an integer from 2 to {MOST_GALAXIES}, found {self.n_galaxies!r}")

    def split_blends(self, n_blends: int) -> dict[str, int]:
        """Number of train and test blends in a sample of `n_blends`."""
        n_test = int(self.test_ratio * n_blends)
        return {"train": n_blends - n_test, "test": n_test}


def checked(seed: int, sample: dict[str, Any]) -> Sample:
    """Make a sample of options by name. Raises `UsageError` if one is unknown or out of bounds."""
    known = inspect.signature(Sample).parameters
    if unknown := sorted(set(sample) - set(known)):
        raise UsageError(f"no option {', '.join(unknown)}; beside its own, Blends takes {', '.join(known)}")
    return Sample(seed, **sample)


def place(sample: Sample, split: str, length: int | None, n_blends: int | None) -> tuple[int | None, int | None]:
    """Number of blends (None: endless), and of train blends before a test split (None: none)."""
    if split not in SPLITS:
        raise UsageError(f"split: expected {' or '.join(SPLITS)}, found {split!r}")
    for name, value in (("length", length), ("n_blends", n_blends)):
        if value is not None and (not isinstance(value, Integral) or value < 0):
            raise UsageError(f"{name}: expected an integer of at least 0, found {value!r}")
    if n_blends is None:
        if split == "train" or length is None:
            return length, None
        if not sample.test_ratio:
            raise UsageError("a test_ratio of 0 leaves no test split")
        n_blends = max(0, int(length / sample.test_ratio) - 1)
        while sample.split_blends(n_blends)["test"] < length:
            n_blends += 1
    counts = sample.split_blends(n_blends)
    if (length or 0) > counts[split]:
        raise UsageError(f"length: {n_blends} blends have {counts[split]} {split} ones, found {length}")
    return counts[split] if length is None else length, counts["train"]
