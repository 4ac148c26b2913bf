"""Response formats of TAP and SIA services: VOTable and CSV."""

from __future__ import annotations

import base64
import csv
import io
import math
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from demo_archive.holdings.sdss_tables import Column

NULL = {"long": -(2**63), "int": -(2**31)}
"""NULL values of integers, as in a GAVO DaCHS server. Floats use NaN, and text the empty string."""
_DTYPES = {"long": ">i8", "int": ">i4", "double": ">f8", "float": ">f4"}
_HEAD = (
    "<?xml version='1.0' encoding='utf-8'?>\n"
    '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">'
    "<RESOURCE type={type}>"
)
_TAIL = "</RESOURCE></VOTABLE>"
CONTENT_TYPE = "application/x-votable+xml"


def info(name: str, value: str, text: str = "") -> str:
    return f"<INFO name={quoteattr(name)} value={quoteattr(value)}>{escape(text)}</INFO>"


def document(body: str, kind: str = "results") -> bytes:
    """Make a VOTable document with one RESOURCE of the given content."""
    return (_HEAD.format(type=quoteattr(kind)) + body + _TAIL).encode()


def error(message: str) -> bytes:
    """Make an error document as in DALI 1.1: a VOTable, which services may send with HTTP status 200."""
    return document(info("QUERY_STATUS", "ERROR", message))


def field(column: Column, datatype: str, **attributes: str) -> str:
    """Make a FIELD element; `attributes` are further ones, such as arraysize."""
    given = {"name": column.name, "datatype": datatype, "unit": column.unit, "ucd": column.ucd} | attributes
    text = "".join(f" {name}={quoteattr(value)}" for name, value in given.items() if value)
    null = f'<VALUES null="{NULL[datatype]}"/>' if datatype in NULL else ""
    return f"<FIELD{text}><DESCRIPTION>{escape(column.description)}</DESCRIPTION>{null}</FIELD>"


def _clean(value):
    """Turn the database's placeholder for NaN into NaN."""
    return math.nan if isinstance(value, float) and math.isinf(value) else value


def binary_table(columns: Sequence[Column], rows: Sequence[tuple], name: str) -> str:
    """Make a TABLE element in the BINARY serialization; NULL floats become NaN."""
    dtype, fields = [], []
    filled: list[list[object]] = []
    for place, column in enumerate(columns):
        values = [row[place] for row in rows]
        if column.datatype == "char":
            texts = [b"" if value is None else str(value).encode() for value in values]
            width = max([2, *(len(text) for text in texts)])  # an arraysize of 1 would mean a character, not text
            dtype.append((f"f{place}", f"S{width}"))
            fields.append(field(column, "char", arraysize=str(width)))
            filled.append([*texts])
        else:
            dtype.append((f"f{place}", _DTYPES[column.datatype]))
            fields.append(field(column, column.datatype))
            null = NULL.get(column.datatype, math.nan)
            filled.append([null if value is None else _clean(value) for value in values])
    table = np.empty(len(rows), dtype)
    for place, values in enumerate(filled):
        table[f"f{place}"] = values
    stream = base64.b64encode(table.tobytes()).decode()
    data = f'<DATA><BINARY><STREAM encoding="base64">{stream}</STREAM></BINARY></DATA>'
    return f"<TABLE name={quoteattr(name)}>{''.join(fields)}{data}</TABLE>"


def text_table(declared: Iterable[tuple[str, str, str, str, str]], rows: Iterable[tuple]) -> str:
    """Make a TABLE element in the TABLEDATA serialization from (name, UCD, datatype, arraysize, unit) of each field."""
    fields = "".join(
        field(Column(name, datatype, unit, ucd=ucd), datatype, arraysize=size)
        for name, ucd, datatype, size, unit in declared
    )
    cells = "".join("<TR>" + "".join(f"<TD>{escape(str(value))}</TD>" for value in row) + "</TR>" for row in rows)
    return f"<TABLE>{fields}<DATA><TABLEDATA>{cells}</TABLEDATA></DATA></TABLE>"


def results(columns: Sequence[Column], rows: Sequence[tuple], overflow: bool, query: str) -> bytes:
    """Make the VOTable of a query's result; a truncated one has a second QUERY_STATUS after the table."""
    head = info("query", query) + info("QUERY_STATUS", "OK", "Query successful")
    tail = info("QUERY_STATUS", "OVERFLOW") if overflow else ""
    return document(head + binary_table(columns, rows, "result") + tail)


def as_csv(columns: Sequence[Column], rows: Sequence[tuple]) -> bytes:
    """Make the CSV of a query's result, with a header; NULL and NaN are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([column.name for column in columns])
    single = [column.datatype == "float" for column in columns]
    for row in rows:
        cells = zip(map(_clean, row), single, strict=True)
        writer.writerow(["" if _is_missing(value) else np.float32(value) if short else value for value, short in cells])
    return text.getvalue().encode()


def _is_missing(value) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
