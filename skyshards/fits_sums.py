"""FITS's own sums over an HDU, held against its bytes: DATASUM and CHECKSUM (FITS 4.0, section 4.4.2.7 and annex J)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

ALL_ONES = 0xFFFFFFFF


def ones_complement_sum(content: bytes | memoryview) -> int:
    """The sum of the content's 32-bit big-endian words, with what is carried over added at the other end."""
    words = np.frombuffer(content, ">u4", len(content) // 4)
    total = int(words.sum(dtype=np.uint64))
    while total > ALL_ONES:
        total = (total & ALL_ONES) + (total >> 32)
    return total


def check_sums(content: bytes | memoryview, header: Mapping[str, Any], place: Mapping[str, int]) -> None:
    """Compare the bytes of an HDU with the sums in its header; nothing is checked where it has none.

    The bytes are summed as they are: astropy's own check writes the header anew, and refuses one that another program
    laid out otherwise.

    Parameters
    ----------
    content : bytes
        Of the whole file, not compressed.
    header : mapping
    place : mapping
        What astropy's `hdu.fileinfo()` gives: `hdrLoc`, `datLoc` and `datSpan`.

    Raises
    ------
    ValueError
        The sums differ: the file was damaged, or changed by a program that left the sums as they were.
    """
    start, end = place["datLoc"], place["datLoc"] + place["datSpan"]
    view = memoryview(content)
    expected = str(header.get("DATASUM", "")).strip()
    if expected and ones_complement_sum(view[start:end]) != _number(expected):
        raise ValueError(f"its data do not have the DATASUM {expected} that its header says; fetch the file again")
    if str(header.get("CHECKSUM", "")).strip() and ones_complement_sum(view[place["hdrLoc"] : end]) not in (
        0,
        ALL_ONES,
    ):
        raise ValueError("its CHECKSUM is not that of its bytes; fetch the file again")


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
