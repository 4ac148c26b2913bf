"""The columns of an opened catalogue, of which only what is used is read."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from skyshards.format import missing
from skyshards.format.catalog_file import CatalogFile
from skyshards.format.kinds.base import LARGE_BYTES
from skyshards.format.kinds.text import is_long
from skyshards.format.layout import ADDED_ROW, CRC32, SHARD, SIZE, SPLIT, START
from skyshards.format.votable import is_text

MERGED_BYTES = 1 << 31
"""Texts of a column below this size become one array once all of them are read; Arrow's offsets allow no more."""


class CatalogColumns:
    """The columns of a catalogue by name, for all or some of its rows.

    A row group of a column is read when one of its rows is wanted, and kept. Forked processes share the memory of
    numbers. Thread-safe: two threads may read the same row group at once, with the same result.
    """

    def __init__(self, file: CatalogFile):
        self.file = file
        self._columns: dict[str, Any] = {field.name: _column(field, file) for field in file.schema}

    def __len__(self) -> int:
        return len(self.file)

    def array(self, name: str, rows: np.ndarray | None = None) -> np.ndarray:
        """Return numbers [rows, ...], without a copy for all rows; those of shards and splits in the manifest.

        Where the catalogue has nulls, they are the column's fill value, 0 for the bytes of a value, or -1.
        """
        values = self.with_rows(name, rows)
        return values if rows is None else values[rows]

    def with_rows(self, name: str, rows: np.ndarray | None) -> np.ndarray:
        """Return numbers as `array` does for all rows, but only these rows, or all, have been read."""
        return self._loaded(name, rows).values

    def arrow(self, name: str, rows: np.ndarray | None = None) -> pa.ChunkedArray:
        """Return values as they are in the catalogue; null for rows of -1."""
        if rows is None or (rows >= 0).all():
            return self._loaded(name, rows).arrow(rows, None)
        return self._loaded(name, rows[rows >= 0]).arrow(rows, rows >= 0)

    def table(self, names: Iterable[str], rows: np.ndarray | None = None) -> pa.Table:
        """Return some columns as a table."""
        fields = [self.file.schema.field(name) for name in names]
        return pa.table([self.arrow(field.name, rows) for field in fields], pa.schema(fields).remove_metadata())

    def is_long(self, name: str) -> bool:
        """Whether a column has texts that are better kept as objects."""
        longest = self.file.longest(name)
        return is_long(self.arrow(name)) if longest is None else longest > LARGE_BYTES

    def _loaded(self, name: str, rows: np.ndarray | None) -> Any:
        """Return a column of which some rows, or all, have been read."""
        column = self._columns[name]
        if column.complete:
            return column
        wanted = ~column.read
        if rows is not None:
            wanted &= np.bincount(self._groups_of(rows), minlength=len(wanted)).astype(bool)
        for group in np.flatnonzero(wanted).tolist():
            bounds = slice(*self.file.bounds[group : group + 2].tolist())
            for each, values in self.file.read(group, [name]).items():
                self._columns[each].put(group, bounds, values)
        column.complete = bool(column.read.all())
        return column

    def _groups_of(self, rows: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.file.bounds, rows, side="right") - 1


