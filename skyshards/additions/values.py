"""Values of added columns: small ones in memory, large ones in temporary files, whatever the size of the table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import pyarrow as pa

from skyshards.additions.columns import NewColumn, is_list
from skyshards.errors import BuildError, SourceError
from skyshards.format import missing
from skyshards.format.addition import KEY
from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS
from skyshards.format.kinds.base import Json
from skyshards.format.rows import EncodedRow
from skyshards.input_tables.table_file import InputColumn, TableFile

STRIPE_BYTES = 64 << 20
"""Approximate number of bytes to read of a vector's numbered columns at once."""


class Large(Protocol):
    """Stored bytes of a large column, by position among the rows that have values."""

    def content(self, number: int) -> bytes: ...

    def size(self, number: int) -> int: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class AddedRow(EncodedRow):
    """A row of the file of an addition; its large values are those of number `number`."""

    number: int
    large: Mapping[str, Large]

    def light(self) -> dict[str, Json]:
        raise NotImplementedError("small values of additions are written as whole columns")

    def payload(self) -> bytes:
        return b"".join(column.content(self.number) for column in self.large.values())


@dataclass(frozen=True)
class AddedRows(Sequence[AddedRow]):
    """The rows of the file of an addition, made when they are asked for.

    Attributes
    ----------
    keys : pyarrow.Table
        `object_id` and `source` of each row.
    numbers : int64 array
        The number of each row's large values.
    large : mapping of Large
        The large columns by dotted name.
    """

    keys: pa.Table
    numbers: np.ndarray
    large: Mapping[str, Large]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, row: Any) -> Any:
        if row >= len(self):
            raise IndexError(row)
        number = int(self.numbers[row])
        sizes = {path: column.size(number) for path, column in self.large.items()}
        object_id, source = (self.keys[name][row].as_py() for name in KEY)
        return AddedRow(object_id, source, sizes, number, self.large)


def small_columns(file: TableFile, columns: Sequence[NewColumn], wanted: np.ndarray) -> dict[str, pa.Array]:
    """Read small columns for some rows of a table.

    Parameters
    ----------
    file : TableFile
    columns : sequence of NewColumn
    wanted : int64 array
        Rows of the table, ascending.

    Returns
    -------
    dict of pyarrow.Array
        By dotted name, in the catalogue's types; null where the table has no value.
    """
    scalars = [column for column in columns if not column.spec.shape]
    found: dict[str, list[pa.Array]] = {column.spec.path: [] for column in scalars}
    inputs = [column.inputs[0] for column in scalars]
    if scalars:
        for _, rows, batch in _picked(file.batches(inputs), wanted):
            for column, values in zip(scalars, batch, strict=True):
                found[column.spec.path].append(_typed(values.take(rows), column.spec, file))
    specs = [column.spec for column in scalars]
    arrays = {spec.path: _concatenated(found.pop(spec.path), spec) for spec in specs}  # not all twice in memory
    for column in columns:
        if column.spec.shape:
            arrays[column.spec.path] = _short_vectors(file, column, wanted)
    return arrays


def _concatenated(parts: Sequence[pa.Array], spec: ColumnSpec) -> pa.Array:
    kind = KINDS[spec.kind].arrow_type(spec)
    return pa.chunked_array(parts, kind).combine_chunks() if parts else pa.array([], kind)


def _typed(values: pa.Array, spec: ColumnSpec, file: TableFile) -> pa.Array:
    """Cast values to a column's type, with nulls for NaN and for the fill value of text."""
    values = values.cast(KINDS[spec.kind].arrow_type(spec))
    if spec.dtype == "str":
        for text in values.drop_null().to_pylist():
            if "\0" in text:
                raise BuildError(f"{file.origin}: column {spec.path!r}: expected text, found a NUL in {text!r:.60}")
    elif spec.missing != "nan":
        _refuse_fill(values, spec, file)
    return missing.with_nulls(values, spec)


def _refuse_fill(values: pa.Array, spec: ColumnSpec, file: TableFile) -> None:
    import pyarrow.compute as pc

    if pc.any(pc.equal(values, pa.scalar(spec.missing, values.type))).as_py():
        raise BuildError(
            f"{file.origin}: column {spec.path!r}: has values {spec.missing}, which rows without a value would get;"
            " name another number with `missing`"
        )


def _picked(batches: Iterator[list[pa.Array]], wanted: np.ndarray) -> Iterator[tuple[slice, pa.Array, list[pa.Array]]]:
    """Yield batches with wanted rows: their places in `wanted`, and in the batch."""
    start = 0
    for batch in batches:
        stop = start + len(batch[0])
        first, last = np.searchsorted(wanted, [start, stop]).tolist()
        if first < last:
            yield slice(first, last), pa.array(wanted[first:last] - start), batch
        start = stop


