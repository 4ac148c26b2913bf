"""Write one Parquet file of a HATS catalogue, one row group at a time."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skyshards.errors import FolderError
from skyshards.export.columns import to_arrow
from skyshards.export.place import Place
from skyshards.export.tiles import row_groups
from skyshards.format.columns import ColumnSpec, flatten
from skyshards.read.table import Table, open_table

GROUP_ROWS, GROUP_BYTES = 100, 16 << 20
"""Maximum rows and approximate maximum bytes of a row group of more than one row."""
BATCH_BYTES = 16 << 20
"""Approximate bytes of values read at once; deflated masks may take a hundredth of that in the file."""


@dataclass(frozen=True)
class Writing:
    """Settings shared by all files of an export.

    `folders` are by name the datasets' folders and states, `columns` for each the names of its columns in the export,
    `specs` all columns by these names. `parquet` are arguments of `pyarrow.parquet.ParquetWriter`.
    """

    folders: Mapping[str, tuple[str, str]]
    columns: Mapping[str, Mapping[str, str]]
    specs: Mapping[str, ColumnSpec]
    place: Place
    schema: pa.Schema
    parquet: Mapping[str, Any]


@dataclass(frozen=True)
class RowFile:
    """One file: its path, the rows of each dataset (-1 for none), their approximate bytes, and the other columns."""

    name: str
    rows: Mapping[str, np.ndarray]
    nbytes: np.ndarray
    added: pa.Table


def write_rows(writing: Writing, file: RowFile) -> int:
    """Write a file; return the number of its rows."""
    with (
        writing.place.writing(file.name) as path,
        pq.ParquetWriter(path, writing.schema, **writing.parquet) as writer,
    ):
        for group in row_groups(file.nbytes, GROUP_ROWS, GROUP_BYTES):
            parts = list(_tables(writing, file, group))
            writer.write_table(pa.concat_tables(parts), row_group_size=group.stop - group.start)
    return len(file.nbytes)


def _tables(writing: Writing, file: RowFile, group: slice) -> Iterator[pa.Table]:
    """Yield a row group in parts of bounded size."""
    tables = {name: _opened(*folder).select_columns(writing.columns[name]) for name, folder in writing.folders.items()}
    length = max(1, BATCH_BYTES // max(1, sum(table.row_nbytes for table in tables.values())))
    for start in range(group.start, group.stop, length):
        part = slice(start, min(start + length, group.stop))
        added = file.added.slice(part.start, part.stop - part.start)
        arrays: dict[str, Any] = {name: added[name] for name in added.column_names}
        for name, table in tables.items():
            arrays |= _values(writing, name, table, file.rows[name][part])
        yield pa.table(arrays, schema=writing.schema)


def _values(writing: Writing, name: str, table: Table, rows: np.ndarray) -> dict[str, pa.Array]:
    """Read rows of a dataset; return its columns, null for absent rows."""
    names, there = writing.columns[name], rows >= 0
    if not there.any():
        fields = dict.fromkeys(path.partition(".")[0] for path in names.values())
        return {field: pa.nulls(len(rows), writing.schema.field(field).type) for field in fields}
    batch = {names[path]: values for path, values in flatten(table[rows[there]]).items()}
    arrays = to_arrow(batch, {path: writing.specs[path] for path in names.values()})
    if there.all():
        return arrays
    places = pa.array(np.cumsum(there) - 1, mask=~there)
    return {field: array.take(places) for field, array in arrays.items()}


@functools.lru_cache(8)
def _opened(folder: str, state: str) -> Table:
    """Open a dataset, once per process, with a single thread. Raises `FolderError` if it is in another state."""
    table = open_table(folder, threads=1, decode=False)
    if table._data.state != state:
        raise FolderError(f"{folder}: the dataset changed during the export; delete the export and start again")
    return table
