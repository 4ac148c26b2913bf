"""FITS HDUs as bytes, with headers by astropy.

(astropy's own tables strip the padding blanks of strings, which the real files have, and take five times as long.)
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from astropy.io import fits

BLOCK = 2880
"""Block size of FITS, bytes (FITS standard 4.0, section 3.1)."""
_BITPIX = {"u1": 8, "i2": 16, "i4": 32, "i8": 64, "f4": -32, "f8": -64}
_TFORM = {"u1": "B", "i2": "I", "i4": "J", "i8": "K", "f4": "E", "f8": "D"}


def _hdu(cards: Iterable, data: np.ndarray) -> bytes:
    body = data.tobytes()
    return fits.Header(cards).tostring().encode("ascii") + body + bytes(-len(body) % BLOCK)


def image_hdu(data: np.ndarray, cards: Iterable[fits.Card] = (), primary: bool = False) -> bytes:
    """Make an image HDU, primary or extension, from an array (uint8 or big-endian) and further header cards."""
    kind = ("SIMPLE", True, "conforms to FITS standard") if primary else ("XTENSION", "IMAGE", "Image extension")
    axes = [(f"NAXIS{number}", length) for number, length in enumerate(data.shape[::-1], 1)]
    tail = [("EXTEND", True)] if primary else [("PCOUNT", 0), ("GCOUNT", 1)]
    return _hdu([kind, ("BITPIX", _BITPIX[data.dtype.str[1:]]), ("NAXIS", data.ndim), *axes, *tail, *cards], data)


def table_hdu(rows: np.ndarray, name: str = "") -> bytes:
    """Make a binary table HDU from a structured array of big-endian numbers, vectors of them, and bytes."""
    names = rows.dtype.names or ()
    cards = [
        ("XTENSION", "BINTABLE", "binary table extension"),
        ("BITPIX", 8),
        ("NAXIS", 2),
        ("NAXIS1", rows.dtype.itemsize),
        ("NAXIS2", len(rows)),
        ("PCOUNT", 0),
        ("GCOUNT", 1),
        ("TFIELDS", len(names)),
    ]
    for number, column in enumerate(names, 1):
        kind = rows.dtype[column]
        length = str(kind.shape[0]) if kind.shape else ""
        form = f"{kind.itemsize}A" if kind.kind == "S" else length + _TFORM[kind.base.str[1:]]
        cards += [(f"TTYPE{number}", column), (f"TFORM{number}", form)]
    return _hdu(cards + ([("EXTNAME", name)] if name else []), rows)
