"""Find images by name in a folder, or in zip archives on disk or at a URL, and fetch them one by one."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from zipfile import ZipInfo

from gz_decals.catalogs import IMAGE_SUFFIXES
from gz_decals.zip_archives import Chunk, Member
from skyshards.errors import BuildError, FetchError, SourceError
from skyshards.fetch.client import Fetcher
from skyshards.fetch.waiting import Signal, Stopped, pause, stop_with, stopping

PATIENCE = 10.0
"""Maximum wait, in seconds, until the last images of an archive are packed; none in a cluster."""
LOOK_AGAIN = 0.5
"""Seconds between two looks whether the build stops."""
AT_ONCE = 4
"""Maximum number of archives on disk in a build in a cluster; those of the release have up to 26 GB."""


@dataclass(frozen=True)
class Place:
    """Location of one image file. `key` names it in the dataset."""

    key: str
    name: str
    path: Path | None = None

    @property
    def url(self) -> str | None:
        return None

    @property
    def order(self) -> tuple[str, int]:
        """Sort key: files before archives, members in archive order."""
        return "", 0


@dataclass(frozen=True, kw_only=True)
class Packed(Place):
    """Location of an image that is a member of a zip archive."""

    chunk: Chunk
    member: ZipInfo

    @property
    def url(self) -> str | None:
        return f"{self.chunk.url}#{self.name}" if self.chunk.url else None

    @property
    def order(self) -> tuple[str, int]:
        return self.chunk.name, self.member.header_offset


def stem(name: str) -> str:
    """File name without folder and .png or .jpg (galaxies' names contain dots)."""
    base = PurePosixPath(name).name
    suffix = next((suffix for suffix in IMAGE_SUFFIXES if base.lower().endswith(suffix)), "")
    return base[: len(base) - len(suffix)]


def folder_places(folder: Path) -> Iterator[Place]:
    """Yield all images below a folder, sorted; links to elsewhere are followed only to files."""
    for root, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            if file.lower().endswith(IMAGE_SUFFIXES):
                path = Path(root, file)
                name = path.relative_to(folder).as_posix()
                yield Place(name, name, path=path)


def chunk_places(chunks: Iterable[Chunk], fetcher: Fetcher) -> Iterator[Packed]:
    """Yield all images in zip archives, in archive order. Raises `BuildError` if an archive cannot be listed."""
    for chunk in chunks:
        try:
            members = sorted(chunk.members(fetcher), key=lambda member: member.header_offset)
        except FetchError as error:
            raise BuildError(f"the images in {chunk.name} cannot be listed: {error}; try again later") from error
        for member in members:
            yield Packed(f"{chunk.name}/{member.filename}", member.filename, chunk=chunk, member=member)


class Index:
    """Index of images by path, or else by stem, because a .jpg may be stored as .png."""

    def __init__(self, places: Iterable[Place]):
        self._by_stem: dict[str, list[Place]] = {}
        for place in places:
            self._by_stem.setdefault(stem(place.name), []).append(place)

    def __len__(self) -> int:
        return sum(map(len, self._by_stem.values()))

    def find(self, wanted: str) -> Place | None:
        """Find the image that a catalogue calls `wanted`, or None.

        Of several with the same stem, the one whose path ends like `wanted` is taken, or else the first by name.
        """
        found = self._by_stem.get(stem(wanted), [])
        exact = [place for place in found if _ends_as(place.name, wanted) or _ends_as(wanted, place.name)]
        rank = {suffix: number for number, suffix in enumerate(IMAGE_SUFFIXES)}
        return min(exact or found, key=lambda place: (rank[Path(place.name).suffix.lower()], place.key), default=None)


def _ends_as(path: str, end: str) -> bool:
    return f"/{path}".endswith(f"/{end}")


class ImageStore:
    """Thread-safe reader of a build's images from zip archives, with one downloaded archive at a time.

    Images are requested archive by archive. Before the next archive is downloaded, those no longer needed are deleted.
    In a cluster, `AT_ONCE` archives may be on disk: the next ones are downloaded while images of the first are read.
    A pickled store is empty: only the process that builds uses it.
    """

    def __init__(self) -> None:
        self._places: dict[str, Packed] = {}
        self._chunks: dict[str, Chunk] = {}
        self._wanted: dict[str, set[str]] = {}
        """Images of each archive that were requested or are expected, and not released."""
        self._on_disk: set[str] = set()
        """Archives that were downloaded, or are being so."""
        self._ahead: deque[Chunk] = deque()
        self._is_ahead = False
        self._in_order = threading.Lock()
        self._released = threading.Condition()

    def __reduce__(self):
        return ImageStore, ()

    def take(self, places: Sequence[Place], limit: int | None) -> None:
        """Prepare to read these images, or the first `limit` of them, in this order."""
        self._places = {place.key: place for place in places if isinstance(place, Packed)}
        self._chunks = {place.chunk.name: place.chunk for place in self._places.values()}
        self._wanted = {name: set() for name in self._chunks}
        soon = list(self._places.values())[:limit]
        for chunk in self._chunks.values():
            chunk.settle(sum(place.member.compress_size for place in soon if place.chunk is chunk))

    def expect(self, keys: Iterable[str]) -> None:
        """Take note of the images that are about to be read, in this order."""
        for key in keys:
            if place := self._places.get(key):
                self._wanted[place.chunk.name].add(key)
        self._ahead.extend(chunk for name, chunk in self._chunks.items() if self._wanted[name] and not chunk.ready)

    def nbytes(self, keys: Iterable[str]) -> list[tuple[Chunk, int]]:
        """Number of bytes of the given images, by archive."""
        found: Counter[str] = Counter()
        for key in keys:
            if place := self._places.get(key):
                found[place.chunk.name] += place.member.compress_size
        return [(self._chunks[name], nbytes) for name, nbytes in found.items()]

    def read(self, key: str, fetcher: Fetcher) -> bytes | Member:
        """Read an image, or say where it is on disk.

        Raises `SourceError` if it is refused or damaged, `FetchError` if it cannot be fetched.
        """
        place = self._places.get(key)
        if place is None:
            raise SourceError(f"{key}: the image no longer exists; run the build again")
        with self._released:
            self._wanted[place.chunk.name].add(key)
        try:
            if fetcher.is_far:
                self._begin_ahead(fetcher)
            if not place.chunk.ready:
                self._make_room(place.chunk, *((AT_ONCE, math.inf) if fetcher.is_far else (1, PATIENCE)))
            return place.chunk.read(place.member, fetcher)
        except BaseException:
            self.release(key)
            raise

    def release(self, key: str) -> None:
        """Release an image whose row is on disk, or failed."""
        if place := self._places.get(key):
            with self._released:
                self._wanted[place.chunk.name].discard(key)
                self._released.notify_all()

    def close(self) -> None:
        """Delete archives no longer needed; after an interruption, those with images that are wanted are kept."""
        self._ahead.clear()
        for name, chunk in self._chunks.items():
            if not self._wanted[name]:
                chunk.remove()

    def _begin_ahead(self, fetcher: Fetcher) -> None:
        """Start the threads that download archives before their images are requested."""
        with self._released:
            if self._is_ahead:
                return
            self._is_ahead = True
        for _ in range(min(AT_ONCE, fetcher.connections)):
            arguments = fetcher, stopping()
            threading.Thread(target=self._download_ahead, args=arguments, name="skyshards-ahead", daemon=True).start()

    def _download_ahead(self, fetcher: Fetcher, signal: Signal | None) -> None:
        stop_with(signal)
        with contextlib.suppress(Exception, Stopped):  # what fails here fails again for the images, and is told there
            while True:
                with self._in_order:
                    chunk = self._ahead.popleft()  # raises `IndexError` at the end
                    self._make_room(chunk, AT_ONCE, math.inf)
                if self._wanted[chunk.name]:  # or the threads that wait for its images were faster
                    chunk.download(fetcher)

    def _make_room(self, chunk: Chunk, most: int, patience: float) -> None:
        """Wait until an archive may be downloaded, and delete those that are no longer needed.

        That is when the rows of an archive's last images are packed. Raises `Stopped` if the build stops first.
        """
        end = time.monotonic() + patience
        with self._released:
            while chunk.name not in self._on_disk and len(self._in_use()) >= most and time.monotonic() < end:
                self._released.wait(LOOK_AGAIN)
                pause()
            if chunk.name in self._on_disk:
                return
            for name in self._on_disk - self._in_use():
                self._chunks[name].remove()
            self._on_disk = self._in_use() | {chunk.name}

    def _in_use(self) -> set[str]:
        """Archives on disk with images that are wanted; the caller holds the lock."""
        return {name for name in self._on_disk if self._wanted[name]}
