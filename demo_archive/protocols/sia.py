"""Simple Image Access, versions 1 and 2: lists of images at a position, and the images, FITS and JPEG.

Any position has cutouts of the requested size, and the survey's overlapping frames, which are larger and centred
elsewhere. Like some real services, it lists frames in both formats, whatever format is requested.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from demo_archive.protocols import votable
from demo_archive.protocols.tap import vosi_capabilities
from demo_archive.serve.server import Request, Response, error_page
from demo_archive.simulation.sky import Field, Sky, fits_image, raster

PREFIX, PREFIX_2 = "/sia", "/sia2"
SCALE = 0.396
"""Arcsec per pixel of the SDSS camera."""
FRAME = 4 / 60
"""Width of a frame, degrees; neighbouring frames overlap by a quarter of it."""
LARGEST = 0.5
"""Maximum width of a cutout, degrees."""
MIME = {"fits": "image/fits", "jpg": "image/jpeg"}
_BAND = (3.8e-7, 8.2e-7)
"""Wavelengths from the blue end of g to the red end of i, metres."""

# Name, UCD, datatype, arraysize, unit: SIA 1.0, section 4.2.
SIA1_FIELDS = (
    ("imageTitle", "VOX:Image_Title", "char", "*", ""),
    ("instId", "INST_ID", "char", "*", ""),
    ("centerAlpha", "POS_EQ_RA_MAIN", "double", "", "deg"),
    ("centerDelta", "POS_EQ_DEC_MAIN", "double", "", "deg"),
    ("nAxes", "VOX:Image_Naxes", "int", "", ""),
    ("pixelSize", "VOX:Image_Naxis", "int", "*", "pix"),
    ("pixelScale", "VOX:Image_Scale", "double", "*", "deg/pix"),
    ("wcs_projection", "VOX:WCS_CoordProjection", "char", "3", ""),
    ("bandpassId", "VOX:BandPass_ID", "char", "*", ""),
    ("mime", "VOX:Image_Format", "char", "*", ""),
    ("accref", "VOX:Image_AccessReference", "char", "*", ""),
)
# Name, UCD, datatype, arraysize, unit: ObsCore 1.1, table 1.
SIA2_FIELDS = (
    ("dataproduct_type", "meta.code.class", "char", "*", ""),
    ("calib_level", "meta.code;obs.calib", "int", "", ""),
    ("obs_collection", "meta.id", "char", "*", ""),
    ("obs_id", "meta.id", "char", "*", ""),
    ("obs_publisher_did", "meta.ref.ivoid", "char", "*", ""),
    ("access_url", "meta.ref.url", "char", "*", ""),
    ("access_format", "meta.code.mime", "char", "*", ""),
    ("s_ra", "pos.eq.ra", "double", "", "deg"),
    ("s_dec", "pos.eq.dec", "double", "", "deg"),
    ("s_fov", "phys.angSize;instr.fov", "double", "", "deg"),
    ("s_region", "pos.outline;obs.field", "char", "*", ""),
    ("s_xel1", "meta.number", "long", "", ""),
    ("s_xel2", "meta.number", "long", "", ""),
    ("s_resolution", "pos.angResolution", "double", "", "arcsec"),
    ("em_min", "em.wl;stat.min", "double", "", "m"),
    ("em_max", "em.wl;stat.max", "double", "", "m"),
    ("instrument_name", "meta.id;instr", "char", "*", ""),
)


@dataclass(frozen=True)
class Offer:
    """A listed image: its field, format, and path below the server's address."""

    title: str
    field: Field
    form: str
    path: str


def pixels(degrees: float) -> int:
    """Length in pixels of the camera."""
    return max(1, round(degrees * 3600 / SCALE))


def frame_field(row: int, column: int, width: float = FRAME) -> Field:
    """Field of the frame in a row and column of the grid of frames of this width (degrees) that covers the sky."""
    step = 0.75 * width
    dec = row * step
    return Field((column * step / math.cos(math.radians(dec))) % 360, dec, pixels(width), pixels(width), SCALE)


