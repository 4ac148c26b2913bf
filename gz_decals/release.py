"""Fetch the published files: the Zenodo record of GZ DECaLS, and the ring catalogues of Zoobot's examples."""

from __future__ import annotations

from pathlib import Path

from gz_decals.zip_archives import Chunk
from skyshards.errors import BuildError, FetchError
from skyshards.fetch.client import Fetcher
from skyshards.fetch.zenodo import RecordFile, record_files
from skyshards.pipeline.claims import claim, release
from skyshards.pipeline.downloads import kept

RECORD_URL = "https://zenodo.org/api/records/4573248"
"""GZ DECaLS, version 0.0.2 of 10.5281/zenodo.4196266."""
RINGS_URL = "https://raw.githubusercontent.com/mwalmsley/zoobot/0b18b37fabc014315bda627d6ef1488dd9bd696e/data/"

RING_CATALOGS = {"basic": "example_ring_catalog_basic.csv", "advanced": "example_ring_catalog_advanced.parquet"}
RELEASE_CATALOGS = {
    "volunteers": "gz_decals_volunteers_5.parquet",
    "volunteers_1_and_2": "gz_decals_volunteers_1_and_2.parquet",
    "auto": "gz_decals_auto_posteriors.parquet",
}
CATALOGS = RING_CATALOGS | RELEASE_CATALOGS
"""File names by the name on the command line."""


def _files(record_url: str, fetcher: Fetcher) -> dict[str, RecordFile]:
    try:
        return record_files(record_url, fetcher)
    except FetchError as error:
        raise BuildError(
            f"the list of files is out of reach: {error}; try again later, or give another `archive_url`"
        ) from error


def fetch_catalog(catalog: str, record_url: str, fetcher: Fetcher, folder: Path) -> Path:
    """Download a published catalogue to a folder, unless it is there. Raises `BuildError` if it cannot be fetched.

    The ring catalogues come from the record if it has them, or else from where they were published.
    """
    name = CATALOGS[catalog]
    files = _files(record_url, fetcher)
    if name not in files and catalog in RELEASE_CATALOGS:
        raise BuildError(f"{record_url}: has no file {name}; available: {', '.join(sorted(files))}")
    file = files.get(name, RecordFile(RINGS_URL + name))
    claim(folder / name)
    try:
        return fetcher.download(file.url, folder / name, file.checksum, size=file.size)
    except FetchError as error:
        release(folder / name)
        raise BuildError(f"{error}; try again later, or give a copy of it as `catalog_file`") from error


def image_chunks(record_url: str, fetcher: Fetcher, folder: Path, keep: bool) -> list[Chunk]:
    """List a record's zip archives of images, to be downloaded to a folder. Raises `BuildError` if it has none."""
    files = _files(record_url, fetcher)
    names = sorted(name for name in files if name.endswith(".zip"))
    there = kept(folder)
    chunks = [Chunk(files[name], folder / name, keep or name in there) for name in names]
    if not chunks:
        raise BuildError(f"{record_url}: has no .zip archive of images; is it the record of GZ DECaLS (`archive_url`)?")
    return chunks
