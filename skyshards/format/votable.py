"""Parquet metadata with units and descriptions for astropy, TOPCAT and other readers of VOParquet.

They are a VOTable without data (IVOA Note "Parquet in the VO" 1.0), and the header from which
`astropy.table.Table.read` takes units, descriptions and text lengths.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.compute as pc
import yaml

_DATATYPES = {
    "bool": "boolean",
    "uint8": "unsignedByte",
    "int8": "short",  # VOTable has no signed byte
    "int16": "short",
    "uint16": "int",
    "int32": "int",
    "uint32": "long",
    "int64": "long",
    "uint64": "long",
    "halffloat": "float",
    "float": "float",
    "double": "double",
    "string": "unicodeChar",
}
_UCDS = {"object_id": "meta.id;meta.main", "ra": "pos.eq.ra;meta.main", "dec": "pos.eq.dec;meta.main"}


def metadata(name: str, table: pa.Table) -> dict[str, str]:
    """Make the metadata for a Parquet file of this table, whose fields carry `description`, `unit` and `classes`."""
    lengths = {field.name: text_length(table[field.name]) for field in table.schema if is_text(field.type)}
    return metadata_of(name, table.schema, lengths)


def metadata_of(name: str, schema: pa.Schema, lengths: Mapping[str, int]) -> dict[str, str]:
    """Make the metadata as `metadata` does, from the `text_length` of each text column."""
    return {
        "IVOA.VOTable-Parquet.version": "1.0",
        "IVOA.VOTable-Parquet.content": document(name, schema, lengths),
        "table_meta_yaml": _astropy_header(schema),
        **{length_key(path): str(length) for path, length in lengths.items()},
    }


def _item(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_fixed_size_list(kind) else kind


def is_text(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are texts, or lists of a fixed number of them."""
    return pa.types.is_string(_item(kind))


def length_key(name: str) -> str:
    """Return the key of the length of the longest text of a column, as astropy has it."""
    return f"table::len::{name}"


def text_length(column: pa.Array | pa.ChunkedArray) -> int:
    """Return the length of the longest text in characters; at least 1, as readers have no shorter type.

    With nulls, at least 4: astropy reads these as "None", and would cut it.
    """
    values = pc.list_flatten(column) if pa.types.is_nested(column.type) else column
    return max(4 if column.null_count else 1, pc.max(pc.utf8_length(values)).as_py() or 0)


def words_of(field: pa.Field) -> dict[str, str]:
    """Return the description, unit and classes that a field carries."""
    return {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}


def document(name: str, schema: pa.Schema, lengths: Mapping[str, int]) -> str:
    """Write a VOTable without data; `lengths` are the maximum text lengths of the text columns in characters."""
    root = ElementTree.Element("VOTABLE", version="1.4", xmlns="http://www.ivoa.net/xml/VOTable/v1.3")
    resource = ElementTree.SubElement(root, "RESOURCE", type="results")
    ElementTree.SubElement(resource, "COOSYS", ID="icrs", system="ICRS")
    table = ElementTree.SubElement(resource, "TABLE", name=name)
    for field in schema:
        words = words_of(field)
        attributes = {"name": field.name, "datatype": _DATATYPES[str(_item(field.type))]}
        sizes = [lengths[field.name]] if field.name in lengths else []
        sizes += [field.type.list_size] if pa.types.is_fixed_size_list(field.type) else []
        if sizes:
            attributes["arraysize"] = "x".join(map(str, sizes))
        if "unit" in words:
            attributes["unit"] = words["unit"]
        if field.name in _UCDS:
            attributes["ucd"] = _UCDS[field.name]
        if field.name in ("ra", "dec"):
            attributes["ref"] = "icrs"
        element = ElementTree.SubElement(table, "FIELD", attributes)
        if "description" in words:
            ElementTree.SubElement(element, "DESCRIPTION").text = words["description"]
        if "classes" in words:
            values = ElementTree.SubElement(element, "VALUES")
            for label, word in enumerate(json.loads(words["classes"])):
                ElementTree.SubElement(values, "OPTION", name=word, value=str(label))
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False)


def _astropy_header(schema: pa.Schema) -> str:
    columns = []
    for field in schema:
        kind = _item(field.type)
        dtype = "string" if is_text(kind) else str(kind.to_pandas_dtype()().dtype)
        words = {key: value for key, value in words_of(field).items() if key in ("unit", "description")}
        columns.append({"name": field.name, "datatype": dtype} | words)
    return yaml.safe_dump({"datatype": columns}, sort_keys=False, allow_unicode=True, width=1000)
