"""Science Archive Server's spectra: files of one spectrum below the root of a data release."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

from demo_archive.holdings.sdss_spectra import file_path, spec_file
from demo_archive.serve.files import Files
from demo_archive.serve.server import Request, Response, error_page
from demo_archive.simulation.galaxies import Galaxy

ROOT = "/sas/dr17"


class SpecFiles:
    """Service of the spectra. Files are made on first request and then kept in `cache`."""

    def __init__(self, galaxies: list[Galaxy], cache: Path) -> None:
        self.names = {f"{ROOT}/{file_path(galaxy)}": file_path(galaxy).rpartition("/")[2] for galaxy in galaxies}
        makers = {name: partial(spec_file, galaxy) for name, galaxy in zip(self.names.values(), galaxies, strict=True)}
        self.files = Files(cache, makers)

    def __call__(self, request: Request) -> Response:
        if request.path not in self.names:
            return error_page(404)
        return Response(self.files.path(self.names[request.path]), "image/fits")


def catalogue(galaxies: list[Galaxy]) -> bytes:
    """Make a catalogue of the spectra as SkyServer's query form gives them: CSV after a line with its name."""
    text = io.StringIO()
    text.write("#Table1\nspecobjid,plate,mjd,fiberid,run2d,ra,dec,z\n")
    for galaxy in galaxies:
        run2d = "v5_13_2" if galaxy.boss else "26"
        place = f"{galaxy.ra:.6f},{galaxy.dec:.6f},{galaxy.redshift:.5f}"
        text.write(f"{galaxy.specobjid},{galaxy.plate},{galaxy.mjd},{galaxy.fiberid},{run2d},{place}\n")
    return text.getvalue().encode()
