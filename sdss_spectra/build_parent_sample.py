"""Build sdss_spectra: from the spectra of the SDSS archive to HEALPix-partitioned HDF5 shards."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # a script's own folder is first on the path: its sdss_spectra.py would shadow the package
    import sys

    if not sys.flags.safe_path:
        del sys.path[0]
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from skyshards_start import run

    run("sdss_spectra.build_parent_sample:main", sys.argv[1:])

import click

from sdss_spectra.sdss_spectra import SCHEMA
from sdss_spectra.spectrum_ids import COLUMNS
from skyshards.catalogue_rows import read_rows
from skyshards.cli.build_command import build_command
from skyshards.cli.options import option
from skyshards.errors import UsageError
from skyshards.fetch.client import Fetcher
from skyshards.pipeline.recipe import DEMO, Cost, Recipe, Source

DR17_URL = "https://data.sdss.org/sas/dr17"
FILE_BYTES, ROW_BYTES = 180e3, 125e3
"""Approximate size of a file and of its row in a shard: 3,850 pixels of 32 bytes, and tables."""


def release_of(url: str) -> str | None:
    """Data release by the address of its root, such as "SDSS DR17"; None if it does not tell."""
    found = re.search(r"/(dr\d+)/?$", url)
    return f"SDSS {found[1].upper()}" if found else None


@dataclass(frozen=True)
class SDSSSpectraRecipe(Recipe):
    """Recipe of sdss_spectra: each source is the file of a spectrum and gives one row.

    Parameters
    ----------
    catalog_file : Path, optional
        Which spectra: a table with specobjid, or with plate, mjd and fiberid; or a built folder with such columns.
    archive_url : str
        Root of the data release.
    local_data_path : Path, optional
        Read files from this folder and those below it; only those that the catalogue names, if one is given, whose
        other files are downloaded.
    """

    catalog_file: Path | None = None
    archive_url: str = DR17_URL
    local_data_path: Path | None = None

    name = "sdss_spectra"
    schema = SCHEMA
    downloads = "spectra"
    unit = "spectra"

    def options(self) -> dict[str, Any]:
        return {"archive_url": DEMO if self.simulated else self.archive_url.rstrip("/")}

    def sources(self, fetcher: Fetcher) -> Iterator[Source]:
        folder = self.local_data_path
        paths = {path.name: path for path in sorted(folder.rglob("spec-*.fits"))} if folder else {}
        if self.catalog_file is not None:
            release = DEMO if self.simulated else release_of(self.archive_url)
            for spectrum in read_rows(self.catalog_file, COLUMNS, simulated=self.simulated):
                url = f"{self.archive_url.rstrip('/')}/{spectrum.path}"
                path = paths.get(spectrum.file_name)
                yield Source(spectrum.file_name, url, path=path, release=None if path else release)
        elif not paths:
            raise UsageError(f"`local_data_path` {folder}: contains no spec-PLATE-MJD-FIBER.fits file")
        else:
            yield from (Source(name, path=path) for name, path in paths.items())

    def cost(self, sources: Sequence[Source]) -> Cost:
        return Cost(FILE_BYTES * sum(source.path is None for source in sources), ROW_BYTES * len(sources))

    def read(self, source: Source, fetched: Path) -> Iterator[dict[str, Any]]:
        from sdss_spectra.spec_files import read_spec  # only worker processes import astropy.io.fits

        yield read_spec(fetched)


CATALOG = "Which spectra: a table, or a built folder such as data/gz_sdss, with specobjid, or plate, mjd and fiberid."
LOCAL = "Folder with spec-PLATE-MJD-FIBER.fits files, also below it; those there are not downloaded."


@build_command("sdss_spectra", not_with_demo=("archive_url", "local_data_path"))
@option("--catalog_file", type=click.Path(path_type=Path, exists=True), help=CATALOG)
@option("--local_data_path", type=click.Path(path_type=Path, exists=True, file_okay=False), help=LOCAL)
@option("--archive_url", default=DR17_URL, metavar="URL", help="Root of the data release.")
def main(catalog_file, local_data_path, archive_url, *, demo, output_dir) -> SDSSSpectraRecipe:
    """SDSS spectra: optical spectra with redshifts and classes, of the galaxies of any catalogue."""
    if demo is not None:
        catalog_file, archive_url = catalog_file or demo.spectra, demo.dr17_url
    if catalog_file is None and local_data_path is None:
        raise UsageError("no spectra are named; give `catalog_file` (such as data/gz_sdss), or `local_data_path`")
    return SDSSSpectraRecipe(catalog_file, archive_url, local_data_path)
