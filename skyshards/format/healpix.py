"""Positions and HEALPix pixels (always NESTED); the only module that uses a HEALPix library.

healpy is imported lazily: with matplotlib, importing it takes longer than opening a table.
"""

from __future__ import annotations

import numpy as np

ROUNDING = 1e-4
"""Degrees by which a position in float32 may be off, amply."""


def pixel_of(ra, dec, nside: int) -> np.ndarray:
    """Return the HEALPix pixels (NESTED, int64) of positions in degrees; arrays are broadcast."""
    import healpy

    return healpy.ang2pix(nside, ra, dec, nest=True, lonlat=True)


def pixel_of_vectors(vectors: np.ndarray, nside: int) -> np.ndarray:
    """Return the HEALPix pixels (NESTED, int64) of unit vectors [..., 3]."""
    import healpy

    return healpy.vec2pix(nside, vectors[..., 0], vectors[..., 1], vectors[..., 2], nest=True)


def with_neighbours(pixels: np.ndarray, nside: int) -> np.ndarray:
    """Return pixels (NESTED, int64) and those that touch them, some several times."""
    import healpy

    found = np.append(pixels, healpy.get_all_neighbours(nside, pixels, nest=True))
    return found[found >= 0]  # a pixel has 7 or 8 neighbours


def load() -> None:
    """Import healpy now; importing it later would block all busy threads."""
    import healpy  # noqa: F401


def is_nside(nside: int) -> bool:
    """Whether `nside` is valid for NESTED: a power of two up to 2**29."""
    return 0 < nside <= 1 << 29 and nside & (nside - 1) == 0


def near_cone(centre: tuple[float, float], radius: float, nside: int) -> np.ndarray:
    """Return the pixels (NESTED, int64) that may have positions within `radius` of `centre`; angles in degrees.

    A few more are among them, so that positions rounded to float32 are not lost.
    """
    import healpy

    # With `inclusive`, healpy 1.17 leaves out pixels around poles and corners; with `nest`, 1.20 those of wide discs.
    wide = np.radians(radius + ROUNDING) + healpy.max_pixrad(nside)
    if wide >= np.pi:
        return np.arange(healpy.nside2npix(nside))
    return healpy.ring2nest(nside, healpy.query_disc(nside, healpy.ang2vec(*centre, lonlat=True), wide))


def in_cone(ra, dec, centre: tuple[float, float], radius: float) -> np.ndarray:
    """Test which positions lie within `radius` of `centre` (ra, dec), edge included; all angles in degrees.

    Separations are compared as chords between unit vectors, exact to about 1e-8 arcsec at any separation.
    """
    import healpy

    ra, dec = np.broadcast_arrays(np.atleast_1d(ra), np.atleast_1d(dec))
    inside = np.abs(dec - centre[1]) <= radius + ROUNDING  # whatever their ra
    vectors = healpy.ang2vec(ra[inside], dec[inside], lonlat=True)
    chord = np.linalg.norm(vectors - healpy.ang2vec(*centre, lonlat=True), axis=-1)
    inside[inside] = chord <= 2.0 * np.sin(np.radians(min(radius, 180.0)) / 2.0) * (1.0 + 4e-16) + 1e-15
    return inside