def _arrays(file: TableFile, column: NewColumn, wanted: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Yield the arrays of wanted rows [rows, …], and which rows have one."""
    spec = column.spec
    for places, rows, [batch] in _picked(_lists(file, column.inputs[0]), wanted):
        lists = batch.take(rows)
        there = lists.is_valid().to_numpy(zero_copy_only=False)
        values = np.zeros((len(lists), *spec.shape), spec.dtype)
        values[there] = _numbers(lists, spec, file).reshape(-1, *spec.shape)
        yield places, values, there


def _lists(file: TableFile, column: InputColumn) -> Iterator[list[pa.Array]]:
    return file.raw.batches([column.place])


def _numbers(lists: pa.Array, spec: ColumnSpec, file: TableFile) -> np.ndarray:
    """Return all numbers in lists; missing ones are NaN, or an error for integers."""
    while is_list(lists.type):
        lists = lists.flatten()
    if lists.null_count and np.dtype(spec.dtype).kind != "f":
        raise BuildError(f"{file.origin}: column {spec.path!r}: expected numbers, found a null in a list")
    return lists.to_numpy(zero_copy_only=False).astype(spec.dtype)


def _short_vectors(file: TableFile, column: NewColumn, wanted: np.ndarray) -> pa.Array:
    spec = column.spec
    values, there = np.zeros((len(wanted), *spec.shape), spec.dtype), np.zeros(len(wanted), bool)
    if len(column.inputs) > 1:
        for place, component in enumerate(column.inputs):
            for places, rows, [batch] in _picked(file.batches([component]), wanted):
                values[places, place] = batch.take(rows).cast(pa.float32()).to_numpy(zero_copy_only=False)
        there[:] = True
    else:
        for places, found, valid in _arrays(file, column, wanted):
            values[places], there[places] = found, valid
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), spec.shape[0])
    return vectors.take(pa.array(np.arange(len(wanted)), mask=~there))


def large_column(file: TableFile, column: NewColumn, wanted: np.ndarray, temporary: Path) -> Large:
    """Read a large column for some rows of a table into a temporary file.

    Parameters
    ----------
    file, column, wanted
        As for `small_columns`.
    temporary : Path
        A new file, which the caller deletes once the values are closed.
    """
    if len(column.inputs) > 1:
        return _Stripes(file, column, wanted, temporary)
    return _Spooled(file, column, wanted, temporary)


class _Spooled:
    """Encoded values, one after the other, in the order of the table."""

    def __init__(self, file: TableFile, column: NewColumn, wanted: np.ndarray, temporary: Path):
        self._starts = np.zeros(len(wanted) + 1, np.int64)
        with open(temporary, "wb") as out:
            for number, content in enumerate(self._encoded(file, column, wanted)):
                out.write(content)
                self._starts[number + 1] = self._starts[number] + len(content)
        self._file: IO[bytes] = open(temporary, "rb")  # noqa: SIM115

    def _encoded(self, file: TableFile, column: NewColumn, wanted: np.ndarray) -> Iterator[bytes]:
        spec, kind = column.spec, KINDS[column.spec.kind]
        for values in self._values(file, column, wanted):
            try:
                yield kind.encode(missing.fill(spec) if values is None else values, spec)
            except SourceError as error:
                raise BuildError(f"{file.origin}: {error}") from error

    def _values(self, file: TableFile, column: NewColumn, wanted: np.ndarray) -> Iterator[np.ndarray | None]:
        if column.spec.varies:
            for _, rows, [batch] in _picked(_lists(file, column.inputs[0]), wanted):
                for one in batch.take(rows):
                    yield _numbers(one.values, column.spec, file) if one.is_valid else None
            return
        for _, arrays, there in _arrays(file, column, wanted):
            for array, is_there in zip(arrays, there.tolist(), strict=True):
                yield array if is_there else None

    def close(self) -> None:
        self._file.close()

    def content(self, number: int) -> bytes:
        return os.pread(self._file.fileno(), self.size(number), int(self._starts[number]))

    def size(self, number: int) -> int:
        return int(self._starts[number + 1] - self._starts[number])


class _Stripes:
    """Vectors of numbered columns, float32, a few columns of all rows at a time: files of them may have any row groups,
    and Parquet keeps a page of each column that it reads in memory."""

    def __init__(self, file: TableFile, column: NewColumn, wanted: np.ndarray, temporary: Path):
        self._length, self._count = len(column.inputs), len(wanted)
        self._width = max(1, STRIPE_BYTES // (4 * max(self._count, 1)))
        with open(temporary, "wb") as out:
            for first in range(0, self._length, self._width):
                inputs = column.inputs[first : first + self._width]
                values = np.empty((self._count, len(inputs)), np.float32)
                for places, rows, batch in _picked(file.batches(inputs), wanted):
                    for number, part in enumerate(batch):
                        values[places, number] = part.take(rows).cast(pa.float32()).to_numpy(zero_copy_only=False)
                out.write(values.data)
        self._file: IO[bytes] = open(temporary, "rb")  # noqa: SIM115

    def close(self) -> None:
        self._file.close()

    def content(self, number: int) -> bytes:
        parts = []
        for start in range(0, self._length, self._width):
            width = min(self._width, self._length - start)
            place = 4 * (self._count * start + number * width)
            parts.append(os.pread(self._file.fileno(), 4 * width, place))
        return b"".join(parts)

    def size(self, number: int) -> int:
        return 4 * self._length
