"""Read one GZ3D file of the SDSS archive (value-added catalogue of DR17, version v4_0_0)."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import deflate
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from gz3d.drawings import COLUMNS, drawing_columns, drew
from gz3d.gz3d import CLASSES, SIZE, TASKS
from gz3d.sas import FILE_NAME
from gz3d.sky import hexagon, wcs
from skyshards.errors import SourceError
from skyshards.fits_files import open_fits, table_columns

MAX_BYTES = 256 << 20
"""Maximum inflated size, bytes; real files inflate to 9.8 MB."""

MAX_SCALE = 1e-3
"""Largest plausible scale, degrees per pixel; FITS's defaults, where cards are missing, give 1."""

MISSING = -1
"""Value of integers that the file lacks."""

ASTRAY = 0.1
"""Largest distance between the WCS of a file and that of its row, anywhere in the image, in pixels."""

CLUSTERS = ("x", "y", "var_x", "var_y", "var_x_y", "ra", "dec", "var_ra", "var_dec", "var_ra_dec", "count")
"""Columns of HDUs 6 and 7."""


def read_gz3d(path: Path, polygons: bool = False) -> dict[str, Any]:
    """Read the columns of `gz3d.SCHEMA` (all but those that a build fills in) from a GZ3D file.

    HDU 0 is the image, HDUs 1 to 4 are the masks (float64 in the file), HDU 5 is a table of one row, HDUs 6 and 7 have
    the clusters of centres and stars, and HDUs 8 to 10 what each volunteer drew, which `polygons` adds.

    Raises
    ------
    SourceError
        The file is not gzip or not FITS, its checksums do not match, an HDU or column is missing, a shape is wrong, a
        count does not fit uint8, there are more votes than classifications, or the WCS is not that of the image.
    """
    name = FILE_NAME.fullmatch(path.name)
    if name is None:
        raise SourceError(f"file name {path.name!r}: expected [gz3d_]<MaNGA ID>_<IFU>_<subject>.fits.gz")
    content = _inflated(path.read_bytes())
    hdus = open_fits(content, 11)
    image = _data(hdus, 0)
    if image is None or image.shape != (SIZE, SIZE, 3) or image.dtype != np.uint8:
        raise SourceError(f"HDU 0: expected a uint8 image of shape {(SIZE, SIZE, 3)}, found {_form(image)}")
    meta = _one_row(hdus)
    total, votes = _votes(hdus, meta)
    place = {"ra": _wrapped(_number(meta, "ra", float)), "dec": _number(meta, "dec", float)}
    place["scale"] = _scale(hdus[1].header, place)
    fibres = _number(meta, "IFUDESIGNSIZE", float)
    tables = {
        task: table_columns(hdus, number, ("classification_id", *COLUMNS[task])) for task, number in TASKS.items()
    }
    return {
        "object_id": _text(meta["MANGAID"]),
        **place,
        "image": image,
        "segmentation": {
            "class": list(CLASSES),
            "vote_fraction": np.array([vote_fraction(votes.get(name), total) for name in CLASSES]),
            "array": _masks(hdus),
        },
        "volunteers": {task: len(table["classification_id"]) for task, table in tables.items()},
        "drew": {task: drew(task, table) for task, table in tables.items()},
        "center_clusters": _clusters(hdus, 6),
        "star_clusters": _clusters(hdus, 7),
        "total_classifications": total,
        "gz_bar_votes": votes["bar"],
        "gz_spiral_votes": votes["spiral"],
        "iauname": _text(meta["IAUNAME"]),
        "nsa_id": _count(hdus, meta, "nsa_id"),
        "ifudesignsize": fibres,
        "hexagon": hexagon(fibres, place["scale"]),
        "manga_tileid": _number(meta, "MANGA_TILEID", float),
        "sample": _text(meta["sample"]),
        "explorer_link": _link(_text(meta["explorer_link"])),
        "subject_id": int(name["subject"]),
        **(drawing_columns(tables) if polygons else {}),
    }


def vote_fraction(votes: int | None, total: int) -> float:
    """Vote fraction: -1 for a class not put to the vote (None), -0.5 if nobody classified the galaxy, or the
    number of votes or classifications is `MISSING`.
    """
    if votes is None:
        return -1.0
    return votes / total if total > 0 and votes >= 0 else -0.5


def _votes(hdus: fits.HDUList, meta: fits.FITS_record) -> tuple[int, dict[str, int]]:
    """Number of classifications, and votes by class; `MISSING` for nulls and values below 0."""
    names = {"spiral": "GZ_spiral_votes", "bar": "GZ_bar_votes"}
    total = max(MISSING, _count(hdus, meta, "GZ_total_classifications"))
    votes = {kind: max(MISSING, _count(hdus, meta, name)) for kind, name in names.items()}
    for kind, number in votes.items():
        if total != MISSING and number > total:
            raise SourceError(f"HDU 5: expected {names[kind]} up to the {total} classifications, found {number}")
    return total, votes


def _inflated(content: bytes) -> bytes | bytearray:
    """Inflate a gzip file."""
    if content[:2] != b"\x1f\x8b":
        raise SourceError(f"not a gzip file: it begins with {content[:20]!r}")
    if content.find(b"\x1f\x8b\x08", 3) >= 0:  # possibly several members, as written by bgzip and `cat`
        return _inflated_members(content)
    inflated_bytes = int.from_bytes(content[-4:], "little")  # gzip's own note of it, modulo 2**32
    if inflated_bytes > MAX_BYTES:
        raise SourceError(f"cut short, or would inflate to {inflated_bytes:,} bytes, expected at most {MAX_BYTES:,}")
    try:
        return deflate.gzip_decompress(content, inflated_bytes)
    except (deflate.DeflateError, ValueError) as error:
        raise SourceError(f"damaged or cut short: gzip cannot inflate it ({error})") from error


