"""Write one Parquet file of a HATS catalogue, one row group at a time."""

from __future__ import annotations

import functools
import itertools
import pickle
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skyshards.errors import FolderError
from skyshards.export.columns import to_arrow
from skyshards.export.tiles import row_groups
from skyshards.format.columns import ColumnSpec, flatten
from skyshards.place import Place
from skyshards.processes import in_order
from skyshards.read.opened import OpenedFolder
from skyshards.read.store import LocalStore, RemoteStore
from skyshards.read.table import Table

GROUP_ROWS, GROUP_BYTES = 100, 16 << 20
"""Maximum rows and approximate maximum bytes of a row group of more than one row."""
BATCH_BYTES = 16 << 20
"""Approximate bytes of values read at once; deflated masks may take a hundredth of that in the file."""


@dataclass(frozen=True)
class Dataset:
    """Where a dataset lies, as a pickled store (stores cannot be keys of a cache), and the state it must be in."""

    store: bytes
    state: str

    @classmethod
    def of(cls, table: Table) -> Dataset:
        return cls(pickle.dumps(table._data.reader.store), table._data.state)


@dataclass(frozen=True)
class Writing:
    """Settings shared by all files of an export.

    `datasets` are by name the datasets to read, `columns` for each the names of its columns in the export, `specs` all
    columns by these names. `parquet` are arguments of `pyarrow.parquet.ParquetWriter`.
    """

    datasets: Mapping[str, Dataset]
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


def write_rows(writing: Writing, file: RowFile, threads: int = 1) -> int:
    """Write a file; return the number of its rows. `threads` read and encode; the bytes do not depend on them."""
    groups = row_groups(file.nbytes, GROUP_ROWS, GROUP_BYTES)
    tables = {name: _opened(dataset) for name, dataset in writing.datasets.items()}
    tables = {name: table.select_columns(writing.columns[name]) for name, table in tables.items()}
    length = max(1, BATCH_BYTES // max(1, sum(table.row_nbytes for table in tables.values())))
    parts = [_parts(group, length) for group in groups]
    calls = ((writing, file, tables, part) for part in itertools.chain(*parts))
    with (
        writing.place.writing(file.name) as path,
        pq.ParquetWriter(path, writing.schema, **writing.parquet) as writer,
        ThreadPoolExecutor(threads, thread_name_prefix="skyshards-export") as pool,
    ):
        found = in_order(pool, _table, calls, threads) if threads > 1 else itertools.starmap(_table, calls)
        for group, needed in zip(groups, parts, strict=True):
            whole = pa.concat_tables(itertools.islice(found, len(needed)))
            writer.write_table(whole, row_group_size=group.stop - group.start)
    return len(file.nbytes)


def _parts(group: slice, length: int) -> list[slice]:
    """Divide a row group into parts of at most `length` rows."""
    return [slice(start, min(start + length, group.stop)) for start in range(group.start, group.stop, length)]


def _table(writing: Writing, file: RowFile, tables: Mapping[str, Table], part: slice) -> pa.Table:
    """Read and convert some rows of a file."""
    added = file.added.slice(part.start, part.stop - part.start)
    arrays: dict[str, Any] = {name: added[name] for name in added.column_names}
    for name, table in tables.items():
        arrays |= _values(writing, name, table, file.rows[name][part])
    return pa.table(arrays, schema=writing.schema)


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
def _opened(dataset: Dataset) -> Table:
    """Open a dataset, once per process, with a single thread. Raises `FolderError` if it is in another state."""
    store: LocalStore | RemoteStore = pickle.loads(dataset.store)
    data = OpenedFolder(store, 1, False)
    if data.state != dataset.state:
        raise FolderError(f"{store}: the dataset changed during the export; delete the export and start again")
    return Table(data, tuple(data.manifest.specs))


def threads_for(files: Sequence[RowFile], workers: int) -> Iterator[int]:
    """Yield the number of threads to write each file with, by its share of what is left.

    It is more than one where fewer large files than `workers` are left, such as for a dataset with a single tile.
    """
    sizes = [float(file.nbytes.sum()) for file in files]
    left = sum(sizes)
    for size in sizes:
        yield max(1, min(workers, round(workers * size / left))) if left else 1
        left -= size
