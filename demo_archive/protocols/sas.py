"""Science Archive Server's folder of GZ3D files: listing, files, metadata table and sha1sum file."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from demo_archive.holdings.gz3d import Subject, gz3d_file
from demo_archive.serve.files import Files, autoindex
from demo_archive.serve.server import Request, Response, error_page
from demo_archive.simulation.fits_bytes import image_hdu, table_hdu
from demo_archive.simulation.galaxies import Galaxy

FOLDER = "/sas/dr17/env/MANGA_MORPHOLOGY/galaxyzoo3d/v4_0_0/"
SHA1SUM = "manga_morphology_galaxyzoo3d_v4_0_0.sha1sum"
FIRST_SUBJECT = 14708992
"""The lowest Zooniverse subject number of the real files."""


def subjects(galaxies: list[Galaxy]) -> list[Subject]:
    """List the pictures shown to volunteers: one per galaxy, except that the last one is the first galaxy again.

    (A MaNGA ID identifies a galaxy, not a file.)
    """
    shown = [*galaxies[:-1], galaxies[0]] if len(galaxies) > 2 else galaxies
    return [Subject(galaxy, FIRST_SUBJECT + 3 * place) for place, galaxy in enumerate(shown)]


class Sas:
    """Service of the folder. Files are rendered on first request and then kept in `cache`."""

    def __init__(self, galaxies: list[Galaxy], cache: Path) -> None:
        self.subjects = {subject.file_name: subject for subject in subjects(galaxies)}
        self.files = Files(
            cache,
            {name: partial(gz3d_file, subject) for name, subject in self.subjects.items()}
            | {
                "gz3d_metadata.fits": self._metadata,
                "gz3d_galaxy_centers.fits": _empty,
                "gz3d_foreground_stars.fits": _empty,
            },
        )

    def __call__(self, request: Request) -> Response:
        name = request.path.removeprefix(FOLDER)
        if name == "":
            return autoindex(FOLDER, [*self.files, SHA1SUM])
        if name == SHA1SUM:
            # A digest needs its file to be rendered, so lines are streamed; their length is known.
            length = sum(40 + 2 + len(name) + 1 for name in self.files)
            return Response(self._sha1sum(), "application/octet-stream", length=length)
        if name not in self.files:
            return error_page(404)
        return Response(
            self.files.path(name), "application/x-gzip" if name.endswith(".gz") else "application/octet-stream"
        )

    def _sha1sum(self) -> Iterator[bytes]:
        for name in self.files:
            yield f"{self.files.digest(name, 'sha1')}  {name}\n".encode()

    def _metadata(self) -> bytes:
        """Make the table of all files; `file_name` lacks the prefix and `.gz` of the files on the server."""
        dtype = [
            ("file_name", "S40"),
            ("zooniverse_subject_id", ">i8"),
            ("ra", ">f4"),
            ("dec", ">f4"),
            ("MANGAID", "S11"),
            ("IAUNAME", "S19"),
            ("IFUDESIGNSIZE", ">f8"),
            ("nsa_id", ">i8"),
            ("GZ_total_classifications", ">i2"),
            ("GZ_bar_votes", ">i2"),
            ("GZ_spiral_votes", ">i2"),
        ]
        rows = []
        for name, subject in self.subjects.items():
            galaxy, short = subject.galaxy, name.removeprefix("gz3d_").removesuffix(".gz")
            place, names = (galaxy.ra, galaxy.dec), (galaxy.mangaid, galaxy.iauname)
            rows.append((short, subject.subject_id, *place, *names, subject.fibres, galaxy.nsa_id, *subject.votes))
        return _table_file(np.array(rows, dtype))


def _empty() -> bytes:
    """Make an empty table of clusters: each file has its own."""
    return _table_file(np.empty(0, [("file_name", "S40"), ("x", ">f8"), ("y", ">f8")]))


def _table_file(rows: np.ndarray) -> bytes:
    return image_hdu(np.empty(0, "u1"), primary=True) + table_hdu(rows)
