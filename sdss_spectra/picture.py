"""Pictures of SDSS spectra for galleries: flux over wavelength, with the lines at the row's redshift marked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sdss_spectra.lines import LINES
from skyshards.pictures.drawing import Columns, Drawing, Row, generic
from skyshards.pictures.spectrum import draw_spectrum

FLUX, LOGLAM, IVAR, Z = "spectrum.flux", "spectrum.loglam", "spectrum.ivar", "z"


def drawing(columns: Columns) -> Drawing:
    """Draw spectra without their unusable pixels, and say the redshift; as `generic` does without them."""
    general = generic(columns)
    needed = {FLUX: "list of float", LOGLAM: "list of float", Z: "float"}
    if not all(name in columns and columns[name].dtype.startswith(kind) for name, kind in needed.items()):
        return general
    wanted = needed.keys() | ({IVAR, "class", "subclass"} & set(columns))

    def draw(row: Row, size: int | None, masks: bool) -> np.ndarray | None:
        spectrum, z = row["spectrum"], float(row[Z])
        flux, loglam = (np.asarray(spectrum[name], np.float64) for name in ("flux", "loglam"))
        if "ivar" in spectrum:
            flux = np.where(np.asarray(spectrum["ivar"]) > 0, flux, np.nan)
        marks = {name: line * (1 + z) for name, line in LINES.items()}
        return draw_spectrum(flux, 10**loglam, size, "Angstrom", marks)

    def describe(row: Row) -> str:
        words = [general.caption(row), str(row.get("subclass", "")), f"z = {float(row[Z]):.4f}"]
        return ", ".join(word for word in words if word)

    return replace(general, columns=tuple(name for name in columns if name in wanted), draw=draw, describe=describe)
