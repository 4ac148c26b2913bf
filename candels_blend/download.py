"""Download, verify and safely unpack the archive of galaxy stamps (Zenodo record 2604740)."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath

from candels_blend.stamp_archive import FILES
from skyshards.errors import BuildError, FetchError
from skyshards.fetch.client import Fetcher
from skyshards.fetch.zenodo import doi_of, record_files
from skyshards.files import TEMPORARY_PREFIX, clear_errors, hold, replacing

ZENODO_URL = "https://zenodo.org"
RECORD = "2604740"
ARCHIVE = "candels-blender-data.tar.gz"
RELEASE = "release.txt"
"""File beside the stamps that tells which release they are, if they were downloaded from Zenodo."""
MAX_UNPACKED = 2 << 30
"""Maximum unpacked size, bytes; 2,001 stamps at 6 bytes per pixel are 197 MB."""
BLOCK = 1 << 18


def download(
    folder: Path | str, zenodo_url: str = ZENODO_URL, delete: bool = False, fetcher: Fetcher | None = None
) -> Path:
    """Download the archive from Zenodo and unpack it in `folder`, unless its three files are there already.

    An interrupted download is resumed, and accepted only if its checksum matches the record's.

    Parameters
    ----------
    zenodo_url : str
        Server with the record: Zenodo, or a demo archive.
    delete : bool
        Delete the .tar.gz file once it is unpacked.
    fetcher : Fetcher, optional
        Client for the download, which reports its progress.

    Raises
    ------
    FetchError
        The record cannot be reached, has no such file, or the file does not arrive whole.
    BuildError
        The file is not a valid archive, or has a path out of its folder, a link, or too many bytes; or the disk is
        full.
    """
    folder = Path(folder)
    with clear_errors(folder), hold(folder, lock=folder / f".{ARCHIVE}.lock"):
        if not all((folder / name).is_file() for name in FILES):
            record_url = f"{zenodo_url.rstrip('/')}/api/records/{RECORD}"
            _fetch(folder, record_url, fetcher or Fetcher())
            (folder / RELEASE).unlink(missing_ok=True)
            unpack(folder / ARCHIVE, folder)
            if doi := doi_of(record_url):
                with replacing(folder / RELEASE) as temporary:
                    temporary.write_text(doi)
        if delete:
            (folder / ARCHIVE).unlink(missing_ok=True)
    return folder


def release_of(folder: Path | str) -> str | None:
    """DOI of the record that the stamps in a folder were downloaded from; None if that is unknown."""
    try:
        return Path(folder, RELEASE).read_text().strip() or None
    except OSError:
        return None


def _fetch(folder: Path, record_url: str, fetcher: Fetcher) -> None:
    files = record_files(record_url, fetcher)
    if ARCHIVE not in files:
        raise FetchError(f"{record_url}: expected a file {ARCHIVE}, found {', '.join(files) or 'none'}")
    file = files[ARCHIVE]
    fetcher.download(file.url, folder / ARCHIVE, file.checksum, size=file.size, keep_part=True)


def unpack(archive: Path, folder: Path) -> None:
    """Extract the three files from the archive, in whatever folder they are; other files are ignored.

    Raises
    ------
    BuildError
        A member is a link or a device, lies outside the archive's folder, occurs twice, or exceeds `MAX_UNPACKED` bytes
        in total; or the archive lacks a file or is truncated. No file is written then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=folder) as temporary:
        try:
            with gzip.open(archive) as content:
                _extract(archive, content, Path(temporary))
                content.seek(MAX_UNPACKED)  # to the end, where the checksum is
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise BuildError(f"{archive}: not a whole .tar.gz file ({error}); delete it and fetch it again") from error
        if missing := [name for name in FILES if not Path(temporary, name).exists()]:
            raise BuildError(f"{archive}: expected {', '.join(FILES)}, found no {', '.join(missing)}")
        for name in FILES:
            Path(temporary, name).replace(folder / name)


def _extract(archive: Path, content: gzip.GzipFile, folder: Path) -> None:
    total = 0
    with tarfile.open(fileobj=content, mode="r:") as tar:
        for member in tar:
            total += member.size
            name = Path(member.name).name
            if total > MAX_UNPACKED:
                raise BuildError(f"{archive}: unpacks to more than {MAX_UNPACKED} bytes (at {member.name!r}); refused")
            if not (member.isreg() or member.isdir()):
                raise BuildError(f"{archive}: {member.name!r} is neither a file nor a folder; refused")
            if member.name.startswith("/") or ".." in PurePosixPath(member.name).parts:
                raise BuildError(f"{archive}: {member.name!r} lies outside the archive's folder; refused")
            file = tar.extractfile(member)  # none of a folder
            if file is None or name not in FILES:
                continue
            if (folder / name).exists():
                raise BuildError(f"{archive}: two files named {name}; refused")
            with open(folder / name, "wb") as unpacked:
                shutil.copyfileobj(file, unpacked, BLOCK)
