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

from gz_decals.catalogs import IMAGE_SUFFIXES
from skyshards.errors import FetchError, SourceError
from skyshards.fetch.client import Fetcher
from skyshards.fetch.ranges import NoRanges, RemoteFile
from skyshards.fetch.zenodo import RecordFile
from skyshards.pipeline.claims import claim, delete_claimed, release

MAX_BYTES = 64 << 20
"""A 424 x 424 PNG of 8-bit RGB takes 0.5 MB at most; a member a hundred times as long is no image of the release."""
MAX_RATIO = 200
"""PNGs hardly deflate. Zip bombs reach a thousand to one."""
MAX_ARCHIVE = 64 << 30
"""Bound on an archive whose length is not published; those of the release have up to 26 GB."""
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
    file : RecordFile or None
        What is published, if it is not on disk. Every member's CRC-32 is checked in any case.
    path : Path
        Where it lies on disk, or is to.
    keep : bool
        Leave a download on disk.
    """

    file: RecordFile | None
    path: Path
    keep: bool = False
    by_range: bool = False
    _archive: zipfile.ZipFile | None = None
    _length: int = 0
    _failure: FetchError | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def url(self) -> str | None:
        return self.file.url if self.file is not None else None

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
                self._download(fetcher)
        suffixes = tuple(IMAGE_SUFFIXES)
        return [member for member in self._archive.infolist() if member.filename.lower().endswith(suffixes)]

    def settle(self, wanted: int) -> None:
        """Decide how to fetch, now that it is known how many bytes of its members are wanted."""
        self._length = sum(member.compress_size for member in self._archive.infolist())
        if self.by_range and wanted >= FEW * self._length:
            self.by_range, self._archive = False, None

    def to_fetch(self, wanted: int) -> int:
        """How many bytes are to be fetched for so many that are wanted of its members, once that is settled."""
        if self.url is None or self.path.exists():
            return 0
        return wanted if self.by_range else self._length

    def read(self, member: zipfile.ZipInfo, fetcher: Fetcher) -> bytes:
        """One image's bytes; the first call fetches the archive, unless it is read by byte ranges."""
        with self._lock:
            if self._archive is None:
                self._download(fetcher)
        return read_member(self._archive, member)

    def remove(self) -> None:
        """Close it, and delete a download that is not to be kept. It can be fetched again."""
        with self._lock:
            if self._archive is not None:
                self._archive.close()
                self._archive = None
            if self.url is not None:
                (release if self.keep else delete_claimed)(self.path)

    def _download(self, fetcher: Fetcher) -> None:
        if self._failure is not None:  # an archive of 26 GB is not to be tried anew for each of its images
            raise self._failure
        try:
            if self.file is not None:
                size, most = self.file.size, MAX_ARCHIVE
                claim(self.path)
                fetcher.download(self.file.url, self.path, self.file.checksum, most, size, keep_part=True)
            self._archive = self._open(self.path)
        except FetchError as error:
            self._failure = error
            if not self.path.with_name(f"{self.path.name}.part").exists():  # else it goes on in the next run
                release(self.path)
            raise

    def _open(self, file) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError) as error:
            raise FetchError(f"{self.url or self.path}: not a whole zip archive ({error}); fetch it again") from error
