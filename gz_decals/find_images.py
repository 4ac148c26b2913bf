"""Where the images are: a folder of files, or zip archives on disk or at a URL; found by name, fetched one by one."""

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
"""Seconds to wait for the last images of an archive to be packed before the next one is fetched."""


@dataclass(frozen=True)
class Place:
    """Where one image is: a file, or a member of an archive. `key` names it in the dataset."""

    key: str
    name: str
    path: Path | None = None
    chunk: Chunk | None = None
    member: ZipInfo | None = None

    @property
    def url(self) -> str | None:
        return f"{self.chunk.url}#{self.name}" if self.chunk is not None and self.chunk.url else None

    @property
    def order(self) -> tuple[str, int]:
        """What images are sorted by: files before archives, and members as they lie in theirs."""
        return (self.chunk.name, self.member.header_offset) if self.chunk is not None else ("", 0)

    @property
    def nbytes(self) -> int:
        return self.member.compress_size if self.member is not None else 0


def stem(name: str) -> str:
    """A file's name without folder and without .png or .jpg: names of galaxies have points of their own."""
    base = PurePosixPath(name).name
    suffix = next((suffix for suffix in IMAGE_SUFFIXES if base.lower().endswith(suffix)), "")
    return base[: len(base) - len(suffix)]


def folder_places(folder: Path) -> Iterator[Place]:
    """All images in the folders below a folder, sorted; links that lead elsewhere are followed only to files."""
    for root, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            if file.lower().endswith(IMAGE_SUFFIXES):
                path = Path(root, file)
                name = path.relative_to(folder).as_posix()
                yield Place(name, name, path=path)


def chunk_places(chunks: Iterable[Chunk], fetcher: Fetcher) -> Iterator[Place]:
    """All images in zip archives, in the order in which they lie there. Raises `BuildError` if one cannot be listed."""
    for chunk in chunks:
        try:
            members = sorted(chunk.members(fetcher), key=lambda member: member.header_offset)
        except FetchError as error:
            raise BuildError(f"the images in {chunk.name} cannot be listed: {error}; try again later") from error
        for member in members:
            yield Place(f"{chunk.name}/{member.filename}", member.filename, chunk=chunk, member=member)


class Index:
    """Finds a galaxy's image among many, by its path if that matches, else by its stem: a .jpg may be a .png."""

    def __init__(self, places: Iterable[Place]):
        self._by_stem: dict[str, list[Place]] = {}
        for place in places:
            self._by_stem.setdefault(stem(place.name), []).append(place)

    def __len__(self) -> int:
        return sum(map(len, self._by_stem.values()))

    def find(self, wanted: str) -> Place | None:
        """The image that a catalogue calls `wanted`, or None.

        Several of one stem: the one whose path ends as `wanted` does, else the first in the order of their names.
        """
        found = self._by_stem.get(stem(wanted), [])
        exact = [place for place in found if _ends_as(place.name, wanted) or _ends_as(wanted, place.name)]
        rank = {suffix: number for number, suffix in enumerate(IMAGE_SUFFIXES)}
        return min(exact or found, key=lambda place: (rank[Path(place.name).suffix.lower()], place.key), default=None)


def _ends_as(path: str, end: str) -> bool:
    return f"/{path}".endswith(f"/{end}")


class ImageStore:
    """Reads the images of a build out of zip archives, for many threads, and keeps one fetched archive at a time.

    They are asked for archive by archive. Before another archive is fetched, those that nothing waits for are deleted.
    Pickled, a store is empty: only the process that fetches has a use for it.
    """

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._waiting: dict[str, set[str]] = {}
        self._chunks: dict[str, Chunk] = {}
        self._released = threading.Condition()

    def __reduce__(self):
        return ImageStore, ()

    def take(self, places: Sequence[Place], limit: int | None) -> None:
        """Be ready to read these images, in this order, or the first `limit` of them."""
        self._places = {place.key: place for place in places if place.chunk is not None}
        self._chunks = {place.chunk.name: place.chunk for place in self._places.values()}
        self._waiting = {name: set() for name in self._chunks}
        soon = list(self._places.values())[:limit]
        for chunk in self._chunks.values():
            chunk.settle(sum(place.nbytes for place in soon if place.chunk is chunk))

    def nbytes(self, keys: Iterable[str]) -> list[tuple[Chunk, int]]:
        """How many bytes some images have, by the archive that they are in."""
        found: Counter[str] = Counter()
        for key in keys:
            if place := self._places.get(key):
                found[place.chunk.name] += place.nbytes
        return [(self._chunks[name], nbytes) for name, nbytes in found.items()]

    def read(self, key: str, fetcher: Fetcher) -> bytes:
        """An image's bytes; raises `SourceError` if it is refused or damaged, `FetchError` if it cannot be had."""
        place = self._places.get(key)
        if place is None:
            raise SourceError(f"{key}: no such image any more; run the build again")
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
        """The image's row is on disk, or will not be."""
        if place := self._places.get(key):
            with self._released:
                self._waiting[place.chunk.name].discard(key)
                self._released.notify_all()

    def close(self) -> None:
        """Delete the archives that nothing waits for; after an interruption, the one that was being read stays."""
        for name, chunk in self._chunks.items():
            if not self._waiting[name]:
                chunk.remove()

    def _make_room(self, wanted: Chunk) -> None:
        others = [name for name, chunk in self._chunks.items() if chunk.fetched and chunk is not wanted]
        with self._released:
            # What was read of the others is being packed, which takes a moment; if it hangs, this must not.
            self._released.wait_for(lambda: not any(self._waiting[name] for name in others), timeout=PATIENCE)
            done = [self._chunks[name] for name in others if not self._waiting[name]]
        for chunk in done:
            chunk.remove()
