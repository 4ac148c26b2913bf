"""Blends rendered on the fly: a random-access source of training data that is a pure function of its seed."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from candels_blend.candels_blend import schema_of
from candels_blend.chosen import Chosen
from candels_blend.columns import Blender, load, renderer
from candels_blend.download import release_of
from candels_blend.draw import Draw
from candels_blend.drawn import DrawnBlends, endless_numbers
from candels_blend.sample import SPLITS, checked, place
from skyshards.errors import UsageError
from skyshards.format import healpix
from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds.base import Allocate
from skyshards.format.provenance import Origin
from skyshards.read.padding import Padding
from skyshards.read.random_access import RandomAccess
from skyshards.read.shown import FIRST, html
from skyshards.text import counted

if TYPE_CHECKING:
    from skyshards.pictures.drawing import Drawing

ZEROPOINT = 25.96
"""Zero point, the magnitude of flux 1, as in candels-blender: HST's F160W."""
ENDLESS_TEST = 1 << 40
"""Number in the whole sample of blend 0 of an endless test split: past any train blend, so that no noise is shared."""
OF_FOLDERS = {
    "format": "it is that of a built folder",
    "simulated": "the archive does not say whether its galaxies are simulated",
    "statistics": "compute them from some blends, such as `blends[:1000]['image'].mean()`",
}
"""Attributes of a table that blends do not have, and why."""

log = logging.getLogger(__name__)


