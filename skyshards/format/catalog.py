"""Read and write `catalog.parquet`: the light columns of every row, the places of its heavy values, and the manifest.

It has a column for each light column (nested ones by dotted name), then

- `_split`, `_shard` (path below the folder), `_row` (position in the shard), and
- nulls where a column has its declared value for missing ones, and
- for each heavy column `_start:<column>` and `_size:<column>`, the byte range of its value in the shard, and
  `_crc32:<column>` of these bytes (null in rows of folders built before this column existed), and
- for each addition `_added:<name>`, the row's position in its file, which has its heavy values. All columns of the
  addition are null in rows without values.

Rows have the same order as in stock `load_dataset`. The schema metadata hold a `Manifest` as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skyshards.errors import FolderError
from skyshards.format import missing, votable
from skyshards.format.catalog_file import KEY, CatalogFile
from skyshards.format.catalog_schema import schema, stored_schema
from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS
from skyshards.format.layout import CATALOG, ROW, SHARD
from skyshards.format.manifest import Manifest, Shard

if TYPE_CHECKING:
    from skyshards.format.rows import EncodedRow
    from skyshards.format.shard import Ranges

GROUP_ROWS = 1 << 17
"""Rows of a row group: what is read to look at one row. Smaller ones would make the file's footer, which is read at
once, longer."""


def rows_table(specs: Mapping[str, ColumnSpec], shard: Shard, rows: Sequence[EncodedRow], ranges: Ranges) -> pa.Table:
    """Make the catalogue rows of one shard."""
    light = [row.light() for row in rows]
    columns: list[Any] = [
        missing.with_nulls(pa.array([row[path] for row in light], KINDS[spec.kind].arrow_type(spec)), spec)
        for path, spec in specs.items()
        if not spec.heavy
    ]
    columns += [
        _repeat(shard.split, len(rows)),
        _repeat(shard.path, len(rows)),
        pa.array(np.arange(len(rows), dtype=np.int32)),
    ]
    for found in ranges.values():
        columns += [pa.array(found[:, n].astype(kind)) for n, kind in enumerate((np.int64, np.int32, np.uint32))]
    return pa.table(columns, schema=schema(specs))


def _repeat(value: str, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), [value])


def write(folder: Path, manifest: Manifest, table: pa.Table) -> pa.Table:
    """Write `catalog.parquet` from a table with its shards in any order; return the table in the final order."""
    rank = {shard.path: number for number, shard in enumerate(manifest.shards)}
    table = table.unify_dictionaries()
    ranks = pc.index_in(table[SHARD].cast(pa.string()), pa.array(list(rank), pa.string()))
    order = np.lexsort((table[ROW].to_numpy(), ranks.to_numpy()))
    table = table.take(pa.array(order)).replace_schema_metadata(None)
    declared = stored_schema(manifest.specs, manifest.additions)
    table = table.select(declared.names)  # columns of additions were appended
    stored = table.cast(declared)
    stored = stored.replace_schema_metadata(votable.metadata(manifest.name, stored) | {KEY: manifest.to_json()})
    pq.write_table(
        stored,
        folder / CATALOG,
        compression="zstd",
        row_group_size=GROUP_ROWS,
        write_page_checksum=True,
        use_dictionary=[name for name in stored.column_names if _repeats(stored[name])],
    )
    return table


def _repeats(column: pa.ChunkedArray) -> bool:
    """Whether values of a column repeat; otherwise, a dictionary would save nothing, and slow reading down."""
    some = column.slice(0, GROUP_ROWS)
    if pa.types.is_fixed_size_list(some.type):
        return False
    return 2 * pc.count_distinct(some).as_py() <= len(some)


def read(file: Path, folder: str) -> tuple[pa.Table, Manifest]:
    """Read the whole of `catalog.parquet`, and its manifest.

    Raises
    ------
    FolderError
        If the file is not a valid catalogue; the message names `folder`.
    """
    opened = CatalogFile(file, folder)
    return opened.table(), opened.manifest


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a built dataset on disk, without its rows; raises `FolderError` as `read`."""
    try:
        return Manifest.from_json(pq.read_metadata(folder / CATALOG).metadata[KEY].decode())
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise FolderError(f"{folder}: {CATALOG} cannot be read ({error}); build the dataset again") from error


def open_catalog(folder: Path) -> CatalogFile:
    """Open the catalogue of a built dataset on disk; raises `FolderError` if there is none."""
    if not (folder / CATALOG).is_file():
        advice = "build one with `skyshards build`"
        raise FolderError(f"{folder}: not a built dataset, it has no {CATALOG}; {advice}")
    return CatalogFile(folder / CATALOG, str(folder))


def open_folder(folder: Path) -> tuple[pa.Table, Manifest]:
    """Read the catalogue and manifest of a built dataset on disk; raises `FolderError` if there is none."""
    opened = open_catalog(folder)
    return opened.table(), opened.manifest
