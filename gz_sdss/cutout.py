"""Cut the square around a galaxy out of a larger FITS or JPEG image of any pixel size."""

from __future__ import annotations

import math

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from gz_sdss import image_checks as images
from gz_sdss.fill_values import without_fill
from gz_sdss.hips2fits import SIZE
from skyshards.errors import FetchError

MAX_MISSING = 0.01
"""Maximum fraction of missing pixels in a cutout: allows dead pixels and cosmic rays, but no hole or edge."""


def tangent_wcs(ra: float, dec: float, extent: tuple[float, float], shape: tuple[int, int]) -> WCS:
    """Gnomonic projection of an image centred at a position, with row 0 in the south and column 0 in the east.

    Parameters
    ----------
    ra, dec : float
        Degrees.
    extent : (float, float)
        Width and height, degrees.
    shape : (int, int)
        Height and width, pixels.
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = ra, dec
    wcs.wcs.crpix = (shape[1] + 1) / 2, (shape[0] + 1) / 2
    wcs.wcs.cdelt = -extent[0] / shape[1], extent[1] / shape[0]
    return wcs


def resample(planes: np.ndarray, wcs: WCS, ra: float, dec: float, size: float, npix: int = SIZE) -> np.ndarray:
    """Interpolate the square of `size` degrees around a position linearly onto `npix` x `npix` pixels.

    Parameters
    ----------
    planes : float `[planes, height, width]`
        Row 0 in the south, as in FITS.
    wcs : astropy.wcs.WCS
        Of the celestial axes.

    Returns
    -------
    float32 `[planes, npix, npix]`
        Row 0 in the south, column 0 in the east.

    Raises
    ------
    FetchError
        The image does not cover all of it.
    """
    x, y = _pixels(wcs, ra, dec, size, npix)
    height, width = planes.shape[1:]
    inside = (x > -1) & (x < width) & (y > -1) & (y < height)
    if not inside.all():
        raise FetchError(f"expected an image of all the cutout at ra={ra}, dec={dec}; it covers {inside.mean():.0%}")
    return _bilinear(planes, y, x).astype(np.float32)


def _pixels(wcs: WCS, ra: float, dec: float, size: float, npix: int) -> tuple[np.ndarray, np.ndarray]:
    """Image coordinates of a cutout's pixels: x and y, float `[npix, npix]`."""
    rows, columns = np.mgrid[:npix, :npix]
    target = tangent_wcs(ra, dec, (size, size), (npix, npix))
    return wcs.world_to_pixel(SkyCoord(*target.pixel_to_world_values(columns, rows), unit="deg"))


def _without_fill(planes: np.ndarray, wcs: WCS, ra: float, dec: float, size: float, npix: int) -> np.ndarray:
    """Planes of an image, with NaN where a hole within the cutout was filled with one value."""
    x, y = _pixels(wcs, ra, dec, size, npix)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return planes
    part = (slice(None), *(slice(max(0, int(places.min())), int(max(0, places.max())) + 2) for places in (y, x)))
    planes = planes.copy()
    planes[part] = without_fill(planes[part])
    return planes


def _bilinear(planes: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Interpolate bilinearly; beyond the centre of the last pixel, its value."""
    y, x = np.clip(y, 0, planes.shape[1] - 1), np.clip(x, 0, planes.shape[2] - 1)
    row, column = y.astype(int), x.astype(int)
    below, beside = np.minimum(row + 1, planes.shape[1] - 1), np.minimum(column + 1, planes.shape[2] - 1)
    dy, dx = y - row, x - column
    with np.errstate(invalid="ignore"):  # pixels without a value
        upper = planes[:, row, column] * (1 - dx) + planes[:, row, beside] * dx
        lower = planes[:, below, column] * (1 - dx) + planes[:, below, beside] * dx
        return upper * (1 - dy) + lower * dy


def fits_cutout(
    content: bytes, ra: float, dec: float, size: float, max_missing: float = MAX_MISSING, npix: int = SIZE
) -> np.ndarray:
    """Cut a square of `size` degrees from a FITS image: float32 `[npix, npix]`, or `[planes, npix, npix]` from planes.

    Raises
    ------
    FetchError
        It has no celestial WCS, does not cover all of the square, is blank, or in some plane more than a fraction
        `max_missing` (0 to 1) of the square's pixels have no value (NaN, infinite, or in a filled hole: see
        `without_fill`).
    """
    pixels, header = images.open_fits(content)
    wcs = WCS(header, naxis=2)
    if not wcs.has_celestial:
        raise FetchError("a FITS image with no celestial WCS: its position is unknown")
    planes = _without_fill(pixels if pixels.ndim == 3 else pixels[None], wcs, ra, dec, size, npix)
    cutout = resample(planes, wcs, ra, dec, size, npix)
    there = np.isfinite(cutout)
    if not cutout[there].max(initial=-np.inf) > cutout[there].min(initial=np.inf):
        raise FetchError("a blank image: the position is outside the survey")
    missing = 1.0 - there.all(axis=0).mean()
    if missing > max_missing:
        raise FetchError(
            f"expected values in all but {max_missing:.2%} of the cutout at ra={ra}, dec={dec};"
            f" {missing:.2%} of it has none"
        )
    return cutout if pixels.ndim == 3 else cutout[0]


def jpeg_cutout(
    content: bytes,
    centre: tuple[float, float],
    extent: tuple[float, float],
    ra: float,
    dec: float,
    size: float,
    npix: int = SIZE,
) -> bytes:
    """Cut a square of `size` degrees from a JPEG; a JPEG of just that square is returned unchanged.

    Parameters
    ----------
    centre, extent : (float, float)
        Right ascension and declination of the JPEG's centre, and its width and height, all in degrees; north is up.
        NaN where unknown: then only a JPEG of `npix` x `npix` pixels is accepted.

    Raises
    ------
    FetchError
        It is blank, does not cover all of the square, or has another size and unknown extent.
    """
    pixels = images.open_jpeg(content)
    images.check_not_blank(pixels)
    is_known = all(map(math.isfinite, (*centre, *extent)))
    if pixels.shape[:2] == (npix, npix) and not (is_known and abs(extent[0] - size) > 0.05 * size):
        return content
    if not is_known:
        raise FetchError(
            f"expected a JPEG of {npix} x {npix} pixels, found {pixels.shape[1]} x {pixels.shape[0]},"
            " and the service does not say how much sky it shows"
        )
    planes = np.moveaxis(pixels[::-1], -1, 0).astype(np.float32)
    wcs = tangent_wcs(*centre, extent, pixels.shape[:2])
    picture = np.moveaxis(resample(planes, wcs, ra, dec, size, npix), 0, -1)[::-1]
    picture = np.ascontiguousarray(picture.round().astype(np.uint8))
    images.check_not_blank(picture)
    return images.encode_jpeg(picture)