class Blends(RandomAccess):
    """Blends of galaxies, rendered on access.

    `blends[i]` is a row, a dict of NumPy values; `blends[[3, 1, 4]]`, `blends[array]` and `blends[a:b]` are batches.
    Blend i depends only on the options and i, and equals that of a dataset built with the same options
    (`healpix` at a build's default resolution). In the test split, `length` and `n_blends` are among these options:
    its galaxies and noise depend on the number of train blends before them.

    Like `skyshards.open`, blends can be read by threads, forked and pickled, and so work with a `DataLoader` or a Grain
    pipeline, and have the methods of a table: `select`, `where`, `find`, `cone`, `folds`, `catalog`, `plot` and so on.
    These require a length; endless blends need a sampler of integers, or `select`. Positions are those of the central
    galaxies. `format`, `simulated` and `statistics` are those of built folders alone.

    The blends of a seed are drawn in sequence: the first access to blend i draws all before it, at about 2
    microseconds and 12 bytes of memory each (of five galaxies, 6 and 36), in each worker process. In the test split,
    the preceding train blends are drawn too, but not kept.

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
        Total number of blends, train and test, in the sample that these belong to; sets `length`. Those of a test
        split are drawn after all train ones. By default, a test split is that of the smallest sample with `length`
        test blends or, if endless, one without train blends before it.
    zeropoint : float
        Magnitude of flux 1.
    device : str or torch.device, optional
        Device on which PyTorch renders, such as "cuda"; pixel columns are then tensors there. Masks and galaxies are
        the same as with NumPy; the noise differs, with the same statistics.
    masked : bool
        Replace neighbours in stamps by noise, and add noise. If False, the archive's stamps are added as they are, and
        nothing is random but the choice of galaxies and shifts.
    **sample
        Other options of `candels_blend.sample.Sample`: mag_low, mag_high, mag_diff, rad_diff, test_ratio,
        excluded_types, use_clean_galaxies, cut, n_galaxies.

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
    >>> triples = Blends("data/candels", length=20_000, n_galaxies=3, cut="z < 1 and radius > 5")  # doctest: +SKIP
    >>> triples[0]["masks"].shape  # doctest: +SKIP
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
        masked: bool = True,
        **sample: Any,
    ):
        arguments = {name: value for name, value in locals().items() if name not in ("self", "sample", "__class__")}
        self._arguments = arguments | sample
        options = checked(seed, sample)
        if not isinstance(masked, (bool, np.bool_)):
            raise UsageError(f"masked: expected True or False, found {masked!r:.60}")
        self._schema = schema_of(method, options.n_galaxies)
        super().__init__(tuple(self._schema.specs), None, None)
        self._length, train_blends = place(options, split, length, n_blends)
        archive, stamps = load(datapath, masked)
        for complaint in archive.complaints():
            log.warning("%s: %s", datapath, complaint)
        draw = Draw(archive, options)
        first, stream = 0, draw.blends(split)
        if split == "test":
            first = ENDLESS_TEST if train_blends is None else train_blends
            if train_blends:  # drawn, since the test blends depend on them, and dropped
                skipped = islice(draw.blends("train"), train_blends)
                stream = chain((blend for blend in skipped if False), stream)
        self._drawn = DrawnBlends(stream, options.n_galaxies)
        self._blender = Blender(archive, renderer(stamps, seed, device), seed, split, first, zeropoint)
        self._chosen = Chosen(archive, options)

    def __reduce__(self):
        return _again, (self._arguments, self._columns, self._index)

    @property
    def _height(self) -> int:
        if self._length is None:
            raise TypeError("these blends are endless; give length or n_blends to bound them, or select some")
        return self._length

    @property
    def _endless(self) -> bool:
        return self._length is None and self._index is None

    @property
    def _leaves(self) -> Mapping[str, ColumnSpec]:
        return self._schema.specs

    @property
    def _askable(self) -> list[str]:
        len(self)  # of endless blends, there is no catalogue: raises
        return [name for name, spec in self._schema.specs.items() if not spec.heavy]

    @property
    def _description(self) -> str:
        return repr(self._arguments)

    @property
    def _naming(self) -> str:
        return "object_id"

    def _asked(self, name: str) -> pa.ChunkedArray:
        numbers = np.arange(self._height) if self._index is None else self._index
        values = self._blender.columns(numbers, self._drawn[numbers], [name])[name]
        column = pa.array(values.reshape(-1))
        if values.ndim > 1:
            column = pa.FixedSizeListArray.from_arrays(column, values.shape[1])
        return pa.chunked_array([column])

    def _view(self, columns: tuple[str, ...], index: np.ndarray | None, padding: Padding | None) -> Blends:
        view = object.__new__(Blends)
        view.__dict__ = self.__dict__ | {"_columns": columns, "_index": index, "_padding": padding}
        return view

    def _start(self, rows: np.ndarray, ahead: bool, empty: Allocate | None) -> Callable[[], dict[str, Any]]:
        def values() -> dict[str, Any]:
            found = self._blender.columns(rows, self._drawn[rows], self._columns)
            return found if empty is None else {name: _moved(column, empty) for name, column in found.items()}

        return values

    def _folds(self) -> np.ndarray:
        return self._asked("fold").to_numpy()

    def _in_cone(self, centre: tuple[float, float], radius: float) -> np.ndarray:
        ra, dec = (self._asked(name).to_numpy() for name in ("ra", "dec"))
        return np.flatnonzero(healpix.in_cone(ra, dec, centre, radius))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in (count() if self._endless else range(len(self))))

    def _positions(self, key: Any) -> np.ndarray:
        return endless_numbers(key) if self._endless else super()._positions(key)

    def pair(self, *galaxies: int, shift: Any = None, noise: int = 0) -> dict[str, Any]:
        """Render a blend of chosen galaxies, of either split and whatever the cuts: `pair(g1, g2)`.

        Parameters
        ----------
        *galaxies : int
            IDs in the archive's catalogue, as in the column `galaxy_id`: the central galaxy and the shifted ones, as
            many as `n_galaxies`.
        shift : (int, int) or a sequence of these, optional
            Shift (dy, dx) of each galaxy but the central one in pixels, -127 to 127. By default it is drawn, as
            in a sample, from the seed and the galaxies.
        noise : int
            Number of a realisation of the noise, at least 0.

        Returns
        -------
        dict
            A row with the columns of these blends.

        Raises
        ------
        UsageError
            If there is no such galaxy, its stamp is unusable, or a shift is invalid or cannot be drawn.

        Examples
        --------
        >>> blends.pair(17, 42, shift=(10, -20))["image"].shape  # doctest: +SKIP
        (128, 128)
        """
        number, drawn = self._chosen.blend(galaxies, shift, noise)
        row = self._blender.chosen(number, drawn, self._columns)
        return {name: values[0] for name, values in row.items()}

    def __getattr__(self, name: str) -> Any:
        if name in OF_FOLDERS:
            raise AttributeError(f"blends have no `{name}`: {OF_FOLDERS[name]}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def name(self) -> str:
        """The name of the dataset."""
        return "candels_blend"

    def source(self, row: int) -> Origin:
        """Return the source of a row, as in a built dataset: the split; nothing is downloaded for it alone."""
        self._positions([row])
        return Origin(self._arguments["split"], None, None, None, release_of(self._arguments["datapath"]))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the sample, of which these blends are one."""
        return SPLITS

    @property
    def catalog(self) -> pa.Table:
        """The light columns by name: all but pixels."""
        return pa.table({name: self._asked(name) for name in self._askable})

    @property
    def row_nbytes(self) -> int:
        """Approximate size of a row in memory, in bytes."""
        return sum(self._schema.specs[name].nbytes for name in self._columns)

    @property
    def drawing(self) -> Drawing:
        from skyshards.pictures.drawing import drawing  # not needed for reading

        return drawing(self.name, self.schema)

    @property
    def _title(self) -> str:
        options = inspect.signature(Blends).parameters
        default = {name: option.default for name, option in options.items()}
        given = [f"{name}={value!r}" for name, value in self._arguments.items() if value != default.get(name)]
        rows = "endless" if self._endless else counted(len(self), "rows")
        return f"Blends({', '.join(given)}): {rows}"

    def __repr__(self) -> str:
        columns = "\n".join(f"  {column}" for column in self.schema.values())
        return f"{self._title}\n{columns}"

    def _repr_html_(self) -> str:
        return html(self.select(range(FIRST)) if self._endless else self, self._title, "")


def _moved(values: Any, empty: Allocate) -> Any:
    """Copy an array of numbers to memory that `empty` allocates; return others as they are."""
    if not isinstance(values, np.ndarray) or values.dtype.kind == "U":
        return values
    moved = empty(values.shape, values.dtype.name)
    moved[...] = values
    return moved


def _again(arguments: dict[str, Any], columns: tuple[str, ...], index: np.ndarray | None) -> Blends:
    """Restore blends from their pickle, which holds the archive's location, not its contents."""
    return Blends(**arguments)._view(columns, index, None)