def offers(ra: float, dec: float, size: tuple[float, float], forms: tuple[str, ...]) -> Iterator[Offer]:
    """List the images at a position: overlapping frames, then cutouts of a size (degrees) in the formats `forms`."""
    if not Field(ra, dec, 1, 1, SCALE).covered:
        return
    for row, column in frames_near(ra, dec, size):
        for form in ("fits", "jpg"):
            yield Offer(
                f"Frame {row} {column}", frame_field(row, column), form, f"{PREFIX}/frame/{row}/{column}.{form}"
            )
    width, height = (pixels(min(length, LARGEST)) for length in size)
    field = Field(ra, dec, width, height, SCALE)
    for form in forms:
        path = f"{PREFIX}/cutout/{ra!r},{dec!r},{width},{height}.{form}"
        yield Offer(f"Cutout at {ra:.5f} {dec:+.5f}", field, form, path)


def frames_near(ra: float, dec: float, size: tuple[float, float], width: float = FRAME) -> list[tuple[int, int]]:
    """Row and column of those of the four frames around a position that overlap the requested area, nearest first."""
    step, found = 0.75 * width, []
    for row in {math.floor(dec / step), math.ceil(dec / step)}:
        shrink = math.cos(math.radians(row * step))
        for column in {math.floor(ra * shrink / step), math.ceil(ra * shrink / step)}:
            offsets = abs(ra * shrink - column * step), abs(dec - row * step)
            if all(offset < (width + length) / 2 for offset, length in zip(offsets, size, strict=True)):
                found.append((math.hypot(*offsets), row, column))
    return [(row, column) for _, row, column in sorted(found)]


class Query(NamedTuple):
    """A query of SIA 1: position and size of a rectangle in degrees, and formats ("fits", "jpg")."""

    ra: float
    dec: float
    size: tuple[float, float]
    forms: tuple[str, ...]


def answer(request: Request, fields: tuple, rows: Callable[[Query], Iterable[tuple]]) -> Response:
    """Answer an SIA 1 query with a table of the given fields, whose rows a function makes."""
    status = votable.info("QUERY_STATUS", "OK")
    if (request.get("FORMAT") or "").upper() == "METADATA":
        return Response(votable.document(status + votable.text_table(fields, ()), "meta"), "text/xml")
    try:
        ra, dec = _numbers(request.get("POS"), "POS", 2)
        width, height = _numbers(request.get("SIZE"), "SIZE", 2)
        query = Query(ra % 360, dec, (width, height), _forms(request.get("FORMAT") or "ALL"))
    except ValueError as error:
        return Response(votable.error(str(error)), "text/xml")
    return Response(votable.document(status + votable.text_table(fields, rows(query))), votable.CONTENT_TYPE)


