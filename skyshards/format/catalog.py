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

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skyshards.errors import FolderError, NewerFormat
from skyshards.format import manifest as manifests
from skyshards.format import missing, votable
from skyshards.format.addition import Addition, catalog_columns
from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS
from skyshards.format.layout import ADDED_ROW, CATALOG, CRC32, ROW, SHARD, SIZE, SPLIT, START
from skyshards.format.manifest import Manifest, Shard
from skyshards.format.parquet_bounds import check_memory

if TYPE_CHECKING:
    from skyshards.format.rows import EncodedRow
    from skyshards.format.shard import Ranges

_KEY = b"skyshards"


_REPEATED = {
    SPLIT: "split that the row belongs to",
    SHARD: "path of the row's shard, below the folder",
}
"""Text columns with few distinct values: dictionaries in memory, but plain text in the file, which more programs read
(Parquet stores each value once anyway)."""


def schema(specs: Mapping[str, ColumnSpec], additions: Sequence[Addition] = ()) -> pa.Schema:
    """Return the catalogue's Arrow schema; fields carry `description`, `unit` and `classes`."""
    catalog_fields = []
    for path, spec in specs.items():
        if not spec.heavy:
            catalog_fields.append(pa.field(path, KINDS[spec.kind].arrow_type(spec), metadata=_documentation(spec)))
    catalog_fields += [
        *(_field(name, pa.dictionary(pa.int32(), pa.string()), words) for name, words in _REPEATED.items()),
        _field(ROW, pa.int32(), "position in the shard"),
    ]
    for path, spec in specs.items():
        if spec.heavy:
            catalog_fields += [
                _field(START + path, pa.int64(), f"where in the shard the value of {path} begins", "byte"),
                _field(SIZE + path, pa.int32(), f"length of the stored value of {path}", "byte"),
                _field(CRC32 + path, pa.uint32(), f"crc32 of the stored value of {path}"),
            ]
    for addition in additions:
        words = f"position in {addition.path}; null: no values of {addition.name}"
        catalog_fields.append(_field(ADDED_ROW + addition.name, pa.int32(), words))
    return pa.schema(catalog_fields)


def stored_schema(specs: Mapping[str, ColumnSpec], additions: Sequence[Addition] = ()) -> pa.Schema:
    """Return the schema in the file, with plain text for dictionaries."""
    declared = schema(specs, additions)
    return pa.schema([field.with_type(pa.string()) if field.name in _REPEATED else field for field in declared])


def _field(name: str, kind: pa.DataType, description: str, unit: str = "") -> pa.Field:
    return pa.field(name, kind, metadata={"description": description} | ({"unit": unit} if unit else {}))


def _documentation(spec: ColumnSpec) -> dict[str, str]:
    documentation = {"description": spec.description} | ({"unit": spec.unit} if spec.unit else {})
    return documentation | ({"classes": json.dumps(spec.classes)} if spec.classes else {})


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
    stored = stored.replace_schema_metadata(votable.metadata(manifest.name, stored) | {_KEY: manifest.to_json()})
    pq.write_table(
        stored,
        folder / CATALOG,
        compression="zstd",
        row_group_size=1 << 20,
        write_page_checksum=True,
        use_dictionary=[name for name in stored.column_names if not _is_unlike(stored[name])],
    )
    return table


def _is_unlike(column: pa.ChunkedArray) -> bool:
    """Whether most values of a text column are unique: a dictionary would save nothing and slow `check_memory` down."""
    return pa.types.is_string(column.type) and 2 * pc.count_distinct(column).as_py() > len(column)