def _inflated_members(content: bytes) -> bytes:
    """Inflate a gzip file of any number of members; three times slower than for one."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"damaged or cut short: gzip cannot inflate it ({error})") from error
    if len(data) > MAX_BYTES:
        raise SourceError(f"would inflate to more than {MAX_BYTES:,} bytes, expected about 9.8 MB")
    return data


def _data(hdus: fits.HDUList, number: int) -> Any:
    try:
        return hdus[number].data
    except Exception as error:  # for example, cut short within the HDU
        raise SourceError(f"HDU {number}: its data cannot be read ({error})") from error


def _masks(hdus: fits.HDUList) -> np.ndarray:
    masks = np.empty((4, SIZE, SIZE), np.uint8)
    for number, mask in enumerate(masks, 1):
        counts = _data(hdus, number)
        if counts is None or counts.shape != (SIZE, SIZE):
            raise SourceError(f"HDU {number}: expected a mask of shape {(SIZE, SIZE)}, found {_form(counts)}")
        with np.errstate(invalid="ignore"):
            mask[...] = counts
        if not np.array_equal(mask, counts):
            wrong = counts[mask != counts].flat[0]
            raise SourceError(f"HDU {number}: expected whole numbers from 0 to 255 in the mask, found {wrong}")
    return masks


def _one_row(hdus: fits.HDUList) -> fits.FITS_record:
    hdu, table = hdus[5], _data(hdus, 5)
    if not isinstance(hdu, fits.BinTableHDU) or len(table) != 1:
        raise SourceError("HDU 5: expected a table of one row (the metadata)")
    needed = {"ra", "dec", "MANGAID", "IAUNAME", "IFUDESIGNSIZE", "MANGA_TILEID", "nsa_id", "GZ_total_classifications",
              "GZ_bar_votes", "GZ_spiral_votes", "sample", "explorer_link"}  # fmt: skip
    if missing := {name.lower() for name in needed} - {name.lower() for name in hdu.columns.names}:
        raise SourceError(f"HDU 5: no column {', '.join(sorted(missing))}; found {', '.join(hdu.columns.names)}")
    return table[0]


def _number(meta: fits.FITS_record, name: str, kind: type) -> Any:
    """Table cell as a float (possibly NaN), or as an int, which must be whole."""
    try:
        value = kind(meta[name])
    except (TypeError, ValueError, OverflowError):
        value = None
    if value is None or (kind is int and value != meta[name]):
        raise SourceError(f"HDU 5: column {name}: expected {kind.__name__}, found {meta[name]!r:.60}")
    return value


def _count(hdus: fits.HDUList, meta: fits.FITS_record, name: str) -> int:
    """Table cell as an integer; `MISSING` for the column's null value (TNULL)."""
    value = _number(meta, name, int)
    columns = {column.name.lower(): column for column in hdus[5].columns}
    return MISSING if value == columns[name.lower()].null else value


def _wrapped(ra: float) -> float:
    """Right ascension wrapped to 0 to 360; some programs count from -180 to 180."""
    return ra % 360 if -180 <= ra < 0 else ra


def _scale(header: fits.Header, place: Mapping[str, float]) -> float:
    """Pixel scale, degrees, from a WCS that is otherwise the one of a row at this place."""
    try:
        found = WCS(header, naxis=2)
        (a, b), (c, d) = found.pixel_scale_matrix
        scale = math.sqrt(abs(a * d - b * c))  # from the header's exact digits, unlike astropy's own sum
        astray = _astray(found, {**place, "scale": scale})
    except Exception as error:  # wcslib's messages are long, and astropy adds to them
        raise SourceError(f"HDU 1: no usable WCS, and so no scale ({type(error).__name__})") from error
    if not 0 < scale < MAX_SCALE:
        raise SourceError(f"HDU 1: its WCS gives a scale of {scale} deg per pixel, expected about {0.099 / 3600:.3g}")
    if not astray < ASTRAY:
        raise SourceError(
            f"HDU 1: expected a WCS with ra {place['ra']}, dec {place['dec']} at the image's centre, north up and east"
            f" left, found one {f'{astray:.3g} pixels off' if astray < math.inf else 'of another part of the sky'}"
        )
    return scale


def _astray(found: WCS, row: Mapping[str, float]) -> float:
    """Largest distance, in pixels, of a WCS from that of a row at the image's corners; 0 if the row has no position."""
    if not (math.isfinite(row["ra"]) and abs(row["dec"]) <= 90):  # and so is refused
        return 0.0
    corners = np.array([[1, 1], [SIZE, 1], [1, SIZE], [SIZE, SIZE]], float)
    return float(np.abs(wcs(row).wcs_world2pix(found.wcs_pix2world(corners, 1), 1) - corners).max())


def _clusters(hdus: fits.HDUList, number: int) -> dict[str, np.ndarray]:
    """Columns of a table of clusters, a value per cluster."""
    table = table_columns(hdus, number, CLUSTERS)
    return {name: table[name] for name in CLUSTERS}


def _link(text: str) -> dict[str, Any]:
    """Parts of a link to SDSS's Navigate tool: its address, and the position in its query (NaN for none)."""
    url, _, query = text.partition("?")
    found = dict(parse_qsl(query))
    return {"url": url, **{name: _degrees(found.get(name, "")) for name in ("ra", "dec")}}


def _degrees(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _text(value: Any) -> str:
    """Table cell as text, without FITS's padding."""
    return str(value).strip()


def _form(array: np.ndarray | None) -> str:
    return "nothing" if array is None else f"{array.dtype} of shape {array.shape}"
