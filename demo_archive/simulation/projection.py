"""Images of the simulated sky in any projection, orientation and coordinate system, as a FITS header gives them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area, proj_plane_pixel_scales
from scipy.ndimage import map_coordinates

from demo_archive.simulation.sky import SOUTHERN_LIMIT, Field, Sky

WIDEST = 60.0
"""Width of an image above which galaxies are too small to be seen, degrees."""
AXES = ("NAXIS1", "NAXIS2")
EXACT = 0.01
"""Maximum difference of positions that needs no interpolation, pixels."""


@dataclass(frozen=True)
class Projection:
    """A part of the sky: the JSON of its FITS header, and its size in pixels."""

    header: str
    width: int
    height: int

    @classmethod
    def of_json(cls, text: str) -> Projection:
        """Read a JSON object of header cards. Raises `ValueError` if they lack a size or positions on the sky."""
        try:
            projection = cls(text, *(int(json.loads(text)[axis]) for axis in AXES))
            _ = projection.wcs.pixel_to_world(0, 0).icrs
            if not projection.scale > 0:
                raise ValueError("its pixels have no area")
        except KeyError as error:
            raise ValueError(f"Parameter wcs lacks {error}") from error
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"Parameter wcs is not the JSON of a FITS header: {error}") from error
        return projection

    @property
    def cards(self) -> list[fits.Card]:
        """The cards of its FITS header, without those of its size."""
        return [fits.Card(name, value) for name, value in json.loads(self.header).items() if name not in AXES]

    @cached_property
    def wcs(self) -> WCS:
        return WCS(fits.Header(self.cards))

    @property
    def scale(self) -> float:
        """Width of a square pixel of the same area, arcsec."""
        return 3600 * float(np.sqrt(proj_plane_pixel_area(self.wcs)))

    def bands(self, sky: Sky) -> np.ndarray:
        """Render surface brightness in g, r, i as `Sky.bands` does, with the last row of a FITS image first.

        NaN outside the survey and the projection.
        """
        y, x = np.indices((self.height, self.width), float)[:, ::-1]
        place = self.wcs.pixel_to_world(x, y).icrs
        middle = (self.width - 1) / 2, (self.height - 1) / 2
        centre = self.wcs.pixel_to_world(*middle).icrs
        if not place.separation(centre).deg.max() <= WIDEST / 2:  # or is NaN, because some of it is not on the sky
            plane = np.where(place.dec.deg >= SOUTHERN_LIMIT, np.float32(0), np.float32(np.nan))
            return np.stack([plane] * 3)
        scale = 3600 * float(proj_plane_pixel_scales(self.wcs).max())
        ra, dec, scale = (round(float(value), 9) for value in (centre.ra.deg, centre.dec.deg, scale))
        field = Field(ra, dec, self.width, self.height, scale)
        there = field.wcs.world_to_pixel(place)
        if max(np.abs(there[0] - x).max(), np.abs(there[1] - y).max()) < EXACT:
            return sky.bands(field)
        offsets = [axis - half for axis, half in zip(there, middle, strict=True)]
        width, height = (2 * int(np.ceil(np.abs(offset).max())) + 3 for offset in offsets)
        rows, columns = (height - 1) / 2 - offsets[1], (width - 1) / 2 + offsets[0]
        larger = sky.bands(replace(field, width=width, height=height))
        return np.stack([map_coordinates(band, [rows, columns], order=1) for band in larger])
