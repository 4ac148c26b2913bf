"""Open FITS files from archives: their first HDUs, checked, with errors that name the HDU."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from skyshards.errors import SourceError
from skyshards.fits_sums import check_sums

if TYPE_CHECKING:
    from astropy.io import fits


def open_fits(content: bytes | bytearray, hdus: int) -> fits.HDUList:
    """Open the first `hdus` HDUs of a file; further ones are neither parsed nor checked.

    Raises
    ------
    SourceError
        It is not FITS, or has fewer HDUs; or one is cut short, or does not match its checksums (if it has any).
    """
    from astropy.io import fits

    if content[:9] != b"SIMPLE  =":
        raise SourceError(f"not a FITS file: it begins with {bytes(content[:20])!r}")
    with warnings.catch_warnings(action="ignore"):  # about what is refused here
        try:
            opened = fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=True)
            for number in range(hdus):
                if not _is_there(opened, number):
                    raise SourceError(f"expected at least {hdus} HDUs, found {number}; is the file whole?")
                _check(content, opened[number], number)
        except SourceError:
            raise
        except Exception as error:  # astropy raises many types
            raise SourceError(f"not a readable FITS file: {error}") from error
    return opened


def _check(content: bytes | bytearray, hdu: Any, number: int) -> None:
    place = hdu.fileinfo()
    try:
        if (end := place["datLoc"] + place["datSpan"]) > len(content):
            raise ValueError(f"cut short: expected {end:,} bytes, found {len(content):,}; download the file again")
        check_sums(content, hdu.header, place)
    except ValueError as error:
        raise SourceError(f"HDU {number}: {error}") from error


def _is_there(hdus: fits.HDUList, number: int) -> bool:
    try:
        return hdus[number] is not None
    except IndexError:
        return False


def table_columns(hdus: fits.HDUList, number: int, needed: Iterable[str]) -> dict[str, np.ndarray]:
    """Return the columns of a table by name in lower case, in native byte order.

    Raises `SourceError` if it is no table, cannot be read, or lacks one of the `needed` columns.
    """
    try:
        data = hdus[number].data
        columns = {name.lower(): data[name] for name in getattr(data, "names", None) or ()}
    except Exception as error:  # astropy raises many types
        raise SourceError(f"HDU {number}: its data cannot be read ({error})") from error
    if missing := [name for name in needed if name not in columns]:
        there = ", ".join(columns) or "no table"
        raise SourceError(f"HDU {number}: no column {', '.join(missing)}; found {there}")
    return {name: values.astype(values.dtype.newbyteorder("="), copy=False) for name, values in columns.items()}


def table_row(hdus: fits.HDUList, number: int, needed: Iterable[str]) -> dict[str, Any]:
    """Return the row of a table of one row, like `table_columns`; text is stripped of its padding."""
    columns = table_columns(hdus, number, needed)
    if (rows := len(next(iter(columns.values()), ()))) != 1:
        raise SourceError(f"HDU {number}: expected a table of one row, found {rows}")
    return {name: value[0].strip() if isinstance(value[0], str) else value[0] for name, value in columns.items()}
