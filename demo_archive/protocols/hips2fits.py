"""Hips2Fits: cutouts of surveys by position and size, or by a WCS, like the CDS service."""

from __future__ import annotations

import functools
import json
import math

import numpy as np
from scipy.ndimage import gaussian_filter

from demo_archive.protocols.mocserver import COLOUR, SURVEYS
from demo_archive.serve.server import Request, Response
from demo_archive.simulation.projection import Projection
from demo_archive.simulation.render import colour
from demo_archive.simulation.sky import Field, Sky, fits_image, raster

PREFIX = "/hips-image-services/hips2fits"
MAX_PIXELS = 50_000_000
"""Maximum number of pixels in an image."""
MAX_WCS_PIXELS = 4_000_000
"""The same if a WCS is given, which takes some 500 bytes of memory for each."""
COLOUR_SURVEYS = tuple(survey for survey, (_, *kind) in SURVEYS.items() if tuple(kind) == COLOUR)
BAND_SURVEYS = {f"CDS/P/SDSS9/{band}": number for number, band in enumerate("gri")}
SEEING = {"CDS/P/unWISE/color-W2-W1W2-W1": 6.0}
"""Width (FWHM) by which the pictures of a survey are blurred, arcsec."""
CONTENT_TYPES = {"jpg": "image/jpeg", "png": "image/png", "fits": "image/fits"}


class Hips2Fits:
    """Service of cutouts of the simulated sky."""

    def __init__(self, sky: Sky) -> None:
        self._sky = sky
        self._image = functools.lru_cache(4096)(self._make_image)

    def __call__(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response(status=405, headers={"Allow": "GET, POST"})
        try:
            hips, field, form = _parameters(request)
        except ValueError as error:
            body = {"title": "Bad request", "description": str(error)}
            return Response(json.dumps(body).encode(), "application/json", 400)
        return Response(self._image(hips, field, form), CONTENT_TYPES[form])

    def _make_image(self, hips: str, field: Field | Projection, form: str) -> bytes:
        bands = self._sky.bands(field) if isinstance(field, Field) else field.bands(self._sky)
        if hips in SEEING:
            sigma = SEEING[hips] / 2.355 / field.scale
            bands = gaussian_filter(bands, (0.0, sigma, sigma), mode="nearest")
        if hips in BAND_SURVEYS:
            band = bands[BAND_SURVEYS[hips]]
            if form == "fits":
                return fits_image(band * np.float32(field.scale**2), field.cards, "nanomaggy")
            bands = np.stack([band, band, band])
        if form == "fits":
            # Colour surveys consist of pictures: their FITS files have a plane of grey levels for each of R, G, B.
            return fits_image(np.moveaxis(colour(np.nan_to_num(bands)), -1, 0), field.cards, "")
        return raster(bands, form)


def _parameters(request: Request) -> tuple[str, Field | Projection, str]:
    """Parse the survey, field and format of a request. Raises `ValueError` with the service's message."""
    hips, form = request.get("HIPS") or "", request.get("FORMAT", "fits")
    if not hips:
        raise ValueError("Missing parameter: hips")
    if hips not in (*COLOUR_SURVEYS, *BAND_SURVEYS):
        raise ValueError(f"No HiPS found with ID or keywords: {hips}")
    if form not in CONTENT_TYPES:
        raise ValueError(f"Unknown format: {form}. It must be one of fits, jpg, png")
    if wcs := request.get("WCS"):
        projection = Projection.of_json(wcs)
        _check_size(projection.width, projection.height, MAX_WCS_PIXELS)
        return hips, projection, form
    if request.get("PROJECTION", "TAN") != "TAN" or float(request.get("ROTATION_ANGLE", "0")) != 0:
        raise ValueError("This service knows the projection TAN only, without a rotation_angle")
    width, height = (int(_number(request, name)) for name in ("width", "height"))
    _check_size(width, height, MAX_PIXELS)
    ra, dec, fov = (_number(request, name) for name in ("ra", "dec", "fov"))
    if not -90 <= dec <= 90:
        raise ValueError("Parameter dec must be in the range [-90, 90]")
    if not 0 < fov < 60:
        raise ValueError("Parameter fov must be between 0 and 60 degrees for the projection TAN")
    return hips, Field(ra % 360, dec, width, height, fov * 3600 / max(width, height)), form


def _check_size(width: int, height: int, limit: int) -> None:
    if width < 1 or height < 1:
        raise ValueError("Parameters width and height must be positive integers")
    if width * height > limit:
        raise ValueError(f"Requested image is too large: the limit is {limit // 10**6} million pixels")


def _number(request: Request, name: str) -> float:
    text = request.get(name.upper())
    if text is None:
        raise ValueError(f"Missing parameter: {name}")
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"Parameter {name} must be a number, found {text}") from None
    if not math.isfinite(value):
        raise ValueError(f"Parameter {name} must be a finite number, found {text}")
    return value
