"""Images that a Simple Image Access service lists: their addresses, formats, and what they cover."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from pyvo.dal import Record

MIME = {"jpg": "image/jpeg", "fits": "image/fits"}
"""MIME type requested for each format."""
FORMATS = {
    "jpg": re.compile(r"image/(p?jpeg|jpg)"),
    "fits": re.compile(r"(image|application)/(x-)?g?fits\b.*"),  # as image/x-fits, image/fits.gz, application/fits
}
"""MIME types in use for each format."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class ImageRecord:
    """An image offered by a service.

    Attributes
    ----------
    url, mime : str
    ra, dec : float
        Centre, degrees; NaN if unknown.
    width, height : float
        Extent, degrees; NaN if unknown.
    title : str
        What the service calls it; empty if it does not say.
    """

    url: str
    mime: str
    ra: float
    dec: float
    width: float
    height: float
    title: str = ""

    def is_of(self, format: str) -> bool:
        """Whether it is a "jpg" or "fits", whatever parameters its MIME type has."""
        return bool(FORMATS[format].fullmatch(self.mime.partition(";")[0].strip().lower()))

    def coverage(self, ra: float, dec: float, size: float) -> tuple[float, float]:
        """Fraction (0 to 1) of a square of `size` degrees that the image covers, and minus its distance (degrees).

        Sides are assumed to run north and east. The fraction is rounded to a tenth, because services round sizes to
        whole pixels; so the greatest pair is that of the nearest image that covers about all of the square.
        """
        if not all(map(math.isfinite, (self.ra, self.dec, self.width, self.height))):
            return 0.0, -math.inf
        east = (self.ra - ra + 180.0) % 360.0 - 180.0
        offsets = abs(east) * math.cos(math.radians(dec)), abs(self.dec - dec)
        part = 1.0
        for extent, offset in zip((self.width, self.height), offsets, strict=True):
            overlap = min(size / 2, offset + extent / 2) - max(-size / 2, offset - extent / 2)
            part *= min(max(overlap / size, 0.0), 1.0)
        return round(part, 1), -math.hypot(*offsets)


def of_sia1(record: Record) -> ImageRecord:
    """Convert an SIA1 record, whose columns are identified by UCD."""
    naxis, scale, ra, dec = (
        np.resize(_floats(record.getbyucd(ucd)), 2)
        for ucd in ("VOX:Image_Naxis", "VOX:Image_Scale", "POS_EQ_RA_MAIN", "POS_EQ_DEC_MAIN")
    )
    width, height = np.abs(naxis * scale).tolist()
    title = _text(record.getbyucd("VOX:Image_Title"))
    return ImageRecord(record.getdataurl(), record.format or "", float(ra[0]), float(dec[0]), width, height, title)


def of_sia2(record: Record) -> ImageRecord:
    """Convert an SIA2 record, with ObsCore columns; its extent is that of the square inscribed in its circle.

    Of its links to the image, only the access URL needs no further request.
    """
    ra, dec, diameter = (float(_floats(record[name])[0]) for name in ("s_ra", "s_dec", "s_fov"))
    side = diameter / math.sqrt(2.0)
    title = " ".join(filter(None, (_text(record.get(name)) for name in ("obs_collection", "obs_id"))))
    return ImageRecord(record.access_url, record.access_format or "", ra, dec, side, side, title)


def _text(value) -> str:
    """Text of a record, on one line; empty if missing."""
    return "" if value is None or np.ma.is_masked(value) else " ".join(str(value).split())


def _floats(value) -> np.ndarray:
    """Numbers of a record, which some services send as text ("606 606"); NaN if missing."""
    if value is None:
        return np.array([np.nan])
    if isinstance(value, str):
        value = re.split(r"[\s,]+", value.strip("[]() \t\n"))
        value = [part if _NUMBER.fullmatch(part) else "nan" for part in value]
    return np.ma.filled(np.atleast_1d(np.ma.asarray(value, dtype=float)), np.nan)
