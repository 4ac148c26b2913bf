"""Check a VOTable's size before it is parsed: `<TR/>` is five bytes, but may stand for a row of any length."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import re

from astropy.utils.xml.iterparser import get_xml_iterator

from skyshards.errors import FetchError

MAX_MEMORY = 128 << 20
"""Maximum memory of a table's values, bytes; a page of 50,000 galaxies takes some 10 MB."""
MAX_ELEMENTS = 10_000
"""Maximum number of elements other than rows and cells, each of which becomes an object."""
MAX_TAG = 1 << 20
"""Maximum length of a tag with its attributes and the text after it, bytes, unless that is base64."""
VARIABLE = 128
"""Overhead of a variable-length cell, bytes."""
SIZES = {"boolean": 1, "bit": 1, "unsignedByte": 1, "short": 2, "int": 4, "long": 8, "float": 4, "double": 8,
         "floatComplex": 8, "doubleComplex": 16, "char": 4, "unicodeChar": 4}  # fmt: skip
"""Size of a value in memory, bytes."""

_ROW = re.compile(rb"<(?:[\w.-]+:)?TR[\s/>]")
_OTHER = re.compile(rb"<(?!/|!|\?|(?:[\w.-]+:)?T[DR][\s/>])")
_ENTITY = re.compile(rb"<!ENTITY")
_DATA = re.compile(rb"<(?:[\w.-]+:)?DATA[\s/>]")
_LONG = re.compile(rb"<[^<]{%d,}" % MAX_TAG)
_BASE64 = re.compile(rb"<[^<>]{0,1000}>[A-Za-z0-9+/=\s]*")


def check_votable(content: bytes | memoryview) -> None:
    """Raise `FetchError` for an XML document that would take far too much memory, or refers to other files."""
    if bytes(content[:2]) in (b"\xff\xfe", b"\xfe\xff") or 0 in bytes(content[:4]):
        raise FetchError("expected XML in UTF-8, found UTF-16")
    if _ENTITY.search(content):
        raise FetchError("expected XML without entities of its own")
    if next(itertools.islice(_OTHER.finditer(content), MAX_ELEMENTS, None), None):
        raise FetchError(f"expected at most {MAX_ELEMENTS:,} elements beside rows and cells, found more")
    if any(_BASE64.fullmatch(found[0]) is None for found in _LONG.finditer(content)):
        raise FetchError(f"expected at most {MAX_TAG:,} bytes between two tags, found more")
    if tables := sum(1 for _ in _DATA.finditer(content)):
        with contextlib.suppress(ValueError):  # not XML, as the parser will report
            _check_table(content, tables)


def _check_table(content: bytes | memoryview, tables: int) -> None:
    """Check a document with rows."""
    memory, stored, rows = 0, 0, 0  # bytes of a row, in memory and at least in a BINARY stream
    with get_xml_iterator(io.BytesIO(content)) as parsed:
        for start, tag, attributes, _ in parsed:
            if start and tag == "FIELD":
                size, least = _cell(attributes)
                memory, stored = memory + size, stored + least
            elif start and tag in ("STREAM", "TR"):
                if tag == "STREAM" and "href" in attributes:
                    raise FetchError("expected the rows in the answer itself, found a reference to another file")
                if tag == "STREAM":
                    rows = max(rows, 3 * len(content) // (4 * max(stored, 1)))
                elif not rows:
                    rows = sum(1 for _ in _ROW.finditer(content))
                if tables == 1:
                    break
    if rows * memory > MAX_MEMORY:
        raise FetchError(f"a table of up to {rows:,} rows of {memory:,} bytes, expected {MAX_MEMORY:,} bytes at most")


def _cell(attributes: dict[str, str]) -> tuple[int, int]:
    """Size of a field's value, bytes: in memory with its mask, and the minimum in a BINARY stream."""
    kind, shape = attributes.get("datatype", "char"), attributes.get("arraysize", "1")
    size = SIZES.get(kind, 16)
    lengths = re.findall(r"\d{1,18}", shape)
    if "*" in shape or not lengths:
        return VARIABLE, 4
    count = math.prod(map(int, lengths))
    return count * (size + 1), count // 8 if kind == "bit" else max(1, count * (1 if kind == "char" else size // 2))
