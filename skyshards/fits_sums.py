"""Verify DATASUM and CHECKSUM of an HDU (FITS 4.0, section 4.4.2.7 and annex J)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

ALL_ONES = 0xFFFFFFFF


def ones_complement_sum(content: bytes | memoryview) -> int:
    """Return the ones' complement sum (end-around carry) of the content's 32-bit big-endian words."""
    words = np.frombuffer(content, ">u4", len(content) // 4)
    total = int(words.sum(dtype=np.uint64))
    while total > ALL_ONES:
        total = (total & ALL_ONES) + (total >> 32)
    return total


def check_sums(content: bytes | bytearray | memoryview, header: Mapping[str, Any], place: Mapping[str, int]) -> None:
    """Compare the bytes of an HDU with the checksums in its header; headers without them pass.

    The bytes are summed as stored: astropy's own check rewrites the header first, and rejects valid headers that
    another program formatted differently.

    Parameters
    ----------
    content : bytes
        The whole file, uncompressed.
    header : mapping
    place : mapping
        `hdrLoc`, `datLoc` and `datSpan`, as returned by astropy's `hdu.fileinfo()`.

    Raises
    ------
    ValueError
        If a checksum differs: the file is damaged, or was edited without updating its checksums.
    """
    start, end = place["datLoc"], place["datLoc"] + place["datSpan"]
    view = memoryview(content)
    expected = str(header.get("DATASUM", "")).strip()
    if expected and ones_complement_sum(view[start:end]) != _number(expected):
        raise ValueError(f"its data do not match the DATASUM {expected} in its header; download the file again")
    if str(header.get("CHECKSUM", "")).strip() and ones_complement_sum(view[place["hdrLoc"] : end]) not in (
        0,
        ALL_ONES,
    ):
        raise ValueError("its bytes do not match its CHECKSUM; download the file again")


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
