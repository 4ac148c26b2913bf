"""Images of any part of the simulated sky, for the image services."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from demo_archive.simulation.fits_bytes import image_hdu
from demo_archive.simulation.galaxies import Galaxy
from demo_archive.simulation.render import FOREGROUND_RADIUS, add_galaxy, add_noise, colour

SOUTHERN_LIMIT = -20.0
"""The simulated survey has no image south of this declination, degrees."""


@dataclass(frozen=True)
class Field:
    """A part of the sky in gnomonic projection, north up, east left: centre in degrees, pixels, arcsec per pixel."""

    ra: float
    dec: float
    width: int
    height: int
    scale: float

    @property
    def covered(self) -> bool:
        """Whether the survey covers its centre."""
        return self.dec >= SOUTHERN_LIMIT

    @property
    def cards(self) -> list[fits.Card]:
        """The cards of a FITS header that give its position."""
        return [
            fits.Card("CRPIX1", (self.width + 1) / 2),
            fits.Card("CRPIX2", (self.height + 1) / 2),
            fits.Card("CDELT1", -self.scale / 3600),
            fits.Card("CDELT2", self.scale / 3600),
            fits.Card("CUNIT1", "deg"),
            fits.Card("CUNIT2", "deg"),
            fits.Card("CTYPE1", "RA---TAN"),
            fits.Card("CTYPE2", "DEC--TAN"),
            fits.Card("CRVAL1", self.ra),
            fits.Card("CRVAL2", self.dec),
            fits.Card("RADESYS", "ICRS"),
        ]

    @property
    def wcs(self) -> WCS:
        return WCS(fits.Header(self.cards))


class Sky:
    """The simulated sky.

    Parameters
    ----------
    galaxies : list of Galaxy
    seed : int
        Seed of the noise.
    """

    def __init__(self, galaxies: list[Galaxy], seed: int) -> None:
        self._galaxies, self._seed = galaxies, seed
        ra, dec = np.radians([(galaxy.ra, galaxy.dec) for galaxy in galaxies]).T
        self._vectors = np.column_stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])

    def bands(self, field: Field) -> np.ndarray:
        """Render surface brightness in g, r, i: float32 `[3, height, width]`, row 0 north; NaN outside the survey."""
        picture = np.zeros((3, field.height, field.width), np.float32)
        if not field.covered:
            picture[:] = np.nan
            return picture
        for number, (east, north) in self._near(field):
            # Coordinates are counted from 0 at the centre of the first pixel.
            column = (field.width - 1) / 2 - east / field.scale
            row = (field.height - 1) / 2 - north / field.scale
            add_galaxy(picture, self._galaxies[number], column, row, field.scale)
        key = [
            int((field.ra % 360) * 1e6),
            int((field.dec + 90) * 1e6),
            field.width,
            field.height,
            int(field.scale * 1e6),
        ]
        add_noise(picture, field.scale, np.random.default_rng([self._seed, *key]))
        return picture

    def _near(self, field: Field):
        """Galaxies that may appear in a field: number, and offsets in its tangent plane (east, north), arcsec."""
        ra, dec = np.radians([field.ra, field.dec])
        centre = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
        east = np.array([-np.sin(ra), np.cos(ra), 0])
        north = np.cross(centre, east)
        reach = np.radians((np.hypot(field.width, field.height) * field.scale / 2 + 2 * FOREGROUND_RADIUS) / 3600)
        towards = self._vectors @ centre
        for number in np.flatnonzero(towards > np.cos(min(reach, np.pi / 2 - 0.01))):
            offset = self._vectors[number] / towards[number]
            yield number, np.degrees([offset @ east, offset @ north]) * 3600


def raster(bands: np.ndarray, form: str) -> bytes:
    """Encode a colour picture as "jpg" or "png"; black outside the survey."""
    buffer = io.BytesIO()
    image = Image.fromarray(colour(np.nan_to_num(bands)))
    image.save(buffer, "JPEG" if form == "jpg" else "PNG", **({"quality": 90} if form == "jpg" else {}))
    return buffer.getvalue()


def fits_image(planes: np.ndarray, cards: Iterable[fits.Card], unit: str) -> bytes:
    """Make a FITS file of one plane `[height, width]` or several, with row 0 in the south as usual in FITS.

    `cards` are those of its position, as `Field.cards`.
    """
    south_first = planes[..., ::-1, :]
    values = south_first if planes.dtype == np.uint8 else south_first.astype(">f4")
    return image_hdu(values, [*cards, *([fits.Card("BUNIT", unit)] if unit else [])], primary=True)