class Sia:
    """Service for both versions of the protocol, and for the images they list."""

    def __init__(self, sky: Sky) -> None:
        self._sky = sky
        self._image = functools.lru_cache(256)(self._make_image)

    def __call__(self, request: Request) -> Response:
        """Answer SIA 1 queries, `POS=ra,dec&SIZE=width[,height]&FORMAT=…`, and requests for images."""
        what, _, rest = request.path.removeprefix(PREFIX).strip("/").partition("/")
        if what in ("frame", "cutout"):
            return self._product(what, rest)
        return answer(request, SIA1_FIELDS, lambda query: _sia1_rows(offers(*query), request.server_url))

    def version_2(self, request: Request) -> Response:
        """Answer SIA 2 queries, `POS=CIRCLE ra dec radius&FORMAT=…`, at the service's address or its `/query`."""
        what = request.path.removeprefix(PREFIX_2).strip("/")
        if what == "capabilities":
            page = vosi_capabilities({"ivo://ivoa.net/std/SIA#query-2.0": f"{request.server_url}{PREFIX_2}/query"})
            return Response(page.encode(), "text/xml")
        if what not in ("", "query"):
            return error_page(404)
        try:
            shape, *numbers = (request.get("POS") or "").split() or [""]
            if shape.upper() != "CIRCLE":
                raise ValueError(f"Field POS: this service knows CIRCLE only, found {shape}")
            ra, dec, radius = _numbers(" ".join(numbers), "POS", 3)
            forms = _forms(request.get("FORMAT") or "ALL")
        except ValueError as error:
            return Response(votable.error(str(error)), "text/xml", 400)
        table = _sia2_table(list(offers(ra % 360, dec, (2 * radius, 2 * radius), forms)), request.server_url)
        return Response(votable.document(votable.info("QUERY_STATUS", "OK") + table), votable.CONTENT_TYPE)

    def _product(self, what: str, rest: str) -> Response:
        name, _, form = rest.rpartition(".")
        try:
            if what == "frame":
                field = frame_field(*(int(part) for part in name.split("/")))
            else:
                ra, dec, width, height = name.split(",")
                field = Field(float(ra), float(dec), int(width), int(height), SCALE)
            inside = abs(field.dec) <= 90 and min(field.width, field.height) > 0
            if not (form in MIME and inside and max(field.width, field.height) <= pixels(LARGEST)):
                return error_page(404)
        except (ValueError, TypeError):
            return error_page(404)
        return Response(self._image(field, form, what == "frame"), MIME[form])

    def _make_image(self, field: Field, form: str, single: bool) -> bytes:
        bands = self._sky.bands(field)
        if form == "jpg":
            return raster(bands, "jpg")
        nanomaggies = bands * np.float32(field.scale**2)
        return fits_image(nanomaggies[1] if single else nanomaggies, field.cards, "nanomaggy")


def _numbers(text: str | None, name: str, count: int) -> list[float]:
    """Parse the numbers of a parameter; a single SIZE means width and height."""
    try:
        numbers = [float(part) for part in (text or "").replace(",", " ").split()]
    except ValueError:
        numbers = []
    if name == "SIZE" and len(numbers) == 1:
        numbers *= 2
    if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"Field {name}: {text} is not {count} numbers")
    if name == "POS" and abs(numbers[1]) > 90:
        raise ValueError(f"Field POS: {text}: expected a declination of -90 to 90 degrees")
    return numbers


def _forms(text: str) -> tuple[str, ...]:
    """Parse the formats in a FORMAT parameter."""
    asked = text.lower().split(",")
    names = {"all": ("fits", "jpg"), "graphic": ("jpg",), "image/fits": ("fits",), "image/jpeg": ("jpg",)}
    return tuple(dict.fromkeys(form for name in asked for form in names.get(name.strip(), ())))


def _sia1_rows(found: Iterable[Offer], base: str) -> Iterator[tuple]:
    for offer in found:
        field, degrees = offer.field, offer.field.scale / 3600
        lengths, scales = f"{field.width} {field.height}", f"{-degrees!r} {degrees!r}"
        place = (offer.title, "Simulated camera", field.ra, field.dec, 2, lengths, scales)
        yield (*place, "TAN", "gri", MIME[offer.form], base + offer.path)


def _sia2_table(found: list[Offer], base: str) -> str:
    rows = []
    for offer in found:
        field = offer.field
        half = field.width * field.scale / 7200, field.height * field.scale / 7200
        wide = half[0] / math.cos(math.radians(field.dec))
        corners = [(1, -1), (1, 1), (-1, 1), (-1, -1)]
        region = " ".join(f"{field.ra + e * wide:.6f} {field.dec + n * half[1]:.6f}" for e, n in corners)
        rows.append(
            (
                "image",
                2,
                "SIMULATED",
                offer.title,
                f"ivo://skyshards.demo/sia?{offer.path}",
                base + offer.path,
                MIME[offer.form],
                field.ra,
                field.dec,
                2 * math.hypot(*half),
                f"POLYGON {region}",
                field.width,
                field.height,
                1.3,
                *_BAND,
                "Simulated camera",
            )
        )
    return votable.text_table(SIA2_FIELDS, rows)
