"""Random access to a built data set: `skyshards.open(folder)` gives a table that is indexed like an array."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skyshards.errors import FolderError
from skyshards.format import healpix as sky
from skyshards.format.catalog import CRC32
from skyshards.format.columns import ColumnSpec, nest, select, unknown_column
from skyshards.read import angles, query
from skyshards.read.opened import OpenedFolder
from skyshards.read.store import LocalStore, RemoteStore


def open_table(
    folder: str | os.PathLike,
    split: str | None = None,
    *,
    threads: int | None = None,
    decode: bool = True,
    storage_options: dict[str, Any] | None = None,
) -> Table:
    """Open a built data set for reading at random.

    Parameters
    ----------
    folder : path or URL
        A folder on disk, or an https://, hf:// or s3:// URL (or any that fsspec knows).
    split : str, optional
        Only the rows of this split.
    threads : int, optional
        Threads that read and decode a batch: the usable cores unless given, and one in a worker process of a PyTorch
        `DataLoader`.
    decode : bool
        Whether image files are decoded to uint8 arrays, or given as their bytes.
    storage_options : dict, optional
        Passed on to the file system of a URL.

    Raises
    ------
    FolderError
        If there is no built data set, or no such split in it.
    """
    location = os.fspath(folder)
    store = RemoteStore(location, storage_options or {}) if "://" in location else LocalStore(Path(location))
    data = OpenedFolder(store, threads, decode)
    table = Table(data, tuple(data.manifest.specs), None)
    if split is None:
        return table
    if split not in data.manifest.splits:
        raise FolderError(f"{location}: no split {split!r}; there are {', '.join(data.manifest.splits)}")
    return table.where(pc.field("_split") == split)


class Table:
    """Rows of a built data set, in the order in which stock `load_dataset` gives them.

    `table[i]` is one row, a nested dict of NumPy values; `table[a:b]`, `table[[3, 1, 4]]` and `table[array]` are
    batches, the same with a first dimension for the rows. Dtypes are those of the shards. Selections (`columns`,
    `select`, `find`, `cone`, `where`) are tables again and read nothing.

    A table can be forked and pickled, as data loaders do; a pickle holds where the data set is, not what is in it. It
    raises `FolderError` when it is loaded after the data set was built further: its numbers then stand for other rows.
    """

    def __init__(self, data: OpenedFolder, columns: tuple[str, ...], index: np.ndarray | None):
        self._data = data
        self._columns = columns
        self._index = index

    def __reduce__(self):
        return Table, (self._data, self._columns, self._index)

    def __len__(self) -> int:
        return len(self._data.rows) if self._index is None else len(self._index)

    def __repr__(self) -> str:
        manifest = self._data.manifest
        simulated = ", simulated" if manifest.simulated else ""
        columns = "\n".join(f"  {self._describe(manifest.specs[path])}" for path in self._columns)
        return f"Table of {manifest.name}{simulated}: {len(self):,} rows at {self._data.reader.store}\n{columns}"

    @staticmethod
    def _describe(spec: ColumnSpec) -> str:
        kind = (
            "image file" if spec.kind == "bytes" else f"{spec.dtype} {list(spec.shape)}" if spec.shape else spec.dtype
        )
        names = ", ".join(f"{label} {name}" for label, name in enumerate(spec.classes or ()))
        return f"{spec.path}: {kind}" + (f" ({spec.unit or names})" if spec.unit or names else "")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[position] for position in range(len(self)))

    def __getitem__(self, key: Any) -> dict[str, Any]:
        """Read a row (integer) or a batch (slice, list, array of integers, mask); negative integers count from the end.

        Raises
        ------
        IndexError
            If a row is out of range.
        ShardCorrupted
            If what a shard holds is not what the catalogue says, naming the shard, row and column.
        """
        position = _integer(key)
        if position is None:
            return nest(self._start(self._positions(key), ahead=False)())
        values = self._start(self._positions([position]), ahead=False)()
        return nest({path: value[0] for path, value in values.items()})

    def __getitems__(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """Rows read as one batch, for PyTorch's `DataLoader(table, batch_size=...)`, which asks for them by this name.

        Its `default_collate` takes no arrays of text: a text column of several values a row comes as lists.
        """
        batch = self._start(self._positions(list(positions)), ahead=False)()
        values = {
            path: array.tolist() if array.dtype.kind == "U" and array.ndim > 1 else array
            for path, array in batch.items()
        }
        return [nest({path: value[number] for path, value in values.items()}) for number in range(len(positions))]

    def _positions(self, key: Any) -> np.ndarray:
        """Positions in this table, as rows of the catalogue."""
        length = len(self)
        if isinstance(key, slice):
            positions = np.arange(*key.indices(length))
        else:
            positions = np.asarray(key)
            if positions.dtype == bool:
                if positions.shape != (length,):
                    raise IndexError(f"a mask of shape {positions.shape} for a table of {length} rows")
                positions = np.flatnonzero(positions)
            elif positions.ndim != 1 or (positions.size and positions.dtype.kind not in "iu"):
                raise TypeError(f"a table is indexed by integers, slices and 1-D arrays of integers, found {key!r:.60}")
            outside = (positions < -length) | (positions >= length)
            if outside.any():
                raise IndexError(f"row {positions[outside][0]} is out of range for a table of {length} rows")
            positions = positions.astype(np.int64)
            positions = np.where(positions < 0, positions + length, positions)
        return positions if self._index is None else self._index[positions]

    def batches(self, keys: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """The batches `table[key]` of some keys, in turn; each is read while the one before it is in use.

        With one thread, as in a worker process of a PyTorch `DataLoader`, each is read when it is asked for.
        """
        ready = None
        for key in keys:
            following = self._start(self._positions(key), ahead=True)
            if ready is not None:
                yield nest(ready())
            ready = following
        if ready is not None:
            yield nest(ready())

    def _start(self, rows: np.ndarray, ahead: bool) -> Callable[[], dict[str, np.ndarray]]:
        """Begin to read rows of the catalogue; the function that is returned waits for them, by dotted name.

        `ahead` says that it will be called only after other work.
        """
        specs = self._data.manifest.specs
        requests = {path: self._data.heavy(specs[path], rows) for path in self._columns if specs[path].heavy}
        finish = self._data.reader.start(list(requests.values()), ahead)

        def values() -> dict[str, np.ndarray]:
            light = {path: self._data.light(specs[path], rows) for path in self._columns if path not in requests}
            finish()
            heavy = {path: self._data.stack(request) for path, request in requests.items()}
            return {path: light[path] if path in light else heavy[path] for path in self._columns}

        return values

    @property
    def catalog(self) -> pa.Table:
        """The light columns of these rows, nested ones by dotted name, and each row's `_split`, `_shard` and `_row`."""
        rows = self._data.rows.select(self._askable)
        return rows if self._index is None else rows.take(pa.array(self._index))

    @property
    def _askable(self) -> list[str]:
        """The columns of `catalog`."""
        return [name for name in self._data.rows.column_names if not name.startswith(("_start:", "_size:", CRC32))]

    def _judged(self) -> Callable[[str], pa.ChunkedArray]:
        """What gives a column of `catalog`, for these rows."""
        if self._index is None:
            return self._data.rows.column
        rows = pa.array(self._index)
        return lambda name: self._data.rows[name].take(rows)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the data set, whether or not rows of them are among these."""
        return self._data.manifest.splits

    @property
    def column_names(self) -> tuple[str, ...]:
        """The leaf columns that are read, by dotted name."""
        return self._columns

    @property
    def row_nbytes(self) -> int:
        """About how many bytes a row of these columns takes in memory, image files as they are stored."""
        total = 0.0
        for spec in (self._data.manifest.specs[path] for path in self._columns):
            sizes = self._data.array(f"_size:{spec.path}") if spec.kind == "bytes" else ()
            total += np.mean(sizes) if len(sizes) else spec.nbytes
        return round(total)

    def columns(self, names: Iterable[str]) -> Table:
        """The same rows with only these columns; a group's name stands for all in it. Raises `KeyError` for an unknown
        one.
        """
        return Table(self._data, select(self._data.manifest.specs, names), self._index)

    def select(self, rows: Any) -> Table:
        """The rows at these positions (or where this mask is true), in this order."""
        return Table(self._data, self._columns, self._positions(rows))

    def find(self, ids: Any, by: str = "object_id") -> Table:
        """The rows of these names or numbers, in their order; all of them where several rows have one name.

        `ids` is one or many, `by` the column that they are of. Raises `KeyError`, naming them, if some are absent.
        """
        if by not in self._askable:
            raise unknown_column(by, self._askable)
        rows = self._positions(slice(None))
        return Table(self._data, self._columns, rows[query.named(ids, self._judged()(by), by)])

    def cone(self, ra: Any, dec: Any = None, radius: Any = None) -> Table:
        """The rows within a radius of a position, the edge included: `cone(ra, dec, radius)`, numbers in degrees or
        Quantities, or `cone(SkyCoord, radius)`.
        """
        ra, dec, radius = angles.cone(ra, dec, radius)
        rows = self._positions(slice(None))
        near = sky.in_cone(self._data.array("ra")[rows], self._data.array("dec")[rows], (ra, dec), radius)
        return Table(self._data, self._columns, rows[near])

    def where(self, condition: str | pc.Expression) -> Table:
        """The rows of which a condition on the catalogue is true; only the rows of this table are judged.

        Parameters
        ----------
        condition : str or pyarrow.compute.Expression
            Such as `"gz_bar_votes > 0.5 * total_classifications"`, which `skyshards.read.expression` judges with NumPy,
            or `pc.field("total_classifications") >= 20`. In both, integers divide as in NumPy: 1 / 2 is 0.5.

        Raises
        ------
        KeyError
            If it uses a column that is not in the catalogue.
        TypeError, UsageError
            If it is no condition.
        """
        rows = self._positions(slice(None))
        return Table(self._data, self._columns, rows[query.matching(condition, self._askable, self._judged())])


def _integer(key: Any) -> int | None:
    """A key that stands for one row."""
    if getattr(key, "ndim", 0):  # a tensor of one integer would pass for an integer
        return None
    try:
        return operator.index(key)
    except TypeError:
        return None
