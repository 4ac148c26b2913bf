"""Positions and HEALPix pixels; the only module that touches a HEALPix library. All pixels are NESTED.

healpy is imported where it is needed: it takes longer to import (with matplotlib) than a table to open.
"""

from __future__ import annotations

import numpy as np


def pixel_of(ra, dec, nside: int) -> np.ndarray:
    """HEALPix pixel (NESTED, int64) of positions in degrees; arrays are broadcast."""
    import healpy

    return healpy.ang2pix(nside, ra, dec, nest=True, lonlat=True)


def load() -> None:
    """Import healpy now, rather than when many threads are busy, which all stand still meanwhile."""
    import healpy  # noqa: F401


def is_nside(nside: int) -> bool:
    """Whether HEALPix has a NESTED division of this resolution: a power of two up to 2**29."""
    return 0 < nside <= 1 << 29 and nside & (nside - 1) == 0


def in_cone(ra, dec, centre: tuple[float, float], radius: float) -> np.ndarray:
    """Which positions lie within `radius` of `centre` (ra, dec), the edge included; all angles in degrees.

    Separations are compared as chords between unit vectors, exact to about 1e-8 arcsec at any separation.
    """
    import healpy

    vectors = healpy.ang2vec(np.atleast_1d(ra), np.atleast_1d(dec), lonlat=True)
    chord = np.linalg.norm(vectors - healpy.ang2vec(*centre, lonlat=True), axis=-1)
    return chord <= 2.0 * np.sin(np.radians(min(radius, 180.0)) / 2.0) * (1.0 + 4e-16) + 1e-15