def read(file: Any, folder: str) -> tuple[pa.Table, Manifest]:
    """Read the catalogue and manifest from `catalog.parquet` (a path or a file object).

    Raises
    ------
    FolderError
        If the file is not a valid catalogue; the message names `folder`.
    """
    try:
        # pq.read_table would import pandas.
        parquet = pq.ParquetFile(file, read_dictionary=list(_REPEATED), page_checksum_verification=True)
        manifest = Manifest.from_json(parquet.metadata.metadata[_KEY].decode())
        found, declared = parquet.schema_arrow, schema(manifest.specs, manifest.additions).remove_metadata()
        unread = [name for name in declared.names if name.startswith(CRC32) and name not in found.names]
        if found.remove_metadata() != pa.schema([field for field in declared if field.name not in unread]):
            raise ValueError("its columns differ from its manifest")
        check_memory(file, parquet, found.names)
        table = parquet.read()
        for name in unread:  # built before this column existed
            table = table.add_column(declared.get_field_index(name), name, pa.nulls(len(table), pa.uint32()))
        table.validate(full=True)
        _check_rows(table, manifest)
    except NewerFormat as error:
        raise NewerFormat(f"{folder}: {error}") from None
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise FolderError(f"{folder}: {CATALOG} cannot be read ({error}); build the dataset again") from error
    return table.replace_schema_metadata(None), manifest


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a built dataset on disk, without its rows; raises `FolderError` as `read`."""
    try:
        return Manifest.from_json(pq.read_metadata(folder / CATALOG).metadata[_KEY].decode())
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise FolderError(f"{folder}: {CATALOG} cannot be read ({error}); build the dataset again") from error


def _check_rows(table: pa.Table, manifest: Manifest) -> None:
    """Raise `ValueError` if rows have nulls, or refer to places outside the declared shards and splits."""
    may_lack = {path for path, spec in manifest.specs.items() if spec.missing is not None}
    may_lack |= {name for addition in manifest.additions for name in catalog_columns(addition)}
    lacking = (name for name in table.column_names if table[name].null_count and not name.startswith(CRC32))
    if empty := [name for name in lacking if name not in may_lack]:
        raise ValueError(f"column {empty[0]!r} lacks values")
    shards = {shard.path: shard for shard in manifest.shards}
    if not set(shards).issuperset(paths := table[SHARD].unique().to_pylist()):
        raise ValueError("it has rows of undeclared shards")
    if not set(manifest.splits).issuperset(table[SPLIT].unique().to_pylist()):
        raise ValueError("it has rows of undeclared splits")
    codes = pc.index_in(table[SHARD].cast(pa.string()), pa.array(paths, pa.string())).to_numpy()
    rows, lengths = (np.array([getattr(shards[path], what) for path in paths], np.int64) for what in ("rows", "nbytes"))
    numbers = table[ROW].to_numpy()
    if len(numbers) and ((numbers < 0) | (numbers >= rows[codes])).any():
        raise ValueError("it has rows beyond the end of their shards")
    for addition in manifest.additions:
        _check_addition(table, addition)
    for path, spec in manifest.in_shards.items():
        if spec.heavy and len(numbers):
            starts, sizes = (table[what + path].to_numpy() for what in (START, SIZE))
            manifests.check_ranges(spec, starts, sizes, lengths[codes])


def _check_addition(table: pa.Table, addition: Addition) -> None:
    """Raise `ValueError` if rows refer to places outside the file of an addition."""
    places = table[ADDED_ROW + addition.name]
    there = pc.is_valid(places)
    numbers = places.drop_null().to_numpy()
    if ((numbers < 0) | (numbers >= addition.rows)).any():
        raise ValueError(f"it has rows beyond the end of {addition.path}")
    for path, spec in addition.specs.items():
        if spec.heavy:
            for what in (START, SIZE):
                if pc.any(pc.and_(pc.is_valid(table[what + path]), pc.invert(there))).as_py():
                    raise ValueError(f"column {path!r} has values in rows without {addition.name}")
            starts, sizes = (table[what + path].drop_null().to_numpy() for what in (START, SIZE))
            if len(starts) != len(sizes):
                raise ValueError(f"column {path!r} lacks values")
            manifests.check_ranges(spec, starts, sizes, np.full(len(starts), addition.nbytes))


def open_folder(folder: Path) -> tuple[pa.Table, Manifest]:
    """Read the catalogue and manifest of a built dataset on disk; raises `FolderError` if there is none."""
    if not (folder / CATALOG).is_file():
        advice = "build one with `skyshards build`"
        raise FolderError(f"{folder}: not a built dataset, it has no {CATALOG}; {advice}")
    return read(folder / CATALOG, str(folder))