def _column(field: pa.Field, file: CatalogFile) -> _Numbers | _Texts:
    kind = field.type
    if is_text(kind):
        return _Texts(file.bounds, kind)
    if field.name in (SHARD, SPLIT):
        names = file.manifest.splits if field.name == SPLIT else [shard.path for shard in file.manifest.shards]
        return _Numbers(file, np.dtype(np.int32), kind, dictionary=pa.array(names, pa.string()))
    spec = file.manifest.specs.get(field.name)
    if spec is not None:
        fill = missing.fill(spec) if missing.has_nulls(spec) else None
    else:
        fill = 0 if field.name.startswith((START, SIZE)) else -1 if field.name.startswith((CRC32, ADDED_ROW)) else None
    item = kind.value_type if pa.types.is_fixed_size_list(kind) else kind
    dtype = np.int64 if field.name.startswith(CRC32) else item.to_pandas_dtype()
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
        self._kind, self._fill, self._dictionary = kind, fill, dictionary

    def put(self, group: int, rows: slice, column: pa.Array) -> None:
        if self.lacking is not None and column.null_count:
            self.lacking[rows] = column.is_null().to_numpy(zero_copy_only=False)
            column = column.cast(pa.from_numpy_dtype(self.values.dtype))  # of unsigned ones, which have no -1
            column = column.fill_null(pa.scalar(self._fill, column.type))
        if self._dictionary is not None:
            column = column.indices
        elif self.values.ndim > 1:
            column = column.flatten()
        self.values[rows] = column.to_numpy(zero_copy_only=False).reshape(self.values[rows].shape)
        self.read[group] = True

    def arrow(self, rows: np.ndarray | None, there: np.ndarray | None) -> pa.ChunkedArray:
        values, lacking = self.values, self.lacking
        if rows is not None:
            values, lacking = values[rows], None if lacking is None else lacking[rows]
        if there is not None:
            lacking = ~there if lacking is None else lacking | ~there
        if lacking is not None and not lacking.any():
            lacking = None
        if self._dictionary is not None:
            codes = pa.array(values, mask=lacking)
            return pa.chunked_array([pa.DictionaryArray.from_arrays(codes, self._dictionary)])
        if values.ndim == 1:
            array = pa.array(values, mask=lacking)
            return pa.chunked_array([array if array.type == self._kind else array.cast(self._kind)])
        mask = None if lacking is None else pa.array(lacking)
        flat = pa.array(values.reshape(-1), self._kind.value_type)
        return pa.chunked_array([pa.FixedSizeListArray.from_arrays(flat, type=self._kind, mask=mask)])


class _Texts:
    """A column of texts, or lists of texts, by row group."""

    def __init__(self, bounds: np.ndarray, kind: pa.DataType):
        self.read = np.zeros(len(bounds) - 1, bool)
        self.complete = False
        self._kind = kind
        self._parts: tuple[np.ndarray, list[Any]] = bounds, [None] * len(self.read)

    def put(self, group: int, rows: slice, column: pa.Array) -> None:
        bounds, chunks = self._parts
        if len(chunks) != len(self.read):  # another thread has read and merged all of them
            return
        chunks[group] = column
        self.read[group] = True
        if self.read.all() and sum(chunk.nbytes for chunk in chunks) < MERGED_BYTES:
            self._parts = bounds[[0, -1]], [pa.concat_arrays(chunks)]

    def arrow(self, rows: np.ndarray | None, there: np.ndarray | None) -> pa.ChunkedArray:
        bounds, chunks = self._parts
        if rows is None:
            return pa.chunked_array(chunks, self._kind)
        if len(chunks) == 1 and chunks[0] is not None:
            wanted = pa.array(rows, mask=None if there is None else ~there)
            return pa.chunked_array([chunks[0].take(wanted)], self._kind)
        return _taken(bounds, chunks, rows, there, self._kind)


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
        chunks[group].take(pa.array(wanted[order[start:end]] - bounds[group]))
        for group, start, end in zip(found.tolist(), starts.tolist(), ends.tolist(), strict=True)
    ]
    places = np.full(len(rows), -1)
    places[positions[order]] = np.arange(len(order))
    merged = pa.concat_arrays(parts) if parts else pa.array([], kind)
    return pa.chunked_array([merged.take(pa.array(places, mask=places < 0))], kind)


def _shared(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return zeros in memory that is taken as it is written to, and that forked processes share."""
    size = int(np.prod(shape)) * dtype.itemsize
    if not size:
        return np.zeros(shape, dtype)
    return np.frombuffer(mmap.mmap(-1, size), dtype).reshape(shape)
