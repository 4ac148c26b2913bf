"""Parquet metadata of exported files for astronomical programs: units, descriptions and text lengths.

They are a VOTable without data as in VOParquet (IVOA Note "Parquet in the VO" 1.0) for the columns that a VOTable
supports (not pictures, groups and nested arrays), and the header of `astropy.table.Table.read` for all columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import yaml

from skyshards.export.content import Content
from skyshards.format import votable
from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS
from skyshards.format.kinds.text import Text


def text_lengths(content: Content) -> dict[str, int]:
    """Return the maximum length of each text column in characters (at least 1, as readers have no shorter type)."""
    texts = ((name, values) for name, values in content.light() if isinstance(KINDS[content.specs[name].kind], Text))
    return {name: votable.text_length(values) for name, values in texts}


def metadata(
    name: str, schema: pa.Schema, specs: Mapping[str, ColumnSpec], lengths: Mapping[str, int]
) -> dict[str, str]:
    """Make the metadata for a file of this schema, whose fields carry `description`, `unit` and `classes`."""
    lengths = {path: length for path, length in lengths.items() if path in schema.names}
    header = [_astropy_column(field) for field in schema]
    plain = [field.with_type(kind) for field in schema if (kind := _plain(field, specs)) is not None]
    return {
        "IVOA.VOTable-Parquet.version": "1.0",
        "IVOA.VOTable-Parquet.content": votable.document(name, pa.schema(plain), lengths),
        "table_meta_yaml": yaml.safe_dump({"datatype": header}, sort_keys=False, allow_unicode=True, width=1000),
        **{f"table::len::{path}": str(length) for path, length in lengths.items()},
    }


def _plain(field: pa.Field, specs: Mapping[str, ColumnSpec]) -> pa.DataType | None:
    """Return the type for a VOTable, lists with their lengths; None if not supported."""
    kind = field.type
    if not pa.types.is_list(kind):
        return None if pa.types.is_nested(kind) else kind
    item = kind.value_type
    if pa.types.is_nested(item) or pa.types.is_binary(item) or not specs[field.name].shape:
        return None
    return pa.list_(item, specs[field.name].shape[0])


def _astropy_column(field: pa.Field) -> dict[str, Any]:
    kept = {key: value for key, value in votable.words_of(field).items() if key in ("unit", "description")}
    datatype = "object" if pa.types.is_nested(field.type) else str(field.type)
    return {"name": field.name, "datatype": datatype} | kept
