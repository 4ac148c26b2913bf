"""List, check and read images in the release's zip archives one by one, without unpacking them to disk."""

from __future__ import annotations

import contextlib
import io
import threading
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from gz_decals.catalogs import IMAGE_SUFFIXES
from skyshards.errors import FetchError
from skyshards.fetch.client import Fetcher
from skyshards.fetch.ranges import NoRanges, RemoteFile
from skyshards.fetch.zenodo import RecordFile
from skyshards.large_files import read_member, read_member_of
from skyshards.pipeline.claims import claim, delete_claimed, release
from skyshards.pipeline.recipe import Deferred

MAX_ARCHIVE = 64 << 30
"""Maximum size of an archive of unpublished length; those of the release have up to 26 GB."""
RANGE_BYTES = 1 << 20
FEW = 0.05
"""Below this fraction of an archive's bytes, images are fetched by byte ranges."""


@dataclass(frozen=True)
class Member(Deferred):
    """Image in a zip archive on disk."""

    path: Path
    info: zipfile.ZipInfo

    def content(self) -> bytes:
        return read_member_of(self.path, self.info)


@dataclass
class Chunk:
    """Zip archive of images, at a URL or on disk. Thread-safe.

    Parameters
    ----------
    file : RecordFile or None
        Published file; None if it is on disk. Every member's CRC-32 is checked in any case.
    path : Path
        Location on disk, now or after the download.
    keep : bool
        Keep the download.
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
        """Whether it was downloaded, and takes space that can be freed."""
        return self.ready and not self.by_range and self.url is not None

    @property
    def ready(self) -> bool:
        """Whether an image can be read without downloading the archive."""
        return self._archive is not None

    def members(self, fetcher: Fetcher) -> list[zipfile.ZipInfo]:
        """List the images, fetching only the directory if the server supports byte ranges."""
        with self._lock:
            if self.url is not None and not self.path.exists():
                with contextlib.suppress(NoRanges):
                    self._archive = self._open(io.BufferedReader(RemoteFile(self.url, fetcher), RANGE_BYTES))
                    self.by_range = True
            members = self._opened(fetcher).infolist()
        self._length = sum(member.compress_size for member in members)
        suffixes = tuple(IMAGE_SUFFIXES)
        return [member for member in members if member.filename.lower().endswith(suffixes)]

    def settle(self, wanted: int) -> None:
        """Decide how to fetch, given the number of bytes wanted of its members."""
        if self.by_range and wanted >= FEW * self._length:
            self.by_range, self._archive = False, None

    def to_fetch(self, wanted: int) -> int:
        """Number of bytes to fetch for this many wanted bytes of its members, once settled."""
        if self.url is None or self.path.exists():
            return 0
        return wanted if self.by_range else self._length

    def read(self, member: zipfile.ZipInfo, fetcher: Fetcher) -> bytes | Member:
        """Read one image by byte ranges, or else say where it is on disk; the first call downloads the archive."""
        with self._lock:
            archive = self._opened(fetcher)
            if not self.by_range:
                return Member(self.path.absolute(), member)
        return read_member(archive, member)

    def download(self, fetcher: Fetcher) -> None:
        """Download the archive, unless it is there or was tried; what fails is raised by `read`."""
        with self._lock, contextlib.suppress(FetchError):
            self._opened(fetcher)

    def remove(self) -> None:
        """Close the archive, and delete its download unless it is to be kept. It can be downloaded again."""
        with self._lock:
            if self._archive is not None:
                self._archive.close()
                self._archive = None
            if self.url is not None:
                (release if self.keep else delete_claimed)(self.path)

    def _opened(self, fetcher: Fetcher) -> zipfile.ZipFile:
        """Open the archive, downloading it if needed; the caller holds the lock."""
        if self._archive is None:
            self._archive = self._download(fetcher)
        return self._archive

    def _download(self, fetcher: Fetcher) -> zipfile.ZipFile:
        if self._failure is not None:  # do not retry an archive of 26 GB for each of its images
            raise self._failure
        try:
            if self.file is not None:
                size, most = self.file.size, MAX_ARCHIVE
                claim(self.path)
                fetcher.download(self.file.url, self.path, self.file.checksum, most, size, keep_part=True)
            return self._open(self.path)
        except FetchError as error:
            self._failure = error
            if not self.path.with_name(f"{self.path.name}.part").exists():  # otherwise the next run resumes it
                release(self.path)
            raise

    def _open(self, file) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError) as error:
            raise FetchError(f"{self.url or self.path}: not a whole zip archive ({error}); fetch it again") from error
