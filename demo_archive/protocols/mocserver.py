"""MocServer: the CDS's list of surveys (HiPS), as far as a search for images needs it."""

from __future__ import annotations

import fnmatch
import json

from demo_archive.serve.server import Request, Response

PREFIX = "/MocServer/query"
COLOUR, BAND = ("color", "jpeg"), ("", "fits jpeg")
SURVEYS = {
    "CDS/P/SDSS9/color": ("SDSS 9 color (gri)", *COLOUR),
    "CDS/P/SDSS9/color-alt": ("SDSS 9 color, alternative (gri)", *COLOUR),
    "CDS/P/SDSS9/g": ("SDSS 9 band g", *BAND),
    "CDS/P/SDSS9/r": ("SDSS 9 band r", *BAND),
    "CDS/P/SDSS9/i": ("SDSS 9 band i", *BAND),
    "CDS/P/DESI-Legacy-Surveys/DR10/color": ("DESI Legacy Surveys DR10 color (g, r, i, z)", *COLOUR),
    "CDS/P/PanSTARRS/DR1/color-z-zg-g": ("PanSTARRS DR1 color (z, zg, g)", *COLOUR),
    "CDS/P/PanSTARRS/DR1/color-i-r-g": ("PanSTARRS DR1 color (i, r, g)", *COLOUR),
    "CDS/P/unWISE/color-W2-W1W2-W1": ("unWISE color (W2, W1W2, W1)", *COLOUR),
}
"""Title, subtype and tile formats of each survey, by its identifier."""
PARAMETERS = ("GET", "FMT", "FIELDS", "CASESENSITIVE", "MAXREC", "EXPR")
"""Parameters that are no condition on a record."""


def answer(request: Request) -> Response:
    """Answer `get=record&fmt=json` with the records that meet all conditions, such as `dataproduct_type=image`."""
    if (request.get("GET", "id"), request.get("FMT", "ascii")) != ("record", "json"):
        return Response(b"[error] only get=record and fmt=json are known\n", status=400)
    fields = (request.get("FIELDS") or "").split(",")
    found = [
        {name: value for name, value in record.items() if fields == [""] or name in fields}
        for record in map(_record, SURVEYS)
        if all(_meets(record, name.lower(), values[-1]) for name, values in request.query.items())
    ]
    return Response(json.dumps(found, indent=1).encode(), "application/json")


def _record(id: str) -> dict[str, str]:
    title, subtype, formats = SURVEYS[id]
    record = {
        "ID": id,
        "creator_did": f"ivo://{id}",
        "obs_title": title,
        "dataproduct_type": "image",
        "hips_tile_format": formats,
        "hips_frame": "equatorial",
        "hips_service_url": f"http://skyshards.demo/{id.removeprefix('CDS/P/')}",
    }
    return record | ({"dataproduct_subtype": subtype} if subtype else {})


def _meets(record: dict[str, str], name: str, pattern: str) -> bool:
    if name.upper() in PARAMETERS:
        return True
    values = {key.lower(): value for key, value in record.items()}
    return name in values and fnmatch.fnmatch(values[name].lower(), pattern.lower())
