"""The columns of an opened catalogue, of which only what is used is read."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from skyshards.format import missing
from skyshards.format.arrow_arrays import is_null, numbers, texts, values
from skyshards.format.catalog_file import CatalogFile
from skyshards.format.kinds.base import LARGE_BYTES
from skyshards.format.kinds.text import is_long
from skyshards.format.layout import ADDED_ROW, CRC32, ROW, SHARD, SIZE, SPLIT, START
from skyshards.format.votable import is_text
from skyshards.read.skipping import Bounds, of_groups

MERGED_BYTES = 1 << 31
"""Texts of a column below this size become one array once all of them are read; Arrow's offsets allow no more."""

_PLACES = {
    ROW: ("int32", None),
    START: ("int64", 0),
    SIZE: ("int32", 0),
    CRC32: ("int64", -1),
    ADDED_ROW: ("int32", -1),
}
"""By the beginning of the names of the engine's own columns: dtype in memory, and what stands there for null."""


class CatalogColumns:
    """The columns of a catalogue by name, for all or some of its rows.

    A row group of a column is read when one of its rows is wanted, and kept. Forked processes share the memory of
    numbers. Thread-safe: two threads may read the same row group at once, with the same result.
    """

    def __init__(self, file: CatalogFile):
        self.file = file
        self._columns: dict[str, Any] = {field.name: _column(field, file) for field in file.schema}
        self._bounds: dict[str, Bounds] = {}

    def __len__(self) -> int:
        return len(self.file)

    def array(self, name: str, rows: np.ndarray | None = None) -> np.ndarray:
        """Return numbers [rows, ...], without a copy for all rows; those of shards and splits in the manifest.

        Where the catalogue has nulls, they are the column's fill value, 0 for the bytes of a value, or -1.
        """
        whole = self.with_rows(name, rows)
        return whole if rows is None else whole[rows]

    def with_rows(self, name: str, rows: np.ndarray | None) -> np.ndarray:
        """Return numbers as `array` does for all rows, but only these rows, or all, have been read."""
        column = self._columns[name]
        if not column.complete:
            self.load([name], rows)
        return column.values

    def arrow(self, name: str, rows: np.ndarray | None = None) -> pa.ChunkedArray:
        """Return values as they are in the catalogue; null for rows of -1."""
        there = None if rows is None or (rows >= 0).all() else rows >= 0
        self.load([name], rows if rows is None or there is None else rows[there])
        return self._columns[name].arrow(rows, there)

    def group(self, name: str, group: int) -> pa.ChunkedArray:
        """Return the values of a row group as `arrow` does, of numbers without a copy."""
        column = self._columns[name]
        self._load({name: column}, [group])
        return column.group(group, slice(*self.file.bounds[group : group + 2].tolist()))

    def bounds(self, name: str) -> Bounds:
        """Return bounds of the values in each row group."""
        if name not in self._bounds:
            column = self._columns[name]
            self._bounds[name] = of_groups(
                self.file.extents(name), None if is_text(column.kind) else column.values.dtype
            )
        return self._bounds[name]

    def table(self, names: Iterable[str], rows: np.ndarray | None = None) -> pa.Table:
        """Return some columns as a table."""
        fields = [self.file.schema.field(name) for name in names]
        return pa.table([self.arrow(field.name, rows) for field in fields], pa.schema(fields).remove_metadata())

    def is_long(self, name: str) -> bool:
        """Whether a column has texts that are better kept as objects."""
        longest = self.file.longest(name)
        return is_long(self.arrow(name)) if longest is None else longest > LARGE_BYTES

    def load(self, names: Sequence[str], rows: np.ndarray | None = None) -> None:
        """Read some columns of some rows, or all, at once."""
        columns = {name: column for name in names if not (column := self._columns[name]).complete}
        if not columns:
            return
        every = range(len(self.file.bounds) - 1)
        self._load(columns, every if rows is None else np.unique(self.groups_of(rows)).tolist())

    def _load(self, columns: Mapping[str, Any], groups: Iterable[int]) -> None:
        for group in groups:
            if wanted := [name for name, column in columns.items() if not column.read[group]]:
                bounds = slice(*self.file.bounds[group : group + 2].tolist())
                for name, part in self.file.read(group, wanted).items():
                    self._columns[name].put(group, bounds, part)
        for column in columns.values():
            column.complete = bool(column.read.all())

    def forget_before(self, row: int) -> None:
        """Free the memory of all columns if a row group before this row has been read."""
        group = int(self.groups_of(np.array([row]))[0])
        if any(column.read[:group].any() for column in self._columns.values()):
            self._columns = {field.name: _column(field, self.file) for field in self.file.schema}

    def groups_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the row group of each row."""
        return np.searchsorted(self.file.bounds, rows, side="right") - 1


def _column(field: pa.Field, file: CatalogFile) -> _Numbers | _Texts:
    kind = field.type
    if is_text(kind):
        return _Texts(file.bounds, kind)
    if field.name in (SHARD, SPLIT):
        names = file.manifest.splits if field.name == SPLIT else [shard.path for shard in file.manifest.shards]
        return _Numbers(file, np.dtype(np.int32), kind, dictionary=texts(names))
    spec = file.manifest.specs.get(field.name)
    if spec is not None:
        return _Numbers(file, np.dtype(spec.dtype), kind, missing.fill(spec) if missing.has_nulls(spec) else None)
    dtype, fill = next(found for prefix, found in _PLACES.items() if field.name.startswith(prefix))
    return _Numbers(file, np.dtype(dtype), kind, fill)


class _Numbers:
    """A column of numbers, lists of numbers, or codes of texts, in memory that is taken as it is filled."""

    def __init__(
        self,
        file: CatalogFile,
        dtype: np.dtype,
        kind: pa.DataType,
        fill: float | None = None,
        dictionary: pa.Array = None,
    ):
        shape = (kind.list_size,) if pa.types.is_fixed_size_list(kind) else ()
        self.values = _shared((len(file), *shape), dtype)
        self.lacking = None if fill is None else _shared((len(file),), np.dtype(bool))
        self.read = np.zeros(len(file.bounds) - 1, bool)
        self.complete = False
        self.kind, self._fill, self._dictionary = kind, fill, dictionary
        self._stored = np.dtype(np.uint32) if kind == pa.uint32() else dtype  # of crc32s, which have -1 in memory

    def put(self, group: int, rows: slice, column: pa.Array) -> None:
        if self._dictionary is not None:
            column = column.indices
        flat = column.flatten() if self.values.ndim > 1 else column
        self.values[rows] = values(flat).reshape(self.values[rows].shape)
        if self.lacking is not None and column.null_count:
            self.lacking[rows] = lacking = is_null(column)
            self.values[rows][lacking] = self._fill
        self.read[group] = True

    def arrow(self, rows: np.ndarray | slice | None, there: np.ndarray | None) -> pa.ChunkedArray:
        found, lacking = self.values, self.lacking
        if rows is not None:
            found, lacking = found[rows], None if lacking is None else lacking[rows]
        if there is not None:
            lacking = ~there if lacking is None else lacking | ~there
        if lacking is not None and not lacking.any():
            lacking = None
        if self._dictionary is not None:
            array = pa.DictionaryArray.from_arrays(numbers(found, lacking), self._dictionary)
        else:
            array = numbers(found.astype(self._stored, copy=False), lacking, self.kind)
        return pa.chunked_array([array])

    def group(self, group: int, rows: slice) -> pa.ChunkedArray:
        return self.arrow(rows, None)


class _Texts:
    """A column of texts, or lists of texts, by row group."""

    def __init__(self, bounds: np.ndarray, kind: pa.DataType):
        self.read = np.zeros(len(bounds) - 1, bool)
        self.complete = False
        self.kind = kind
        self._parts: tuple[np.ndarray, list[Any]] = bounds, [None] * len(self.read)

    def put(self, group: int, rows: slice, column: pa.Array) -> None:
        bounds, chunks = self._parts
        if len(chunks) != len(self.read):  # another thread has read and merged all of them
            return
        chunks[group] = column
        self.read[group] = True
        if self.read.all() and sum(chunk.nbytes for chunk in chunks) < MERGED_BYTES:
            self._parts = bounds[[0, -1]], [pa.concat_arrays(chunks)]

    def group(self, group: int, rows: slice) -> pa.ChunkedArray:
        _, chunks = self._parts
        part = chunks[group] if len(chunks) == len(self.read) else chunks[0].slice(rows.start, rows.stop - rows.start)
        return pa.chunked_array([part], self.kind)

    def arrow(self, rows: np.ndarray | None, there: np.ndarray | None) -> pa.ChunkedArray:
        bounds, chunks = self._parts
        if rows is None:
            return pa.chunked_array(chunks, self.kind)
        if len(chunks) == 1 and chunks[0] is not None:
            wanted = numbers(rows, None if there is None else ~there)
            return pa.chunked_array([chunks[0].take(wanted)], self.kind)
        return _taken(bounds, chunks, rows, there, self.kind)


def _taken(
    bounds: np.ndarray, chunks: Sequence[Any], rows: np.ndarray, there: np.ndarray | None, kind: pa.DataType
) -> pa.ChunkedArray:
    """Take rows from several arrays, of which those without any may be None."""
    positions = np.arange(len(rows)) if there is None else np.flatnonzero(there)
    wanted = rows[positions]
    groups = np.searchsorted(bounds, wanted, side="right") - 1
    order = np.argsort(groups, kind="stable")
    found = np.unique(groups)
    starts, ends = (np.searchsorted(groups[order], found, side) for side in ("left", "right"))
    parts = [
        chunks[group].take(numbers(wanted[order[start:end]] - bounds[group]))
        for group, start, end in zip(found.tolist(), starts.tolist(), ends.tolist(), strict=True)
    ]
    places = np.full(len(rows), -1)
    places[positions[order]] = np.arange(len(order))
    merged = pa.concat_arrays(parts) if parts else pa.nulls(0, kind)
    return pa.chunked_array([merged.take(numbers(places, places < 0))], kind)


def _shared(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return zeros in memory that is taken as it is written to, and that forked processes share."""
    size = int(np.prod(shape)) * dtype.itemsize
    if not size:
        return np.zeros(shape, dtype)
    return np.frombuffer(mmap.mmap(-1, size), dtype).reshape(shape)
