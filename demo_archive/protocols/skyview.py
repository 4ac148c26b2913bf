"""HEASARC's SkyView: Simple Image Access to surveys, each resampled to 300 x 300 pixels around any position.

It lists the bands of a survey in an order of its own, each as FITS and then as JPEG.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from urllib.parse import urlencode

from demo_archive.protocols import sia
from demo_archive.serve.server import Request, Response, error_page
from demo_archive.simulation.bands import frame, grey_jpeg
from demo_archive.simulation.sky import Field, Sky, fits_image

PREFIX = "/skyview/cgi-bin"
LIST, IMAGES = f"{PREFIX}/vo/sia.pl", f"{PREFIX}/images"
PIXELS = 300
"""Width and height of its images."""
SIZES = 0.001, 2.0
"""Minimum and maximum width of its images, degrees."""
SURVEYS = {
    "swiftuvot": {f"swiftuvot{band}int": ("uvot", band) for band in ("v", "b", "u", "uvw1", "uvw2", "uvm2")},
    "sdssdr7": {f"sdssdr7{band}": ("sdss", band) for band in "giurz"},
}
"""By survey, its images in the order in which they are listed: camera and band."""
FIELDS = (
    ("Survey", "VOX:Image_Title", "char", "*", ""),
    ("Ra", "POS_EQ_RA_MAIN", "double", "", "deg"),
    ("Dec", "POS_EQ_DEC_MAIN", "double", "", "deg"),
    ("Dim", "VOX:Image_Naxes", "int", "", ""),
    ("Size", "VOX:Image_Naxis", "int", "*", ""),
    ("Scale", "VOX:Image_Scale", "double", "*", "deg/pix"),
    ("Format", "VOX:Image_Format", "char", "*", ""),
    ("PixFlags", "VOX:Image_PixFlags", "char", "*", ""),
    ("URL", "VOX:Image_AccessReference", "char", "*", ""),
    ("LogicalName", "LogicalName", "char", "*", ""),
)


class SkyView:
    """Service of images of the simulated sky: `vo/sia.pl?survey=…` lists them, `images?…` makes them."""

    def __init__(self, sky: Sky) -> None:
        self._sky = sky
        self._image = functools.lru_cache(256)(self._make_image)

    def __call__(self, request: Request) -> Response:
        if request.path == IMAGES:
            return self._product(request)
        survey = (request.get("SURVEY") or "").lower()
        if request.path != LIST or survey not in SURVEYS:
            return error_page(404)
        return sia.answer(request, FIELDS, lambda query: _rows(query, survey, request.server_url))

    def _product(self, request: Request) -> Response:
        try:
            ra, dec = (float(part) for part in request.get("POSITION", "").split(","))
            size, form = float(request.get("SIZE", "")), request.get("RETURN", "").lower()
            names = {name: made for images in SURVEYS.values() for name, made in images.items()}
            camera, band = names[request.get("SURVEY", "")]
            if not (0 <= ra < 360 and abs(dec) <= 90 and SIZES[0] <= size <= SIZES[1] and form in ("fits", "jpeg")):
                return error_page(404)
        except (ValueError, KeyError):
            return error_page(404)
        return Response(self._image(ra, dec, size, camera, band, form), f"image/{form}")

    def _make_image(self, ra: float, dec: float, size: float, camera: str, band: str, form: str) -> bytes:
        field = Field(ra, dec, PIXELS, PIXELS, size * 3600 / PIXELS)
        pixels = frame(self._sky, field, camera, band)
        return fits_image(pixels, field.cards, "") if form == "fits" else grey_jpeg(pixels)


def _rows(query: sia.Query, survey: str, server_url: str) -> Iterator[tuple]:
    size = min(max(query.size[0], SIZES[0]), SIZES[1])
    scale = size / PIXELS
    if not Field(query.ra, query.dec, 1, 1, 1.0).covered:
        return
    asked = [(name, form) for name in SURVEYS[survey] for form in query.forms]
    for number, (name, form) in enumerate(asked, 1):
        form = "jpeg" if form == "jpg" else form
        made = {"position": f"{query.ra!r},{query.dec!r}", "survey": name, "size": size, "return": form}
        url = f"{server_url}{IMAGES}?{urlencode(made)}"
        place = (query.ra, query.dec, 2, f"{PIXELS} {PIXELS}", f"{-scale!r} {scale!r}")
        yield (name, *place, f"image/{form}", "F", url, number)
