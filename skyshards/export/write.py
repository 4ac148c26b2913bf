"""Writing one Parquet file of a HATS catalogue: rows read, images encoded, a row group at a time."""

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
"""A row group holds no more rows, and about as many bytes at most, unless one row takes more."""
BATCH_BYTES = 16 << 20
"""About how many bytes of values are read at once: deflated masks may take a hundredth of it in the file."""


@dataclass(frozen=True)
class Writing:
    """What all files of an export share. `parquet` are the arguments of `pyarrow.parquet.ParquetWriter`."""

    folder: str
    place: Place
    schema: pa.Schema
    parquet: dict[str, Any]


@dataclass(frozen=True)
class RowFile:
    """One file: its path, its rows as positions in the dataset, their `_healpix_29`, about how many bytes each takes,
    and the split of each if there are several.
    """

    name: str
    rows: np.ndarray
    index: np.ndarray
    nbytes: np.ndarray
    splits: np.ndarray | None


def write_rows(writing: Writing, file: RowFile) -> int:
    """Write a file; gives the number of its rows."""
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
    """A row group in parts of few bytes."""
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
    """The dataset, opened once in each process, which reads with a thread of its own."""
    return open_table(folder, threads=1, decode=False)
