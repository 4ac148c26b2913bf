"""The archive of galaxy stamps (Zenodo record 2604740): fetched with pooch, resumed, verified, and unpacked safely."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

import filelock
import pooch
import requests
from tqdm import tqdm

from candels_blend.stamp_archive import FILES
from skyshards.errors import BuildError, FetchError
from skyshards.fetch.client import Fetcher
from skyshards.files import TEMPORARY_PREFIX, is_disk_full

ZENODO_URL = "https://zenodo.org"
RECORD = "2604740"
ARCHIVE = "candels-blender-data.tar.gz"
MAX_UNPACKED = 2 << 30
"""Bound on what the archive may unpack to: 2,001 stamps at 6 bytes a pixel are 197 MB."""
ATTEMPTS = 5
"""How often a body that breaks off is taken up again where it stopped."""
BLOCK = 1 << 18


def download(folder: Path | str, zenodo_url: str = ZENODO_URL, delete: bool = False) -> Path:
    """Fetch the archive from Zenodo and unpack it in `folder`, unless its three files are there already.

    The download has a progress bar, goes on where an interrupted one stopped, and counts only once its checksum is that
    of the record.

    Parameters
    ----------
    zenodo_url : str
        Where the record is: Zenodo, or a demo archive.
    delete : bool
        Remove the .tar.gz file once it is unpacked.

    Raises
    ------
    FetchError
        The record cannot be reached, has no such file, or the file does not arrive whole.
    BuildError
        The file is no archive of this form, or holds what it should not: a path out of its folder, a link, too many
        bytes. Or the disk is full.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / f".{ARCHIVE}.lock"):
            if not all((folder / name).is_file() for name in FILES):
                _fetch(folder, zenodo_url)
                unpack(folder / ARCHIVE, folder)
            if delete:
                (folder / ARCHIVE).unlink(missing_ok=True)
    except OSError as error:
        reason = "the disk is full; free some space and try again" if is_disk_full(error) else error
        raise BuildError(f"{folder}: {reason}") from error
    return folder


def _fetch(folder: Path, zenodo_url: str) -> None:
    pooch.get_logger().setLevel("WARNING")  # the progress bar says enough
    fetcher = Fetcher()
    url, checksum = _find_file(fetcher, f"{zenodo_url.rstrip('/')}/api/records/{RECORD}")
    part = folder / f"{ARCHIVE}.part"
    while True:
        resumed = part.exists()
        try:
            pooch.retrieve(url, checksum, ARCHIVE, folder, downloader=_resuming(fetcher, part))
            return
        except ValueError as error:  # pooch: the checksum is wrong
            if not resumed:  # what was there may have been the start of another file, so that deserves a second try
                raise FetchError(f"{url}: {error}") from error


def _find_file(fetcher: Fetcher, record_url: str) -> tuple[str, str]:
    """URL and checksum of the archive, as the record's description has them."""
    try:
        files = fetcher.get(record_url).json()["files"]
        found = {file["key"]: (file["links"]["self"], file["checksum"]) for file in files}
    except (requests.RequestException, KeyError, TypeError) as error:
        raise FetchError(f"{record_url}: expected a Zenodo record in JSON, with its files; found {error!r}") from error
    if ARCHIVE not in found:
        raise FetchError(f"{record_url}: expected a file {ARCHIVE}, found {', '.join(found) or 'none'}")
    return found[ARCHIVE]


def _resuming(fetcher: Fetcher, part: Path) -> Callable:
    """A downloader for pooch that keeps what has arrived in `part`, and asks only for the rest."""

    def downloader(url: str, output_file: str, _: pooch.Pooch | None) -> None:
        for attempt in range(ATTEMPTS):
            start = part.stat().st_size if part.exists() else 0
            headers = (
                {"Range": f"bytes={start}-", "Accept-Encoding": "identity"}
                if start
                else {"Accept-Encoding": "identity"}
            )
            try:
                with fetcher.session.get(url, headers=headers, stream=True, timeout=fetcher.timeout) as response:
                    if (
                        response.status_code == 416
                    ):  # nothing is left to ask for; the checksum tells whether that is right
                        break
                    if response.status_code not in (200, 206):
                        raise FetchError(f"{url}: HTTP status {response.status_code} {response.reason}, expected 200")
                    if _append(response, part, start if response.status_code == 206 else 0):
                        break
            except requests.RequestException as error:
                if attempt == ATTEMPTS - 1:
                    raise FetchError(
                        f"{url}: {error}; run the same command again, it goes on where this one stopped"
                    ) from error
        else:
            raise FetchError(
                f"{url}: broke off {ATTEMPTS} times; run the same command again, it goes on where this one stopped"
            )
        part.replace(output_file)

    return downloader


def _append(response: requests.Response, part: Path, start: int) -> bool:
    """Write a body to `part` from byte `start` on; gives whether all that was announced has come."""
    length = response.headers.get("Content-Length")
    stop = start + int(length) if length else None
    with (
        open(part, "ab") as file,
        tqdm(desc=ARCHIVE, total=stop, initial=start, unit="B", unit_scale=True, disable=None) as bar,
    ):
        file.truncate(start)
        for block in response.iter_content(BLOCK):
            file.write(block)
            bar.update(len(block))
        return stop is None or file.tell() == stop


def unpack(archive: Path, folder: Path) -> None:
    """Take the three files out of the archive, wherever in it they lie; other files in it are left there.

    Raises
    ------
    BuildError
        Naming the member that is a link or a device, lies outside the archive's folder, comes twice, or brings the
        whole beyond `MAX_UNPACKED` bytes; or what the archive lacks; or where it breaks off. No file appears then.
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


def _extract(archive: Path, content: IO[bytes], folder: Path) -> None:
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
            if member.isdir() or name not in FILES:
                continue
            if (folder / name).exists():
                raise BuildError(f"{archive}: two files named {name}; refused")
            with open(folder / name, "wb") as file:
                shutil.copyfileobj(tar.extractfile(member), file, BLOCK)
