"""Build Galaxy Zoo 3D: from the FITS files of the SDSS archive to HEALPix-partitioned HDF5 shards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # a script's own folder is first on the path: its gz3d.py would shadow the package
    import sys

    if not sys.flags.safe_path:
        del sys.path[0]
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from skyshards_start import run

    run("gz3d.build_parent_sample:main", sys.argv[1:])

import click

from gz3d.drpall import plate_ifus
from gz3d.gz3d import passes, schema_of
from gz3d.sas import FILE_NAME, GZ3D_URL, list_gz3d, release_of
from skyshards.cli.build_command import build_command
from skyshards.cli.options import FloatRange, option
from skyshards.errors import UsageError
from skyshards.fetch.client import Fetcher
from skyshards.files import file_digest, file_size
from skyshards.format.schema import Schema
from skyshards.pipeline.recipe import DEMO, Cost, Recipe, Source
from skyshards.progress import say

FILE_BYTES = 350e3
"""Approximate size of a FITS file, from the archive's listing."""
SHARD_SHARE = 0.98
"""Bytes of shards per byte of FITS files; measured on the files of twelve galaxies."""


@dataclass(frozen=True)
class GZ3DRecipe(Recipe):
    """Recipe of GZ3D: each source is a FITS file and gives one row.

    Parameters
    ----------
    archive_url : str
        URL of the directory with the FITS files.
    local_data_path : Path, optional
        Read the files from this folder; nothing is downloaded.
    keep_fits : bool
        Keep the downloaded files in the output folder.
    vote_fraction_cut, bars_only, spirals_only : float
        Keep galaxies whose bar or spiral vote fraction, bar vote fraction, or spiral vote fraction is at least this.
    polygons : bool
        Store all that the volunteers drew.
    drpall : Path, optional
        MaNGA's table of observations, for the plate-IFUs.
    """

    archive_url: str = GZ3D_URL
    local_data_path: Path | None = None
    keep_fits: bool = False
    vote_fraction_cut: float = 0.0
    bars_only: float = 0.0
    spirals_only: float = 0.0
    polygons: bool = False
    drpall: Path | None = None

    name = "gz3d"
    downloads = "fits"

    @property
    def schema(self) -> Schema:
        return schema_of(self.polygons)

    @property
    def keeps_downloads(self) -> bool:
        return self.keep_fits

    def options(self) -> dict[str, Any]:
        archive = DEMO if self.simulated else self.archive_url.rstrip("/")
        drpall = None if self.simulated or self.drpall is None else f"sha256:{file_digest(self.drpall)}"
        return {
            "vote_fraction_cut": self.vote_fraction_cut,
            "bars_only": self.bars_only or None,
            "spirals_only": self.spirals_only or None,
            "polygons": self.polygons or None,
            "drpall": drpall,
            "archive_url": archive if self.local_data_path is None else None,
        }

    @property
    def lists_all(self) -> bool:
        return self.local_data_path is None

    def sources(self, fetcher: Fetcher) -> Iterator[Source]:
        observed = {} if self.drpall is None else plate_ifus(self.drpall)
        for source in self._files(fetcher):
            name = FILE_NAME.fullmatch(source.key)
            yield replace(source, info=observed.get(name["mangaid"])) if name else source

    def _files(self, fetcher: Fetcher) -> Iterator[Source]:
        if self.local_data_path is not None:
            paths = sorted(self.local_data_path.glob("*.fits.gz"))
            if not paths:
                raise UsageError(f"`local_data_path` {self.local_data_path}: contains no .fits.gz file")
            for path in paths:
                key = os.fsencode(path.name).decode("utf-8", "backslashreplace")  # a name need not be text
                yield Source(key, path=path)
            return
        listing = list_gz3d(self.archive_url, fetcher)
        for complaint in listing.complaints:
            say(complaint)
        release = DEMO if self.simulated else release_of(self.archive_url)
        for name, url in listing.files.items():
            yield Source(name, url=url, checksum=listing.checksums.get(name), release=release)

    def cost(self, sources: Sequence[Source]) -> Cost:
        local = sum(file_size(source.path) for source in sources if source.path is not None)
        fetched = FILE_BYTES * sum(source.path is None for source in sources)
        return Cost(fetched, SHARD_SHARE * (local + fetched) + (fetched if self.keep_fits else 0))

    def read(self, source: Source, fetched: Path) -> Iterator[dict[str, Any]]:
        # only worker processes import astropy: a build with nothing to do is quick
        from gz3d.fits import read_gz3d

        row = read_gz3d(fetched, self.polygons)
        fractions = row["segmentation"]["vote_fraction"]
        if passes(fractions, self.vote_fraction_cut, self.bars_only, self.spirals_only):
            yield row | {"plateifu": source.info}


def _cut(name: str, fraction: str) -> Callable:
    """Make an option for the minimum of a vote fraction."""
    text = f"Keep galaxies whose {fraction} is at least F; 0 keeps all."
    return option(name, type=FloatRange(0, 1), default=0.0, metavar="F", help=text)


@build_command("gz3d", not_with_demo=("archive_url", "local_data_path", "drpall"))
@option(
    "--local_data_path",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with the FITS files; nothing is downloaded.",
)
@option("--keep_fits", is_flag=True, help="Keep the downloaded FITS files in the subfolder `fits`.")
@_cut("--vote_fraction_cut", "bar or spiral fraction")
@_cut("--bars_only", "bar fraction")
@_cut("--spirals_only", "spiral fraction")
@option("--polygons", is_flag=True, help="Store every point and outline that the volunteers drew.")
@option(
    "--drpall",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="MaNGA's drpall file, from which the plate-IFUs are taken.",
)
@option("--archive_url", default=GZ3D_URL, metavar="URL", help="Web directory with the FITS files.")
def main(archive_url, drpall, *, demo, output_dir, **options) -> GZ3DRecipe:
    """Galaxy Zoo 3D: images of MaNGA galaxies and the volunteers' masks of bars, spiral arms, centres and stars."""
    if demo is not None:
        archive_url, drpall = demo.sas_url, demo.drpall
    return GZ3DRecipe(archive_url, drpall=drpall, **options)
