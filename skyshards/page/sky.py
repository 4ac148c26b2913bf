"""The coverage of the sky in Mollweide's projection: east left, right ascension 180 deg in the middle."""

from __future__ import annotations

import base64
import functools
import io
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from skyshards.format import healpix

NSIDE = 32
"""HEALPix nside of the map: pixels of 1.8 deg."""
WIDTH = 1000
"""Width of the map, pixels; its height is half of it."""
CENTRE = 180.0
"""Right ascension in the middle, deg."""
RAMP = ((62, 74, 137), (49, 104, 142), (38, 130, 142), (53, 183, 121), (181, 222, 43), (253, 231, 37))
"""Colours from few to many rows a pixel: the upper part of viridis (van der Walt & Smith 2015)."""
LEVELS = 64


LABEL = 12
"""Distance of labels from their lines, pixels."""


class Coverage(NamedTuple):
    """A map as a PNG, and what it shows: the number of occupied pixels, and the most rows in one."""

    png: bytes
    pixels: int
    most: int

    @property
    def square_degrees(self) -> float:
        return self.pixels * 360**2 / np.pi / (12 * NSIDE**2)

    @property
    def url(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


def coverage(ra: np.ndarray, dec: np.ndarray) -> Coverage:
    """Draw the number of rows in each HEALPix pixel (logarithmic); pixels without rows are transparent.

    Parameters
    ----------
    ra, dec : float64 arrays
        Degrees; positions that are not finite are left out.
    """
    there = np.isfinite(ra) & np.isfinite(dec)
    found = healpix.pixel_of(ra[there], dec[there], NSIDE)
    counts = np.bincount(found, minlength=12 * NSIDE**2)
    most = int(counts.max(initial=0))
    levels = np.zeros(len(counts), np.uint8)
    occupied = counts > 0
    levels[occupied] = 1 + np.rint((LEVELS - 2) * np.log(counts[occupied]) / max(np.log(most), 1.0))
    x, y = np.meshgrid(*((np.arange(n) + 0.5) / n * 2 - 1 for n in (WIDTH, WIDTH // 2)))
    inside = x**2 + y**2 < 1
    drawn = np.zeros(x.shape, np.uint8)
    drawn[inside] = levels[healpix.pixel_of(*_unproject(x[inside], -y[inside]), NSIDE)]
    image = Image.fromarray(drawn, "P")
    stops = np.linspace(0, 1, len(RAMP))
    shades = [np.interp(np.linspace(0, 1, LEVELS - 1), stops, channel) for channel in np.transpose(RAMP)]
    image.putpalette([0, 0, 0, *np.rint(np.transpose(shades)).astype(int).ravel().tolist()])
    file = io.BytesIO()
    image.save(file, "png", transparency=0, optimize=True)
    return Coverage(file.getvalue(), int(np.count_nonzero(occupied)), most)


def project(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project positions in degrees to x and y from -1 to 1: x to the right (west), y upwards."""
    x, y = _mollweide().wcs_world2pix(ra, dec, 1)
    return x, y


def _unproject(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return right ascension and declination, the inverse of `project`."""
    inwards = 1 - 1e-9  # next to a pole, rounding puts the map's edge outside itself
    ra, dec = _mollweide().wcs_pix2world(x * inwards, y * inwards, 1)
    return ra, dec


@functools.cache
def _mollweide() -> Any:
    from astropy.wcs import WCS  # slow to import

    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---MOL", "DEC--MOL"], [CENTRE, 0], [0, 0]
    radius = np.degrees(np.sqrt(2))  # of the whole sky, along y; twice that along x
    wcs.wcs.cdelt = [-2 * radius, radius]
    return wcs


def graticule() -> str:
    """Return the SVG path of meridians every 60 deg and parallels every 30 deg, on a map of `WIDTH` pixels."""
    dec, ra = np.linspace(-90, 90, 37), np.linspace(0.001, 359.999, 73)
    lines = [_path(*project(np.full(len(dec), meridian), dec)) for meridian in (0.001, *range(60, 360, 60))]
    lines += [_path(*project(ra, np.full(len(ra), parallel))) for parallel in range(-60, 90, 30)]
    return "".join(lines)


def galactic_plane() -> str:
    """Return the SVG path of the Galactic plane, on a map of `WIDTH` pixels."""
    from astropy.coordinates import SkyCoord  # slow to import

    plane = SkyCoord(l=np.arange(0, 361, 2), b=0, frame="galactic", unit="deg").icrs
    x, y = project(plane.ra.deg, plane.dec.deg)
    breaks = np.flatnonzero(np.abs(np.diff(x)) > 1) + 1  # where it leaves the map on one side and enters on the other
    return "".join(_path(*part) for part in zip(np.split(x, breaks), np.split(y, breaks), strict=True))


def labels() -> list[tuple[float, float, str, str]]:
    """Return the labels of the graticule: x and y on a map of `WIDTH` pixels, text, and SVG's `text-anchor`."""
    found = []
    for meridian in range(60, 360, 60):
        x, y = _on_map(*project(np.array([meridian]), np.array([0.0])))[0]
        found.append((x, y - LABEL / 2, f"{meridian}°", "middle"))
    for parallel in (-60, -30, 30, 60):
        x, y = _on_map(*project(np.array([359.999]), np.array([float(parallel)])))[0]
        found.append((x + LABEL, y, f"{parallel:+d}°", "start"))
    return found


def _path(x: np.ndarray, y: np.ndarray) -> str:
    return "M" + "L".join(f"{right:g},{down:g}" for right, down in _on_map(x, y))


def _on_map(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    """Convert projected positions to pixels of the map, from its upper left corner."""
    return np.round(np.column_stack([(1 + x) * WIDTH / 2, (1 - y) * WIDTH / 4]), 1).tolist()
