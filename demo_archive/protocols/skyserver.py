"""SDSS's SkyServer: Simple Image Access to the frames of data release 7, as gzipped FITS.

It lists the frames around a position, the nearest first, each in the bands u, g, r, i and z. Its access URL says
`format=image/fits`; any other format but an empty one is an error of the server, `FORMAT=ALL` included.
"""

from __future__ import annotations

import functools
import gzip
import re
from collections.abc import Iterator

from demo_archive.protocols import sia
from demo_archive.serve.server import Request, Response, error_page
from demo_archive.simulation.bands import CAMERAS, frame
from demo_archive.simulation.sky import Field, Sky, fits_image

PREFIX = "/skyserver"
QUERY = f"{PREFIX}/vo/DR7SIAP/SIAP.asmx/getSiapInfo"
FRAMES = f"{PREFIX}/imaging/"
WIDTH = 0.1
"""Width of a frame, degrees: half of SDSS's, to be quick."""
FIELDS = (
    ("Title", "VOX:Image_Title", "char", "*", ""),
    ("width", "VOX:Image_Width", "int", "", "pix"),
    ("height", "VOX:Image_Height", "int", "", "pix"),
    ("RA", "POS_EQ_RA_MAIN", "double", "", "deg"),
    ("DEC", "POS_EQ_DEC_MAIN", "double", "", "deg"),
    ("scale", "VOX:Image_Scale", "double", "*", "deg/pix"),
    ("format", "VOX:Image_Format", "char", "*", ""),
    ("url", "VOX:Image_AccessReference", "char", "*", ""),
    ("naxes", "VOX:Image_Naxes", "int", "", ""),
    ("naxis", "VOX:Image_Naxis", "int", "*", "pix"),
)


class SkyServer:
    """Service of the frames of the simulated sky, and of the list of those around a position."""

    def __init__(self, sky: Sky) -> None:
        self._sky = sky
        self._image = functools.lru_cache(20)(self._make_image)  # some 2 MB each

    def __call__(self, request: Request) -> Response:
        if request.path == QUERY:
            if request.get("FORMAT") not in ("image/fits", ""):
                message = f"System.ArgumentException: format {request.get('FORMAT')} is not image/fits\n"
                return Response(message.encode(), status=500)
            return sia.answer(request, FIELDS, lambda query: _rows(query, request.server_url))
        named = re.fullmatch(rf"{FRAMES}fpC-(-?\d{{1,4}})-([ugriz])-(\d{{1,4}})\.fit\.gz", request.path)
        if not named or abs(sia.frame_field(int(named[1]), 0, WIDTH).dec) >= 90:
            return error_page(404)
        return Response(self._image(int(named[1]), int(named[3]), named[2]), "application/x-gzip")

    def _make_image(self, row: int, column: int, band: str) -> bytes:
        field = sia.frame_field(row, column, WIDTH)
        return gzip.compress(fits_image(frame(self._sky, field, "sdss", band), field.cards, ""), 1, mtime=0)


def _rows(query: sia.Query, server_url: str) -> Iterator[tuple]:
    if not Field(query.ra, query.dec, 1, 1, 1.0).covered:
        return
    for row, column in sia.frames_near(query.ra, query.dec, query.size, WIDTH):
        field = sia.frame_field(row, column, WIDTH)
        place = (field.width, field.height, field.ra, field.dec, field.scale / 3600, "image/fits")
        for band in CAMERAS["sdss"]:
            url = f"{server_url}{FRAMES}fpC-{row}-{band}-{column}.fit.gz"
            yield (f"Simulated Sloan frame - Filter {band}", *place, url, 2, f"{field.width} {field.height}")
