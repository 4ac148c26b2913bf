"""Blends rendered on the fly: a random-access source of training data that is a pure function of its seed."""

from __future__ import annotations

import inspect
import logging
import operator
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, count, islice
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from candels_blend.candels_blend import schema_of
from candels_blend.columns import Blender, load
from candels_blend.draw import SPLITS, Draw, Pairs, Sample
from candels_blend.render import Renderer
from candels_blend.targets import METHODS
from skyshards.errors import UsageError
from skyshards.format.columns import select
from skyshards.format.schema import Schema
from skyshards.read.column_names import ColumnNames

ZEROPOINT = 25.96
"""Zero point, the magnitude of flux 1, as in candels-blender: HST's F160W."""
ENDLESS_TEST = 1 << 40
"""Number in the whole sample of blend 0 of an endless test split: past any train blend, so that no noise is shared."""

log = logging.getLogger(__name__)


class Blends:
    """Blends of galaxies, rendered on access.

    `blends[i]` is a row, a dict of NumPy values; `blends[[3, 1, 4]]`, `blends[array]` and `blends[a:b]` are batches.
    Blend i depends only on the options and i, and equals that of a dataset built with the same options
    (`healpix` at a build's default resolution). In the test split, `length` and `n_blends` are among these options:
    its pairs and noise depend on the number of train blends before them.

    Like `skyshards.open`, blends can be read by threads, forked and pickled, and so work with a `DataLoader` or a Grain
    pipeline. Both require a length; endless blends need a sampler of integers. PyTorch's `default_collate` rejects
    arrays of strings, such as `galtype`: select numeric columns.

    The pairs of a seed are drawn in sequence: the first access to blend i draws all pairs before it, at about 2
    microseconds and 12 bytes of memory each, in each worker process. In the test split, the preceding train pairs are
    drawn too, but not kept.

    Parameters
    ----------
    datapath : path
        Folder with the unpacked archive.
    seed : int
    split : {"train", "test"}
    length : int, optional
        Number of blends; by default, endless (then `len` raises `TypeError`).
    method : str
        Target: one of `candels_blend.targets.METHODS`.
    n_blends : int, optional
        Total number of blends, train and test, in the sample that these belong to; sets `length`. The pairs of a test
        split are drawn after all train ones. By default, a test split is that of the smallest sample with `length`
        test blends or, if endless, one without train blends before it.
    zeropoint : float
        Magnitude of flux 1.
    device : str or torch.device, optional
        Device on which PyTorch renders, such as "cuda"; pixel columns are then tensors there. Masks and pairs are the
        same as with NumPy; the noise differs, with the same statistics.
    **sample
        Other options of `candels_blend.draw.Sample`: mag_low, mag_high, mag_diff, rad_diff, test_ratio,
        excluded_types, use_clean_galaxies.

    Raises
    ------
    UsageError
        Invalid options, or an unavailable device.
    BuildError
        The archive is incomplete, or the cuts leave too few galaxies.

    Examples
    --------
    >>> blends = Blends("data/candels", seed=0, split="train", length=20_000)  # doctest: +SKIP
    >>> blends[[3, 1, 4]]["image"].shape  # doctest: +SKIP
    (3, 128, 128)
    """

    def __init__(
        self,
        datapath: Path | str,
        *,
        seed: int = 42,
        split: str = "train",
        length: int | None = None,
        method: str = "ogg_masks",
        n_blends: int | None = None,
        zeropoint: float = ZEROPOINT,
        device: Any = None,
        **sample: Any,
    ):
        self._arguments = {name: value for name, value in locals().items() if name not in ("self", "sample")} | sample
        self._columns = tuple(_schema(split, method).specs)
        options = _options(seed, sample)
        self._length, train_blends = _place(options, split, length, n_blends)
        archive, stamps = load(datapath)
        for complaint in archive.complaints():
            log.warning("%s: %s", datapath, complaint)
        if device is None:
            renderer: Renderer | DeviceRenderer = Renderer(stamps, seed)
        else:
            try:
                from candels_blend.device import DeviceRenderer
            except ImportError as error:
                raise UsageError("device: needs PyTorch; install it, or leave out `device`") from error
            renderer = DeviceRenderer(stamps, seed, device)
        draw = Draw(archive, options)
        first, stream = 0, draw.pairs(split)
        if split == "test":
            first = ENDLESS_TEST if train_blends is None else train_blends
            if train_blends:  # drawn, since the test pairs depend on them, and dropped
                skipped = islice(draw.pairs("train"), train_blends)
                stream = chain((pair for pair in skipped if False), stream)
        self._pairs = Pairs(stream)
        self._blender = Blender(archive, renderer, seed, split, first, zeropoint)

    def __reduce__(self):
        return _again, (self._arguments, self._columns)

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError("these blends are endless; give length or n_blends to bound them")
        return self._length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in (count() if self._length is None else range(self._length)))

    def __getitem__(self, key: Any) -> dict[str, Any]:
        """Render a row (integer) or a batch (slice, list, array of integers, mask); negative integers count from the
        end.

        Raises
        ------
        IndexError
            If a number is out of range.
        BuildError
            If no more pairs can be drawn.
        """
        try:
            number = operator.index(key)
        except TypeError:
            return self._read(self._numbers(key))
        return {name: column[0] for name, column in self._read(self._numbers([number])).items()}

    def _numbers(self, key: Any) -> np.ndarray:
        if isinstance(key, slice):
            if self._length is None and (key.stop is None or min(key.start or 0, key.stop) < 0 or (key.step or 1) < 1):
                raise IndexError(f"endless blends have no slice {key}: give a start and a stop, neither negative")
            return np.arange(*key.indices(sys.maxsize if self._length is None else self._length))
        numbers = np.asarray(key)
        if numbers.dtype == bool and numbers.shape == (self._length,):
            return np.flatnonzero(numbers)
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            raise TypeError(f"blends are indexed by integers, slices and 1-D arrays of integers, found {key!r:.60}")
        numbers = numbers.astype(np.int64)
        low, high = (0, sys.maxsize) if self._length is None else (-self._length, self._length)
        outside = (numbers < low) | (numbers >= high)
        if outside.any():
            of = "endless blends" if self._length is None else f"{self._length} blends"
            raise IndexError(f"number {numbers[outside][0]} is out of range for {of}")
        return np.where(numbers < 0, numbers + high, numbers)

    def _read(self, numbers: np.ndarray) -> dict[str, Any]:
        return self._blender.columns(numbers, self._pairs[numbers], self._columns)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""
        return list(self._columns)

    @property
    def columns(self) -> ColumnNames[Blends]:
        """Same as `column_names`; calling it is `select_columns`."""
        return ColumnNames(self._columns, self.select_columns)

    def select_columns(self, names: Iterable[str]) -> Blends:
        """Return the same blends with only these columns. Raises `KeyError` for an unknown column."""
        narrowed = object.__new__(Blends)
        narrowed.__dict__ = self.__dict__ | {"_columns": select(self._columns, names)}
        return narrowed


def _again(arguments: dict[str, Any], columns: tuple[str, ...]) -> Blends:
    """Restore blends from their pickle, which holds the archive's location, not its contents."""
    return Blends(**arguments).select_columns(columns)


def _schema(split: str, method: str) -> Schema:
    if split not in SPLITS:
        raise UsageError(f"split: expected {' or '.join(SPLITS)}, found {split!r}")
    if method not in METHODS:
        raise UsageError(f"method: expected one of {', '.join(METHODS)}, found {method!r}")
    return schema_of(method)


def _options(seed: int, sample: dict[str, Any]) -> Sample:
    known = inspect.signature(Sample).parameters
    if unknown := sorted(set(sample) - set(known)):
        raise UsageError(f"no option {', '.join(unknown)}; beside its own, Blends takes {', '.join(known)}")
    return Sample(seed, **sample)


def _place(sample: Sample, split: str, length: int | None, n_blends: int | None) -> tuple[int | None, int | None]:
    """Number of blends (None: endless), and of train blends before a test split (None: none)."""
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
