"""Find images by name in a folder, or in zip archives on disk or at a URL, and fetch them one by one."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from zipfile import ZipInfo

from gz_decals.catalogs import IMAGE_SUFFIXES
from gz_decals.zip_archives import Chunk
from skyshards.errors import BuildError, FetchError, SourceError
from skyshards.fetch.client import Fetcher

PATIENCE = 10.0
"""Maximum wait, in seconds, until the last images of an archive are packed and the next one is fetched."""


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
    A pickled store is empty: only the process that downloads uses it.
    """

    def __init__(self) -> None:
        self._places: dict[str, Packed] = {}
        self._waiting: dict[str, set[str]] = {}
        self._chunks: dict[str, Chunk] = {}
        self._released = threading.Condition()

    def __reduce__(self):
        return ImageStore, ()

    def take(self, places: Sequence[Place], limit: int | None) -> None:
        """Prepare to read these images, or the first `limit` of them, in this order."""
        self._places = {place.key: place for place in places if isinstance(place, Packed)}
        self._chunks = {place.chunk.name: place.chunk for place in self._places.values()}
        self._waiting = {name: set() for name in self._chunks}
        soon = list(self._places.values())[:limit]
        for chunk in self._chunks.values():
            chunk.settle(sum(place.member.compress_size for place in soon if place.chunk is chunk))

    def nbytes(self, keys: Iterable[str]) -> list[tuple[Chunk, int]]:
        """Number of bytes of the given images, by archive."""
        found: Counter[str] = Counter()
        for key in keys:
            if place := self._places.get(key):
                found[place.chunk.name] += place.member.compress_size
        return [(self._chunks[name], nbytes) for name, nbytes in found.items()]

    def read(self, key: str, fetcher: Fetcher) -> bytes:
        """Read an image. Raises `SourceError` if it is refused or damaged, `FetchError` if it cannot be fetched."""
        place = self._places.get(key)
        if place is None:
            raise SourceError(f"{key}: the image no longer exists; run the build again")
        with self._released:
            self._waiting[place.chunk.name].add(key)
        try:
            if not place.chunk.ready:
                self._make_room(place.chunk)
            return place.chunk.read(place.member, fetcher)
        except BaseException:
            self.release(key)
            raise

    def release(self, key: str) -> None:
        """Release an image whose row is on disk, or failed."""
        if place := self._places.get(key):
            with self._released:
                self._waiting[place.chunk.name].discard(key)
                self._released.notify_all()

    def close(self) -> None:
        """Delete archives no longer needed; after an interruption, the one being read is kept."""
        for name, chunk in self._chunks.items():
            if not self._waiting[name]:
                chunk.remove()

    def _make_room(self, wanted: Chunk) -> None:
        others = [name for name, chunk in self._chunks.items() if chunk.fetched and chunk is not wanted]
        with self._released:
            # Rows read from the others are being packed, which takes a moment; if that hangs, this must not.
            self._released.wait_for(lambda: not any(self._waiting[name] for name in others), timeout=PATIENCE)
            done = [self._chunks[name] for name in others if not self._waiting[name]]
        for chunk in done:
            chunk.remove()
