"""Images in the release's zip archives: listed, checked and read one by one, never unpacked to disk."""

from __future__ import annotations

import contextlib
import io
import stat
import threading
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pooch
import requests
from urllib3.exceptions import HTTPError

from gz_decals.catalogs import IMAGE_SUFFIXES
from skyshards.errors import FetchError, SourceError
from skyshards.fetch.client import Fetcher, user_agent

MAX_BYTES = 64 << 20
"""A 424 x 424 PNG of 8-bit RGB takes 0.5 MB at most; a member a hundred times as long is no image of the release."""
MAX_RATIO = 200
"""PNGs hardly deflate. Zip bombs reach a thousand to one."""
RANGE_BYTES = 1 << 20
FEW = 0.05
"""When less than this share of an archive's bytes is wanted, they are fetched by byte ranges."""


def refusal(member: zipfile.ZipInfo) -> str | None:
    """Why a member of an archive is not to be read, or None if nothing speaks against it."""
    path = PurePosixPath(member.filename)
    mode = member.external_attr >> 16
    if path.is_absolute() or ".." in path.parts or set(member.filename) & set("\\:\0"):
        return f"member {member.filename!r} would leave the archive's folder"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return f"member {member.filename!r} is no regular file (mode {mode:o}), such as a link"
    if member.flag_bits & 1:
        return f"member {member.filename!r} is encrypted"
    if member.file_size > MAX_BYTES:
        return f"member {member.filename!r} is {member.file_size} bytes long, expected at most {MAX_BYTES}"
    if member.file_size > MAX_RATIO * max(member.compress_size, 1):
        growth = f"{member.compress_size} bytes to {member.file_size}"
        return f"member {member.filename!r} would inflate {growth}, expected {MAX_RATIO} times as many at most"
    return None


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """One image's bytes, of the declared length and CRC-32. Raises `SourceError` if it is refused or damaged."""
    if reason := refusal(member):
        raise SourceError(f"{reason}; it was not read")
    try:
        with archive.open(member) as file:
            content = file.read(member.file_size + 1)
            file.read(1)  # at the end the CRC is compared
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceError(f"member {member.filename!r} is damaged ({error})") from error
    if len(content) != member.file_size:
        raise SourceError(f"member {member.filename!r} is {len(content)} bytes long, expected {member.file_size}")
    return content


@dataclass
class Chunk:
    """One zip archive of images, at a URL or on disk. For many threads.

    Parameters
    ----------
    url : str or None
        Where it is, if not on disk.
    path : Path
        Where it lies on disk, or is to.
    checksum : str or None
        "md5:…", where the archive publishes it. Every member's CRC-32 is checked in any case.
    keep : bool
        Leave a download on disk.
    """

    url: str | None
    path: Path
    checksum: str | None = None
    keep: bool = False
    by_range: bool = False
    _archive: zipfile.ZipFile | None = None
    _failure: FetchError | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def fetched(self) -> bool:
        """Whether it was fetched, and takes room that can be given back."""
        return self.ready and not self.by_range and self.url is not None

    @property
    def ready(self) -> bool:
        """Whether an image can be read without fetching the archive."""
        return self._archive is not None

    def members(self, fetcher: Fetcher) -> list[zipfile.ZipInfo]:
        """All the images that it lists, without fetching more than the list where the server gives byte ranges."""
        with self._lock:
            if self.url is not None and not self.path.exists():
                with contextlib.suppress(NoRanges):
                    self._archive = self._open(io.BufferedReader(RemoteFile(self.url, fetcher), RANGE_BYTES))
                    self.by_range = True
            if self._archive is None:
                self._download()
        suffixes = tuple(IMAGE_SUFFIXES)
        return [member for member in self._archive.infolist() if member.filename.lower().endswith(suffixes)]

    def settle(self, wanted: int) -> None:
        """Decide how to fetch, now that it is known how many bytes of its members are wanted."""
        whole = sum(member.compress_size for member in self._archive.infolist())
        if self.by_range and wanted >= FEW * whole:
            self.by_range, self._archive = False, None

    def read(self, member: zipfile.ZipInfo) -> bytes:
        """One image's bytes; the first call fetches the archive, unless it is read by byte ranges."""
        with self._lock:
            if self._archive is None:
                self._download()
        return read_member(self._archive, member)

    def remove(self) -> None:
        """Close it, and delete a download that is not to be kept. It can be fetched again."""
        with self._lock:
            if self._archive is not None:
                self._archive.close()
                self._archive = None
            if self.url is not None and not self.keep:
                self.path.unlink(missing_ok=True)

    def _download(self) -> None:
        if self._failure is not None:  # an archive of 26 GB is not to be tried anew for each of its images
            raise self._failure
        try:
            if self.url is not None:
                fetch_file(self.url, self.path, self.checksum)
            self._archive = self._open(self.path)
        except FetchError as error:
            self._failure = error
            raise

    def _open(self, file) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError) as error:
            raise FetchError(f"{self.url or self.path}: not a whole zip archive ({error}); fetch it again") from error


def fetch_file(url: str, path: Path, checksum: str | None) -> Path:
    """Fetch a file with pooch, verified where a checksum is known; one that is there and right is left alone.

    Raises `FetchError` with the URL.
    """
    pooch.get_logger().setLevel("WARNING")  # it announces every download, and every hash that is not known
    downloader = pooch.HTTPDownloader(timeout=60, headers={"User-Agent": user_agent()})
    try:
        cache = pooch.create(path.parent, "", registry={path.name: checksum}, urls={path.name: url}, retry_if_failed=3)
        cache.fetch(path.name, downloader=downloader)
    except (ValueError, requests.RequestException, HTTPError) as error:
        raise FetchError(f"{url}: {error}") from error
    return path


class NoRanges(FetchError):
    """The server does not give parts of a file."""


class RemoteFile(io.RawIOBase):
    """A file at a URL, read by byte ranges as it is asked for.

    Raises
    ------
    NoRanges
        If the server gives only all of it.
    FetchError
        If a range could not be had.
    """

    def __init__(self, url: str, fetcher: Fetcher):
        self.url, self._fetcher, self._position = url, fetcher, 0
        self._length: int | None = None
        _, self._length = self._range(0, 1)

    def _range(self, start: int, stop: int) -> tuple[bytes, int]:
        """Bytes `start` to `stop`, and the length of the whole file."""
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        session, timeout = self._fetcher.session, self._fetcher.timeout
        try:
            with session.get(self.url, headers=headers, timeout=timeout, stream=True) as response:
                content = response.raw.read(stop - start + 1)  # one more, to see that there is no more
                if response.status_code == 200 and (start, stop) != (0, self._length):
                    raise NoRanges(f"{self.url}: the server gives no byte ranges")
                if response.status_code not in (200, 206):
                    raise FetchError(f"{self.url}: HTTP status {response.status_code} {response.reason}, expected 206")
                if len(content) != stop - start:
                    raise FetchError(f"{self.url}: asked for {stop - start} bytes from {start}, got {len(content)}")
                return content, int(response.headers.get("Content-Range", f"/{stop}").rpartition("/")[2])
        except (requests.RequestException, HTTPError, ValueError) as error:
            raise FetchError(f"{self.url}: {error}") from error

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer) -> int:
        stop = min(self._position + len(buffer), self._length)
        if stop <= self._position:
            return 0
        content, _ = self._range(self._position, stop)
        buffer[: len(content)] = content
        self._position = stop
        return len(content)
