"""Read a "lite" file of one spectrum, as SDSS's Science Archive Server has them.

Data model: https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec.html
"""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from sdss_spectra.sdss_spectra import CLASSES, MEASURED, SPECTRUM
from sdss_spectra.spectrum_ids import SpectrumID
from skyshards.errors import SourceError
from skyshards.fits_sums import check_sums

FILE_NAME = re.compile(r"spec-(\d{4,5})-(\d{5})-(\d{4})\.fits")


def read_spec(path: Path) -> dict[str, Any]:
    """Read the columns of `sdss_spectra.SCHEMA` (all but those that a build fills in) from the file of a spectrum.

    Raises
    ------
    SourceError
        The file is not FITS, cut short, or damaged by its checksums (if it has any); an HDU or column is missing or has
        another type; flux, inverse variance or wavelengths are impossible; or it is not the spectrum of its name.
    """
    name = FILE_NAME.fullmatch(path.name)
    if name is None:
        raise SourceError(f"file name {path.name!r}: expected spec-PLATE-MJD-FIBER.fits")
    header, coadd, summary = _hdus(path.read_bytes())
    if len(summary["plate"]) != 1:
        raise SourceError(f"HDU 2: expected one row, found {len(summary['plate'])}")
    about = {key: values[0] for key, values in summary.items()}
    run2d = str(about.get("run2d", header.get("RUN2D", ""))).strip()
    found = SpectrumID(int(about["plate"]), int(about["mjd"]), int(about["fiberid"]), run2d)
    if found[:3] != tuple(map(int, name.groups())):
        raise SourceError(f"HDU 2: expected the spectrum of its name, found that of {found.file_name}")
    if not re.fullmatch(r"\d+|v\d+_\d+_\d+", run2d):
        raise SourceError(f"RUN2D: expected a number or v5_13_2, found {run2d!r}")
    measured = {key: about[key].strip() if isinstance(about[key], str) else about[key] for key in MEASURED}
    if measured["class"] not in CLASSES:
        raise SourceError(f"HDU 2: CLASS: expected {', '.join(CLASSES)}, found {measured['class']!r}")
    return {
        "object_id": str(found.specobjid),
        "ra": float(about["plug_ra"]),
        "dec": float(about["plug_dec"]),
        "spectrum": _pixels(coadd),
        **measured,
        "specobjid": found.specobjid,
        **found._asdict(),
    }


def _hdus(content: bytes) -> tuple[fits.Header, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Primary header, and the columns of HDUs 1 and 2 by name in lower case."""
    if content[:9] != b"SIMPLE  =":
        raise SourceError(f"not a FITS file: it begins with {content[:20]!r}")
    tables = []
    with warnings.catch_warnings(action="ignore"):  # about what is refused below
        hdus, number = fits.open(io.BytesIO(content), memmap=False), 0
        try:
            for number in range(3):
                place = hdus[number].fileinfo()
                if place["datLoc"] + place["datSpan"] > len(content):
                    raise ValueError(f"cut short: the file has {len(content):,} bytes")
                check_sums(content, hdus[number].header, place)
                data = hdus[number].data
                tables.append({key.lower(): data[key] for key in getattr(data, "names", None) or ()})
        except Exception as error:  # astropy raises many types
            reason = f"there are only {len(hdus)} HDUs" if isinstance(error, IndexError) else error
            raise SourceError(f"HDU {number}: {reason}; download the file again") from error
    needed = (SPECTRUM.keys(), {*MEASURED, "plate", "mjd", "fiberid", "plug_ra", "plug_dec"})
    for number, names in enumerate(needed, 1):
        if missing := sorted(names - tables[number].keys()):
            there = ", ".join(tables[number]) or "no table"
            raise SourceError(f"HDU {number}: no column {', '.join(missing)}; found {there}")
    return hdus[0].header, tables[1], tables[2]


def _pixels(coadd: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns of COADD in native byte order, checked."""
    pixels = {}
    for name, column in SPECTRUM.items():
        wanted = np.dtype(column.feature.feature.dtype)
        if coadd[name].ndim != 1 or coadd[name].dtype.newbyteorder("=") != wanted:
            raise SourceError(f"HDU 1: {name}: expected a {wanted} in each row, found {coadd[name].dtype}"
                              f" {list(coadd[name].shape[1:])}")  # fmt: skip
        pixels[name] = coadd[name].astype(wanted)
    flux, ivar, loglam = (pixels[name] for name in ("flux", "ivar", "loglam"))
    for name, wrong, words in (
        ("flux", ~np.isfinite(flux), "finite numbers"),
        ("ivar", ~(np.isfinite(ivar) & (ivar >= 0)), "numbers from 0"),
        ("loglam", ~np.isfinite(loglam) | (np.diff(loglam, prepend=-np.inf) <= 0), "increasing numbers"),
    ):
        if wrong.any():
            row = int(np.argmax(wrong))
            raise SourceError(f"HDU 1: {name}: expected {words}, found {pixels[name][row]} in row {row + 1}")
    return pixels
