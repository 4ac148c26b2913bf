"""List of the archived images, `Images_downloaded.csv.gz`: where each is, its label, what it shows, what served it."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from gz_sdss.tar_files import members_of
from skyshards.errors import BuildError

COLUMNS = ("objid", "tar", "sha256", "label", "ra", "dec", "fov", "url", "release")
EARLIER = COLUMNS[:3]
"""Columns that lists of earlier versions have."""
LABEL, CUTOUT = ".cls", ".json"
"""Suffixes of the members beside an image: its label, and in unfinished archives what it shows."""
SAME = 0.01
"""Maximum difference between two cutouts that are taken for the same, pixels."""
_TAR = re.compile(r"TAR-(\d{6})\.tar")


class Cutout(NamedTuple):
    """What an image shows, and what served it.

    Attributes
    ----------
    ra, dec : float
        Centre, degrees.
    fov : float
        Width, degrees.
    url : str
        Address of the image.
    release : str
        Release that it is of; empty in lists of earlier versions.
    """

    ra: float
    dec: float
    fov: float
    url: str
    release: str = ""

    def is_of(self, ra: float, dec: float, fov: float, size: int) -> bool:
        """Whether it is the cutout of `fov` degrees around a position in `size` pixels."""
        east = ((self.ra - ra + 180.0) % 360.0 - 180.0) * math.cos(math.radians(dec))
        difference = max(math.hypot(east, self.dec - dec), abs(self.fov - fov))
        return difference * size <= SAME * fov

    def to_json(self) -> bytes:
        return json.dumps(self._asdict()).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Cutout:
        """Parse it. Raises `ValueError` for anything else."""
        try:
            return cls(**json.loads(content))
        except TypeError as error:
            raise ValueError(str(error)) from error


class Listed(NamedTuple):
    """An image of the list: number of its archive, sha256, what it shows and its label (None where unknown)."""

    tar: int
    sha256: str
    cutout: Cutout | None = None
    label: int | None = None


def read(path: Path) -> dict[int, Listed]:
    """Read the list by objid; lists of earlier versions have only the columns `EARLIER`.

    Raises
    ------
    BuildError
        It cannot be read.
    """
    if not path.exists():
        return {}
    try:
        text = dict.fromkeys(("tar", "sha256", "url", "release"), "str")
        table = pd.read_csv(path, dtype={"objid": "int64", "label": "Int64", **text})
        numbers = {name: tar_number(name) for name in table["tar"].unique()}
        known = table.reindex(columns=COLUMNS)
        rows = zip(*(known[name].tolist() for name in COLUMNS[1:]), strict=True)
        return {
            objid: Listed(
                numbers[tar],
                sha256,
                _cutout(*shown),
                None if pd.isna(label) else int(label),
            )
            for objid, (tar, sha256, label, *shown) in zip(known["objid"].tolist(), rows, strict=True)
        }
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise BuildError(f"{path}: {error}; delete it to rebuild it from the archives beside it") from error


def _cutout(ra: float, dec: float, fov: float, url: str | float, release: str | float) -> Cutout | None:
    """What a line of the list says of an image, where NaN stands for nothing."""
    if not isinstance(url, str):
        return None
    return Cutout(ra, dec, fov, url, release if isinstance(release, str) else "")


def listed_in(path: Path, number: int, suffix: str) -> dict[int, Listed]:
    """What an archive itself says of its images, by objid.

    Raises
    ------
    BuildError
        What it says cannot be read.
    """
    labels, cutouts = members_of(path, LABEL), members_of(path, CUTOUT)
    found = {}
    with open(path, "rb") as file:

        def content(place: tuple[int, int] | None) -> bytes:
            if place is None:
                return b""
            file.seek(place[0])
            return file.read(place[1])

        try:
            for objid, place in members_of(path, suffix).items():
                label, cutout = content(labels.get(objid)), content(cutouts.get(objid))
                sha256 = hashlib.sha256(content(place)).hexdigest()
                shown = Cutout.from_json(cutout) if cutout else None
                found[objid] = Listed(number, sha256, shown, int(label) if label else None)
        except ValueError as error:
            raise BuildError(f"{path}: {error}; delete it to download its images again") from error
    return found


def head() -> bytes:
    """The first gzip member of a list: its header."""
    return _compressed([COLUMNS])


def part(images: Iterable[tuple[int, Listed]]) -> bytes:
    """The gzip member of a list for the images of an archive."""
    return _compressed(
        (objid, tar_name(tar), sha256, "" if label is None else label, *(cutout or ("",) * len(Cutout._fields)))
        for objid, (tar, sha256, cutout, label) in images
    )


def _compressed(rows: Iterable[Iterable]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return gzip.compress(text.getvalue().encode(), mtime=0)


def tar_name(number: int) -> str:
    return f"TAR-{number:06d}.tar"


def tar_number(name: str) -> int:
    """Number of the archive of this name. Raises `ValueError` for any other name."""
    match = _TAR.fullmatch(name)
    if match is None:
        raise ValueError(f"expected names such as {tar_name(0)}, found {name}")
    return int(match[1])
