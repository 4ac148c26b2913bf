"""Random access to a built data set: `skyshards.open(folder)` gives a table that is indexed like an array."""

from __future__ import annotations

import functools
import hashlib
import operator
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skyshards.errors import FolderError
from skyshards.format import healpix as sky
from skyshards.format.columns import ColumnSpec, nest, select
from skyshards.read.batches import Reader, Request
from skyshards.read.memory import Recycler
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
    data = _Data(store, threads, decode)
    table = Table(data, tuple(data.manifest.specs), None)
    if split is None:
        return table
    if split not in data.manifest.splits:
        raise FolderError(f"{location}: no split {split!r}; there are {', '.join(data.manifest.splits)}")
    return table.where(pc.field("_split") == split)


class _Data:
    """What all selections of one opened folder share: the catalogue, and the reader of its shards. Pickled by
    location.
    """

    def __init__(self, store: LocalStore | RemoteStore, threads: int | None, decode: bool):
        rows, self.manifest = store.read_catalog()
        self.rows: pa.Table = rows.combine_chunks()
        self.reader = Reader(store, threads, decode)
        self._memory = Recycler()
        self._shards = self.rows["_shard"].chunk(0).dictionary.to_pylist() if len(rows) else []
        store.sizes = {shard.path: shard.nbytes for shard in self.manifest.shards}
        self._arrays: dict[str, np.ndarray] = {}
        self._image_shapes: dict[str, tuple[int, ...]] = {}

    def __reduce__(self):
        return _Data, (self.reader.store, self.reader.threads, self.reader.decode_images)

    @functools.cached_property
    def state(self) -> str:
        """A digest of the shards: while it is the same, a number of the catalogue stands for the same row."""
        return hashlib.sha256(repr(self.manifest.shards).encode()).hexdigest()

    def array(self, name: str) -> np.ndarray:
        """A numeric column of the catalogue as an array, without copying it where Arrow allows."""
        if name not in self._arrays:
            column = self.rows[name]
            column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
            if pa.types.is_dictionary(column.type):
                array = column.indices.to_numpy()
            elif pa.types.is_fixed_size_list(column.type):
                array = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)
            else:
                array = column.to_numpy(zero_copy_only=False)
            self._arrays[name] = array
        return self._arrays[name]

    def light(self, spec: ColumnSpec, rows: np.ndarray) -> np.ndarray:
        """Values of a light column, copied."""
        if spec.kind == "string":
            values = self.rows[spec.path].take(pa.array(rows)).to_pylist()
            return np.array(values, dtype=str).reshape(len(rows), *spec.shape)
        return self.array(spec.path)[rows]

    def heavy(self, spec: ColumnSpec, rows: np.ndarray) -> Request:
        """The request for values of a heavy column."""
        images = None
        if spec.path in self._image_shapes:
            images = self._memory.empty((len(rows), *self._image_shapes[spec.path]), "uint8")
        return Request(
            spec,
            [self._shards[code] for code in self.array("_shard")[rows].tolist()],
            self.array("_row")[rows].tolist(),
            self.array(f"_start:{spec.path}")[rows].tolist(),
            self.array(f"_size:{spec.path}")[rows].tolist(),
            [None] * len(rows) if spec.kind == "bytes" else self._memory.empty((len(rows), *spec.shape), spec.dtype),
            images,
        )

    def stack(self, request: Request) -> np.ndarray:
        """The values of a request that was met: of image files, those of one size as an array [rows, H, W, C]; bytes,
        or images of several sizes, as an array of objects.
        """
        values = request.out
        if isinstance(values, np.ndarray):
            return values
        if request.images is not None:
            if values and all(value is None for value in values):
                return request.images
            values = [request.images[place] if value is None else value for place, value in enumerate(values)]
        if values and all(isinstance(image, np.ndarray) and image.shape == values[0].shape for image in values):
            if values[0].dtype == np.uint8:
                self._image_shapes[request.spec.path] = values[0].shape  # the next ones are most likely like these
            return np.stack(values)
        stacked = np.empty(len(values), object)
        stacked[:] = values
        return stacked


class Table:
    """Rows of a built data set, in the order in which stock `load_dataset` gives them.

    `table[i]` is one row, a nested dict of NumPy values; `table[a:b]`, `table[[3, 1, 4]]` and `table[array]` are
    batches, the same with a first dimension for the rows. Dtypes are those of the shards. Selections (`columns`,
    `select`, `cone`, `where`) are tables again and read nothing.

    A table can be forked and pickled, as data loaders do; a pickle holds where the data set is, not what is in it. That
    of a selection of rows raises `FolderError` when it is loaded after the data set was built further.
    """

    def __init__(self, data: _Data, columns: tuple[str, ...], index: np.ndarray | None):
        self._data = data
        self._columns = columns
        self._index = index

    def __reduce__(self):
        if self._index is None:
            return Table, (self._data, self._columns, None)
        return _unpickled, (self._data, self._columns, self._index, self._data.state)

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
        try:
            if getattr(key, "ndim", 0):  # a tensor of one integer would pass for an integer
                raise TypeError
            position = operator.index(key)
        except TypeError:
            return nest(self._start(self._positions(key), ahead=False)())
        values = self._start(self._positions([position]), ahead=False)()
        return nest({path: value[0] for path, value in values.items()})

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
        names = [name for name in self._data.rows.column_names if not name.startswith(("_start:", "_size:"))]
        rows = self._data.rows.select(names)
        return rows if self._index is None else rows.take(pa.array(self._index))

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

    def cone(self, ra: float, dec: float, radius: float) -> Table:
        """The rows within `radius` of a position; all in degrees."""
        rows = self._positions(slice(None))
        near = sky.in_cone(self._data.array("ra")[rows], self._data.array("dec")[rows], (ra, dec), radius)
        return Table(self._data, self._columns, rows[near])

    def where(self, condition: pc.Expression) -> Table:
        """The rows of which a pyarrow expression over the catalogue is true: `pc.field("total_classifications") >=
        20`.
        """
        import pyarrow.dataset  # slow to import, and needed only here

        rows = self._positions(slice(None))
        numbered = self._data.rows.append_column("_position", pa.array(np.arange(len(self._data.rows))))
        matching = pyarrow.dataset.dataset(numbered).to_table(columns=["_position"], filter=condition)
        keep = np.zeros(len(self._data.rows), bool)
        keep[matching["_position"].to_numpy()] = True
        return Table(self._data, self._columns, rows[keep[rows]])


def _unpickled(data: _Data, columns: tuple[str, ...], index: np.ndarray, state: str) -> Table:
    """A selection of rows, if the data set is still what it was made of."""
    if data.state != state:
        cause = "the data set is another than when this selection was pickled, and its rows have other places"
        raise FolderError(f"{data.reader.store}: {cause}; make the selection again")
    return Table(data, columns, index)
