"""What tables say of their columns: descriptions, units and UCDs."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

VOPARQUET = b"IVOA.VOTable-Parquet.content"
"""Parquet metadata with a VOTable without data (IVOA Note "Parquet in the VO" 1.0)."""


class Words(NamedTuple):
    """The description, unit (a VOUnit where astropy knows the unit) and UCD of a column; "" for none."""

    description: str = ""
    unit: str = ""
    ucd: str = ""


def of_text(description: Any, unit: Any, ucd: Any) -> Words:
    """Return words as a table of metadata has them, in which any may be missing."""
    return Words(_text(description), _unit(unit), _ucd(_text(ucd)))


def of_fields(fields: Iterable[Any]) -> dict[int, Words]:
    """Return what the fields of a VOTable say, by their places."""
    return {
        place: Words(_text(field.description), _unit(field.unit), _ucd(_text(field.ucd)))
        for place, field in enumerate(fields)
    }


def of_columns(columns: Iterable[Any]) -> dict[int, Words]:
    """Return what the columns of an astropy table say, by their places."""
    return {
        place: Words(_text(column.info.description), _unit(column.info.unit), _ucd(_text(column.info.meta, "ucd")))
        for place, column in enumerate(columns)
    }


def of_parquet(schema: pa.Schema) -> dict[int, Words]:
    """Return what a Parquet file says by the metadata of its fields, or a VOTable in those of the file."""
    declared = _in_votable(schema.metadata or {})
    found = {}
    for place, field in enumerate(schema):
        own = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in _metadata(field)}
        words = Words(_text(own, "description"), _unit(own.get("unit")), _ucd(_text(own, "ucd")))
        found[place] = Words(
            *(one or other for one, other in zip(words, declared.get(field.name, ("",) * 3), strict=True))
        )
    return found


def _metadata(field: pa.Field) -> Iterable[tuple[bytes, bytes]]:
    return (field.metadata or {}).items()


def _in_votable(metadata: Mapping[bytes, bytes]) -> dict[str, Words]:
    """Return what the VOTable in a file's metadata says, by column; nothing if it cannot be read."""
    if VOPARQUET not in metadata:
        return {}
    from astropy.io import votable

    try:
        table = votable.parse(io.BytesIO(metadata[VOPARQUET]), verify="ignore").get_first_table()
    except Exception:  # the table can be read without it
        return {}
    return {field.name: words for field, words in zip(table.fields, of_fields(table.fields).values(), strict=True)}


def _text(value: Any, key: str | None = None) -> str:
    """Return text in one printable line; "" for anything else."""
    value = value.get(key) if key is not None and isinstance(value, Mapping) else value
    line = " ".join(value.split()) if isinstance(value, str) else ""
    return "".join(letter for letter in line if letter.isprintable())


def _ucd(text: str) -> str:
    """Return a UCD; "" for a placeholder such as `??`."""
    return text if re.fullmatch(r"[\w.:-]+(; ?[\w.:-]+)*", text) else ""


def _unit(value: Any) -> str:
    """Return a unit as a VOUnit, or as it is where astropy does not know it."""
    if value is None or not str(value).strip():
        return ""
    from astropy import units

    try:
        return units.Unit(value, parse_strict="raise").to_string("vounit")
    except (ValueError, TypeError):
        return _text(str(value))
