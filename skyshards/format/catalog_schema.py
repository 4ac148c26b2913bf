"""The Arrow schema of `catalog.parquet`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pyarrow as pa

from skyshards.format.addition import Addition
from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS
from skyshards.format.layout import ADDED_ROW, CRC32, ROW, SHARD, SIZE, SPLIT, START

REPEATED = {
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
        *(_field(name, pa.dictionary(pa.int32(), pa.string()), words) for name, words in REPEATED.items()),
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
    return pa.schema([field.with_type(pa.string()) if field.name in REPEATED else field for field in declared])


def _field(name: str, kind: pa.DataType, description: str, unit: str = "") -> pa.Field:
    return pa.field(name, kind, metadata={"description": description} | ({"unit": unit} if unit else {}))


def _documentation(spec: ColumnSpec) -> dict[str, str]:
    documentation = {"description": spec.description} | ({"unit": spec.unit} if spec.unit else {})
    return documentation | ({"classes": json.dumps(spec.classes)} if spec.classes else {})
