"""Where a GZ3D row is on the sky: its WCS, and the hexagon that MaNGA's fibres cover."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astropy.wcs import WCS

SIZE = 525
"""Height and width of the images and masks, in pixels."""

CENTRE = SIZE / 2
"""The image's centre in FITS pixels (CRPIX), and from its left and upper edges; half a pixel apart on the sky."""

DIGITS = 14
"""Significant digits of the position in a file's header."""

ACROSS = {7: 3, 19: 5, 37: 7, 61: 9, 91: 11, 127: 13}
"""Number of fibres across an IFU, by its number of fibres (Drory et al. 2015, AJ 149, 77, table 1)."""

FIBRE_SPACING = 2.5
"""Distance of neighbouring fibres, arcsec (Drory et al. 2015)."""


def ifu_diameter(ifudesignsize: float) -> float:
    """Distance of opposite corners of an IFU, arcsec; NaN for an unknown number of fibres."""
    return ACROSS.get(int(np.nan_to_num(ifudesignsize)), np.nan) * FIBRE_SPACING


def hexagon(ifudesignsize: float, scale: float) -> dict[str, np.ndarray]:
    """Return the corners of an IFU: x and y, float64 `[6]` each, in pixels from the image's left and upper edges.

    The first corner is the western one; the others follow by way of south. NaN for an unknown number of fibres.
    """
    radius = ifu_diameter(ifudesignsize) / 2 / (scale * 3600)
    angles = np.radians(np.arange(0, 360, 60))
    return {"x": CENTRE + radius * np.cos(angles), "y": CENTRE + radius * np.sin(angles)}


def wcs(row: Mapping[str, Any]) -> WCS:
    """Return the world coordinate system of a row's image and masks: the one in HDU 1 of its file.

    Pixels are counted from 0 at the north-eastern corner, (column, row), by the methods of astropy's common interface
    (`pixel_to_world`), and from 1 by those of FITS (`wcs_world2pix(..., 1)`).

    Parameters
    ----------
    row : mapping
        One row, with `ra`, `dec` and `scale`.

    Returns
    -------
    astropy.wcs.WCS

    Examples
    --------
    >>> found = wcs({"ra": 119.6338119506836, "dec": 52.597965240478516, "scale": 2.75e-05})
    >>> found.pixel_to_world(261.5, 261.5).to_string("hmsdms", precision=1)
    '07h58m32.1s +52d35m52.7s'
    """
    from astropy.wcs import WCS

    ra, dec, scale = (float(row[name]) for name in ("ra", "dec", "scale"))
    found = WCS(naxis=2)
    found.wcs.crpix = CENTRE, CENTRE
    found.wcs.pc = [[-scale, 0], [0, -scale]]
    found.wcs.cdelt = 1, 1
    found.wcs.crval = [float(f"{angle:.{DIGITS}g}") for angle in (ra, dec)]
    found.wcs.ctype = "RA---TAN", "DEC--TAN"
    found.wcs.cunit = "deg", "deg"
    found.wcs.radesys = "ICRS"
    found.wcs.set()
    found.array_shape = SIZE, SIZE
    return found
