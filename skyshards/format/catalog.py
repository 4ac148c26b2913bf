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

import difflib
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skyshards.errors import FolderError
from skyshards.format import missing, parquet_parts
from skyshards.format.arrow_arrays import values
from skyshards.format.catalog_file import KEY, CatalogFile
from skyshards.format.catalog_schema import stored_schema
from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS
from skyshards.format.layout import CATALOG
from skyshards.format.manifest import Manifest, Shard
from skyshards.format.parquet_parts import Parts

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
        pa.repeat(shard.split, len(rows)),
        pa.repeat(shard.path, len(rows)),
        pa.array(np.arange(len(rows), dtype=np.int32)),
    ]
    for found in ranges.values():
        columns += [pa.array(found[:, n].astype(kind)) for n, kind in enumerate((np.int64, np.int32, np.uint32))]
    return pa.table(columns, schema=stored_schema(specs))


def write(folder: Path, manifest: Manifest, table: pa.Table) -> CatalogFile:
    """Write `catalog.parquet` from a table of all rows in order, and open it."""
    return write_parts(folder, manifest, lambda: (table,))


def write_parts(folder: Path, manifest: Manifest, parts: Parts) -> CatalogFile:
    """Write `catalog.parquet` from tables that together have all rows in order, and open it.

    No more than a row group is in memory. `parts` is called twice.
    """
    declared = stored_schema(manifest.specs, manifest.additions)

    def stored() -> Iterator[pa.Table]:
        return (part.select(declared.names).cast(declared) for part in parts())  # columns of additions were appended

    def options(first: pa.Table) -> dict[str, Any]:
        repeated = [name for name in declared.names if _repeats(first[name])]
        return {"write_page_checksum": True, "use_dictionary": repeated}

    words = {KEY.decode(): manifest.to_json()}
    parquet_parts.write(folder / CATALOG, manifest.name, declared, stored, GROUP_ROWS, words, options)
    return open_catalog(folder)


def _repeats(column: pa.ChunkedArray) -> bool:
    """Whether values of a column repeat; otherwise, a dictionary would save nothing, and slow reading down."""
    if pa.types.is_fixed_size_list(column.type):
        return False
    return 2 * _distinct(column) <= len(column)


def _distinct(column: pa.ChunkedArray) -> int:
    """Count the distinct values of a column by sorting them; a table of hashes would take ten times the memory."""
    found = column.drop_null().combine_chunks()
    if not pa.types.is_string(found.type):
        return len(np.unique(values(found)))
    ordered = found.take(pc.sort_indices(found))
    return min(len(ordered), 1) + (pc.sum(pc.not_equal(ordered[1:], ordered[:-1])).as_py() or 0)


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
        raise not_built(folder)
    return CatalogFile(folder / CATALOG, str(folder))


def not_built(folder: Path, file: str = CATALOG) -> FolderError:
    """Make the error for a folder that is no built dataset, naming those in it or those beside it of similar name."""
    if inside := _datasets_in(folder):
        advice = f"name one that is in it: {', '.join(inside)}"
    elif near := difflib.get_close_matches(folder.name, _datasets_in(folder.parent), 3):
        advice = f"similar: {', '.join(str(folder.parent / name) for name in near)}"
    else:
        advice = "build one with `skyshards build`"
    what = f"it has no {file}" if folder.exists() else "there is no such folder"
    return FolderError(f"{folder}: not a built dataset, {what}; {advice}")


def _datasets_in(folder: Path) -> list[str]:
    """Return the names of up to 20 built datasets in a folder, of which the first 1,000 entries are looked at."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in itertools.islice(entries, 1000) if entry.is_dir())
        return [name for name in names if (folder / name / CATALOG).is_file()][:20]
    except OSError:
        return []


def open_folder(folder: Path) -> tuple[pa.Table, Manifest]:
    """Read the catalogue and manifest of a built dataset on disk; raises `FolderError` if there is none."""
    opened = open_catalog(folder)
    return opened.table(), opened.manifest
