"""Readers of each table format: names and types of the columns, and batches of selected columns."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from skyshards.errors import BuildError
from skyshards.input_tables import words
from skyshards.input_tables.guess import MISSING
from skyshards.input_tables.words import Words

BATCH_ROWS = 1 << 15
HEADER_BYTES = 1 << 20
"""Number of bytes in which to look for the header of a CSV file."""
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
_SPELLED = ("NaN", *(case(cell) for cell in MISSING for case in (str.lower, str.upper, str.title)))


class Raw(Protocol):
    """A table as stored in its file. Columns are identified by place, because names may be duplicate or empty.

    `gapless` holds the places of signed integer and boolean columns that the file declares to have no missing values,
    `words` what the file says of its columns, by place.
    """

    names: tuple[str, ...]
    types: tuple[pa.DataType, ...]
    gapless: frozenset[int]
    words: Mapping[int, Words]

    def batches(self, places: Sequence[int]) -> Iterator[list[pa.Array]]: ...


class Parquet:
    """A Parquet file, or some of its row groups."""

    def __init__(self, path: Path, groups: Sequence[int] | None = None):
        self._path = path
        with pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
        self.names, self.types = tuple(schema.names), tuple(schema.types)
        self.group_rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._groups = groups
        leaves = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
        flat = {place: [n for n, leaf in enumerate(leaves) if leaf == name] for place, name in enumerate(self.names)}
        self.gapless = frozenset(
            place
            for place, numbers in flat.items()
            if len(numbers) == 1 and _is_exact(self.types[place]) and _has_no_null(metadata, numbers[0])
        )
        self.words: Mapping[int, Words] = words.of_parquet(schema)

    def batches(self, places: Sequence[int]) -> Iterator[list[pa.Array]]:
        # Arrow selects by name and returns all columns of that name.
        ranks = [(self.names[place], self.names[:place].count(self.names[place])) for place in places]
        with pq.ParquetFile(self._path, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH_ROWS, self._groups, sorted({name for name, _ in ranks})):
                yield [batch.column(batch.schema.get_all_field_indices(name)[rank]) for name, rank in ranks]


def _is_exact(type: pa.DataType) -> bool:
    return pa.types.is_signed_integer(type) or pa.types.is_boolean(type)


def _has_no_null(metadata: pq.FileMetaData, leaf: int) -> bool:
    parts = (metadata.row_group(group).column(leaf).statistics for group in range(metadata.num_row_groups))
    return all(part is not None and part.has_null_count and part.null_count == 0 for part in parts)


class Csv:
    """Comma-separated text with a header, possibly compressed; every column is text unless its type is given.

    Lines above the header that begin with `#` are skipped, such as the `#Table1` of SkyServer and CasJobs. If the last
    of them has as many commas as the next line, it is the header itself.
    """

    def __init__(self, path: Path):
        self._path = path
        with open(path, "rb") as file:
            start = file.read(4)
        self._compression = next((name for magic, name in _COMPRESSIONS.items() if start.startswith(magic)), None)
        with self._open() as stream:
            lines = stream.read(HEADER_BYTES).decode("utf-8-sig", errors="replace").split("\n")
        first = next((number for number, line in enumerate(lines) if line.strip() and line[0] != "#"), None)
        if first is None:
            raise BuildError(f"{path}: expected a table, found no line that names its columns")
        commas = lines[first].count(",")
        above = first > 0 and commas > 0 and lines[first - 1].count(",") == commas
        self._skipped = first - 1 if above else first
        header = lines[self._skipped].removeprefix("#").rstrip("\r")
        self.names = tuple(name.strip() for name in next(csv.reader([header])))
        self.types = (pa.string(),) * len(self.names)
        self.gapless: frozenset[int] = frozenset()
        self.words: Mapping[int, Words] = {}
        self._empty = not any(line.strip() for line in lines[self._skipped + 1 :])

    def _open(self) -> pa.NativeFile:
        return pa.input_stream(str(self._path), compression=self._compression)

    def batches(
        self, places: Sequence[int], types: Mapping[int, pa.DataType] | None = None
    ) -> Iterator[list[pa.Array]]:
        """Yield batches as in `Raw`; columns with given types are converted while parsing, which is fast.

        Raises `pa.ArrowInvalid` for a cell that is not of its column's type.
        """
        if self._empty or not places:
            return
        columns = [str(place) for place in range(len(self.names))]
        wanted = {str(place): (types or {}).get(place, pa.string()) for place in places}
        options = pa.csv.ConvertOptions(
            column_types=wanted,
            include_columns=list(wanted),
            null_values=_SPELLED,
            strings_can_be_null=True,
        )
        read = pa.csv.ReadOptions(column_names=columns, skip_rows=self._skipped + 1, block_size=1 << 20)
        with self._open() as stream, pa.csv.open_csv(stream, read_options=read, convert_options=options) as reader:
            for batch in reader:
                yield [batch.column(str(place)) for place in places]


class InMemory:
    """A table read by astropy: FITS, ECSV or VOTable."""

    def __init__(self, names: Sequence[str], columns: Sequence[np.ma.MaskedArray], words: Mapping[int, Words]):
        self.names, self.words = tuple(names), words
        self._columns = [_arrow(column) for column in columns]
        self.types = tuple(column.type for column in self._columns)
        self.gapless = frozenset(
            place for place, column in enumerate(self._columns) if _is_exact(column.type) and not column.null_count
        )

    def batches(self, places: Sequence[int]) -> Iterator[list[pa.Array]]:
        yield [self._columns[place] for place in places]

    @classmethod
    def of_astropy(cls, path: Path, format: str) -> InMemory:
        from astropy.table import Table

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # non-standard units, more than one table
            table = Table.read(path, format=format)
        columns = list(table.itercols())
        return cls(table.colnames, columns, words.of_columns(columns))

    @classmethod
    def of_votable(cls, element) -> InMemory:
        """Create from a parsed `astropy.io.votable.tree.TableElement`."""
        array = element.array
        columns = [array[name] for name in array.dtype.names]
        return cls([field.name for field in element.fields], columns, words.of_fields(element.fields))


def _arrow(column) -> pa.Array:
    """Convert an astropy column to Arrow; integers never pass through float, not even with NULLs."""
    if not isinstance(column, np.ndarray):  # such as times
        return _unknown(column)
    values, mask = np.ma.getdata(column), np.ma.getmaskarray(column)
    if values.dtype.kind in "biuf":
        return _nested(values, mask) if values.size or values.ndim == 1 else _unknown(column)
    if values.ndim != 1:
        return _unknown(column)
    cells = [None if gone else value for value, gone in zip(values.tolist(), mask.tolist(), strict=True)]
    if any(isinstance(cell, np.ndarray) for cell in cells):
        return _lists(cells)
    cells = [cell.decode(errors="replace") if isinstance(cell, bytes) else cell for cell in cells]
    if all(cell is None or isinstance(cell, str) for cell in cells):
        return pa.array(cells, pa.string())
    return _unknown(column)


def _unknown(column) -> pa.Array:
    """Stand in for a column whose values Arrow cannot hold."""
    return pa.nulls(len(column), pa.list_(pa.null()))


def _nested(values: np.ndarray, mask: np.ndarray) -> pa.Array:
    """Convert numbers [rows, ...]; with more dimensions than one, to lists of a fixed length."""
    flat = values.astype(values.dtype.newbyteorder("="), copy=False).reshape(-1)
    found = pa.array(flat, mask=mask.reshape(-1))
    for length in values.shape[:0:-1]:
        found = pa.FixedSizeListArray.from_arrays(found, length)
    return found


def _lists(cells: Sequence[Any]) -> pa.Array:
    """Convert one-dimensional arrays of numbers of any length."""
    arrays = [cell if cell is None else np.ma.filled(cell) for cell in cells]
    given = [array for array in arrays if array is not None]
    if any(array.ndim != 1 or array.dtype.kind not in "biuf" for array in given):
        return _unknown(cells)
    kind = np.result_type(*{array.dtype for array in given})
    natives = [array if array is None else array.astype(kind.newbyteorder("=")) for array in arrays]
    return pa.array(natives, pa.list_(pa.from_numpy_dtype(kind.newbyteorder("="))))
