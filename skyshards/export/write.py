"""Write one Parquet file of a HATS catalogue, one row group at a time."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skyshards.export.columns import INDEX, to_arrow
from skyshards.export.place import Place
from skyshards.export.tiles import row_groups
from skyshards.format.layout import SPLIT
from skyshards.read.table import Table, open_table

GROUP_ROWS, GROUP_BYTES = 100, 16 << 20
"""Maximum rows and approximate maximum bytes of a row group of more than one row."""
BATCH_BYTES = 16 << 20
"""Approximate bytes of values read at once; deflated masks may take a hundredth of that in the file."""


@dataclass(frozen=True)
class Writing:
    """Settings shared by all files of an export. `parquet` are arguments of `pyarrow.parquet.ParquetWriter`."""

    folder: str
    place: Place
    schema: pa.Schema
    parquet: dict[str, Any]


@dataclass(frozen=True)
class RowFile:
    """One file: its path, its rows as positions in the dataset, and their `_healpix_29`, approximate bytes and splits.

    `splits` is None if there is only one split.
    """

    name: str
    rows: np.ndarray
    index: np.ndarray
    nbytes: np.ndarray
    splits: np.ndarray | None


def write_rows(writing: Writing, file: RowFile) -> int:
    """Write a file; return the number of its rows."""
    table = _opened(writing.folder)
    with (
        writing.place.writing(file.name) as path,
        pq.ParquetWriter(path, writing.schema, **writing.parquet) as writer,
    ):
        for group in row_groups(file.nbytes, GROUP_ROWS, GROUP_BYTES):
            parts = list(_tables(table, writing.schema, file, group))
            writer.write_table(pa.concat_tables(parts), row_group_size=group.stop - group.start)
    return len(file.rows)


def _tables(table: Table, schema: pa.Schema, file: RowFile, group: slice) -> Iterator[pa.Table]:
    """Yield a row group in parts of bounded size."""
    specs = {path: spec for path, spec in table._data.manifest.specs.items() if path in table.column_names}
    length = max(1, BATCH_BYTES // max(1, table.row_nbytes))
    parts = [slice(start, min(start + length, group.stop)) for start in range(group.start, group.stop, length)]
    for part, batch in zip(parts, table.batches(file.rows[part] for part in parts), strict=True):
        arrays: dict[str, Any] = to_arrow(batch, specs) | {INDEX: pa.array(file.index[part])}
        if file.splits is not None:
            arrays[SPLIT] = pa.array(file.splits[part].tolist(), pa.string())
        yield pa.table(arrays, schema=schema)


@functools.lru_cache(1)
def _opened(folder: str) -> Table:
    """Open the dataset, once per process, with a single thread."""
    return open_table(folder, threads=1, decode=False)
