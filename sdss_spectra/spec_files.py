"""Read a "lite" file of one spectrum, as SDSS's Science Archive Server has them.

Data model: https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec.html
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from sdss_spectra.sdss_spectra import MEASURED, SPECTRUM
from sdss_spectra.spectrum_ids import SpectrumID
from skyshards.errors import SourceError
from skyshards.fits_files import open_fits, table_columns, table_row


def read_spec(path: Path) -> dict[str, Any]:
    """Read the columns of `sdss_spectra.SCHEMA` (all but those that a build fills in) from the file of a spectrum.

    Raises
    ------
    SourceError
        The file is damaged or cut short; an HDU or column is missing; flux, inverse variance or wavelengths are
        impossible; or it is not the spectrum of its name.
    """
    hdus = open_fits(path.read_bytes(), 3)
    pixels = table_columns(hdus, 1, SPECTRUM)
    row = table_row(hdus, 2, (*MEASURED, "plate", "mjd", "fiberid", "plug_ra", "plug_dec"))
    run2d = str(row.get("run2d", hdus[0].header.get("RUN2D"))).strip()
    if not re.fullmatch(r"\d+|v\d+_\d+_\d+", run2d):
        raise SourceError(f"RUN2D: expected a number or v5_13_2, found {run2d!r}")
    found = SpectrumID(int(row["plate"]), int(row["mjd"]), int(row["fiberid"]), run2d)
    if found.file_name != path.name:
        raise SourceError(f"HDU 2: expected the spectrum {path.name}, found {found.file_name}")
    _check(pixels)
    return {
        "object_id": str(found.specobjid),
        "ra": row["plug_ra"],
        "dec": row["plug_dec"],
        "spectrum": {name: pixels[name] for name in SPECTRUM},
        **{name: row[name] for name in MEASURED},
        "specobjid": found.specobjid,
        **found._asdict(),
    }


def _check(pixels: dict[str, np.ndarray]) -> None:
    flux, ivar, loglam = (pixels[name].astype(float) for name in ("flux", "ivar", "loglam"))
    for name, right, words in (
        ("flux", np.isfinite(flux), "finite numbers"),
        ("ivar", np.isfinite(ivar) & (ivar >= 0), "numbers from 0"),
        ("loglam", np.isfinite(loglam) & (np.diff(loglam, prepend=0) > 0), "increasing numbers"),
    ):
        if not right.all():
            place = int(np.argmin(right))
            raise SourceError(f"HDU 1: {name}: expected {words}, found {pixels[name].flat[place]} in row {place + 1}")
