"""Keep the downloaded images in TAR archives of 1000, with a list of their contents.

`TAR-000000.tar` is complete, and loads with `load_dataset("webdataset", ...)`: each image has its label beside it, in a
member with the suffix `.cls`. Until then, its images collect in `TAR-000000.tar.part` in the order of their arrival,
each after a member `.json` that says what it shows, so a killed run loses only those in flight. Archives are sealed in
the order that `arrange` set: the same images make the same files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tarfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gz_sdss import image_list
from gz_sdss.image_list import CUTOUT, LABEL, Cutout, Listed, tar_name, tar_number
from gz_sdss.tar_files import as_member, end_of, members_of, write_whole
from skyshards.errors import UsageError
from skyshards.files import replacing

DONE = "Images_downloaded.csv.gz"
ORIGIN = "origin.txt"
MEMBERS_PER_TAR = 1000
PART = ".part"


@dataclass
class _Part:
    """Images not yet sealed: offset of the next one, and first byte and length by objid."""

    end: int
    members: dict[int, tuple[int, int]]


class ImageArchive:
    """Growing folder of TAR archives of images, for one process and many threads.

    Parameters
    ----------
    folder : Path
        Created when the first image is added. State left by an earlier run is taken over: the list, unfinished archives
        (a torn last member is cut off), and archives missing from the list.
    suffix : str
        Suffix of the members' names: ".jpg" or ".fits".
    members_per_tar : int
        Number of images per archive.
    origin : str, optional
        Origin of the images; stored beside them, and compared with an existing folder's. By default, any is accepted.
    read_only : bool
        Write nothing: the folder is of another dataset.

    Raises
    ------
    UsageError
        The folder's images are of another origin.
    BuildError
        The list cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        suffix: str = ".jpg",
        members_per_tar: int = MEMBERS_PER_TAR,
        origin: str | None = None,
        read_only: bool = False,
    ):
        self._folder, self._suffix, self._per_tar, self._origin = folder, suffix, members_per_tar, origin
        self._read_only = read_only
        self._check_origin()
        self._lock = threading.Lock()
        self._ranks: dict[int, int] = {}
        self._labels: Mapping[int, int] = {}
        self._used: set[int] = set()  # archives whose images this process read
        self._parts: dict[int, _Part] = {}
        self._indexes: dict[int, dict[int, tuple[int, int]]] = {}  # of sealed archives: first byte and length by objid
        self._lists: dict[int, bytes] = {}  # the part of the list for each archive, compressed
        self._sealed = set(_numbers(folder.glob("TAR-*.tar")))
        self._done = image_list.read(folder / DONE)
        self._take_over()

    def arrange(self, objids: Iterable[int], labels: Mapping[int, int] | None = None) -> None:
        """Set the order of images in the archives, independent of the order in which they are added, and their labels.

        Sealed archives get other labels when they are closed, if their images were used.
        """
        self._ranks = {objid: rank for rank, objid in enumerate(objids)}
        self._labels = labels or {}

    def __len__(self) -> int:
        return len(self._done)

    def __contains__(self, objid: int) -> bool:
        return objid in self._done

    def __enter__(self) -> ImageArchive:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def get(self, objid: int) -> bytes | None:
        """Return an image as it was added; None if it is missing or damaged."""
        with self._lock:
            if objid not in self._done:
                return None
            number, sha256, *_ = self._done[objid]
            self._used.add(number)
            with contextlib.suppress(OSError, tarfile.TarError, KeyError):
                content = self._read(number, objid)
                if hashlib.sha256(content).hexdigest() == sha256:
                    return content
            return None

    def cutout(self, objid: int) -> Cutout | None:
        """What an image shows; None if it is missing or of an earlier version, which did not record it."""
        listed = self._done.get(objid)
        return listed.cutout if listed else None

    def add(self, objid: int, content: bytes, cutout: Cutout | None = None) -> None:
        """Add an image and what it shows; on return, it is safe if the process dies.

        Raises
        ------
        OSError
            It cannot be written (for example, a full disk); the archive is unchanged.
        """
        with self._lock:
            number = self._number_for(objid)
            if number not in self._parts:
                self._start(number)
            part = self._parts[number]
            before = as_member(objid, CUTOUT, cutout.to_json()) if cutout else b""
            member = before + as_member(objid, self._suffix, content)
            file = os.open(self._part_path(number), os.O_RDWR | os.O_CREAT, 0o644)
            try:
                os.ftruncate(file, part.end)  # if it ended in the middle of a member
                write_whole(file, member, part.end)
            finally:
                os.close(file)
            part.members[objid] = part.end + len(before) + tarfile.BLOCKSIZE, len(content)
            part.end += len(member)
            self._done[objid] = Listed(number, hashlib.sha256(content).hexdigest(), cutout)
            if self._is_full(number):
                self._seal(number)

    def close(self) -> None:
        """Seal unfinished archives, and those with other labels; images added later continue to fill them."""
        if self._read_only:
            return
        with self._lock:
            other = {
                number
                for objid, (number, _, _, label) in self._done.items()
                if number in self._used and self._labels.get(objid, label) != label
            }
            for number in sorted(other | set(self._parts)):
                self._seal(number)

    def _path(self, number: int) -> Path:
        return self._folder / tar_name(number)

    def _part_path(self, number: int) -> Path:
        return self._folder / (tar_name(number) + PART)

    def _number_for(self, objid: int) -> int:
        """Number of the archive for an image: by its rank, or else the last one with room."""
        if objid in self._ranks:
            return self._ranks[objid] // self._per_tar
        last = max(self._sealed | set(self._parts), default=0)
        return last if len(self._members(last)) < self._per_tar else last + 1

    def _is_full(self, number: int) -> bool:
        """Whether an archive has all its images."""
        members = self._members(number)
        if not self._ranks:
            return len(members) >= self._per_tar
        first = number * self._per_tar
        expected = min(self._per_tar, len(self._ranks) - first)
        return sum(first <= self._ranks.get(objid, -1) < first + expected for objid in members) == expected

    def _members(self, number: int) -> set[int]:
        """Images of an archive, sealed or not."""
        part = self._parts.get(number)
        return set(self._index(number)) | set(part.members if part else ())

    def _index(self, number: int) -> dict[int, tuple[int, int]]:
        if number not in self._sealed:
            return {}
        if number not in self._indexes:
            self._indexes[number] = members_of(self._path(number), self._suffix)
        return self._indexes[number]

    def _read(self, number: int, objid: int) -> bytes:
        """Read an image of an archive. Raises `KeyError` if it is missing."""
        part = self._parts.get(number)
        if part is not None and objid in part.members:
            path, place = self._part_path(number), part.members[objid]
        else:
            path, place = self._path(number), self._index(number)[objid]
        with open(path, "rb") as file:
            file.seek(place[0])
            return file.read(place[1])

    def _check_origin(self) -> None:
        path = self._folder / ORIGIN
        if self._origin and path.exists() and (found := path.read_text(encoding="utf-8").strip()) != self._origin:
            advice = "leave out `images`" if self._read_only else "delete that folder, or choose another `output_dir`"
            raise UsageError(f"{self._folder}: holds {found}, expected {self._origin}; {advice}")

    def _start(self, number: int) -> None:
        """Prepare an archive for new images."""
        self._folder.mkdir(parents=True, exist_ok=True)
        origin = self._folder / ORIGIN
        if self._origin and not origin.exists():
            with replacing(origin) as temporary:
                temporary.write_text(f"{self._origin}\n", encoding="utf-8")
        self._parts[number] = _Part(0, {})

    def _seal(self, number: int) -> None:
        """Write an archive in order, from its earlier and its new images, with their labels.

        After a kill at any moment, new images are kept until the archive is complete, and it is sealed again. So is an
        archive with other labels, as it is listed last.
        """
        part = self._parts.get(number)
        objids = self._in_order(dict.fromkeys([*self._index(number), *(part.members if part else ())]))
        index, end, labels = {}, 0, {}
        with replacing(self._path(number)) as temporary, open(temporary, "wb") as file:
            for objid in objids:
                content = self._read(number, objid)
                index[objid] = end + tarfile.BLOCKSIZE, len(content)
                end += file.write(as_member(objid, self._suffix, content))
                listed = self._done.get(objid)
                labels[objid] = self._labels.get(objid, listed.label if listed else None)
                if labels[objid] is not None:
                    end += file.write(as_member(objid, LABEL, str(labels[objid]).encode()))
            file.write(bytes(-(-(end + 2 * tarfile.BLOCKSIZE) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE - end))
            file.flush()
            os.fsync(file.fileno())
            if part:
                self._list(number, labels)
        if not part:
            self._list(number, labels)
        self._sealed.add(number)
        self._indexes[number] = index
        if part:
            self._part_path(number).unlink()
            del self._parts[number]

    def _list(self, number: int, labels: Mapping[int, int | None]) -> None:
        """Write the list with the images of an archive and their labels."""
        for objid, label in labels.items():
            listed = self._done.get(objid)
            if listed is not None and listed.tar == number:
                self._done[objid] = listed._replace(label=label)
        self._lists.pop(number, None)
        self._write_list(self._sealed | {number})

    def _in_order(self, objids: Iterable[int]) -> list[int]:
        """Sort images by rank, followed by those without a rank in the given order."""
        return sorted(objids, key=lambda objid: self._ranks.get(objid, len(self._ranks)))

    def _write_list(self, sealed: set[int]) -> None:
        """Write the list of these archives' images, in order: a gzip member for the header and for each archive."""
        if wanted := sealed - set(self._lists):
            rows: dict[int, list[int]] = {number: [] for number in wanted}
            for objid, listed in self._done.items():
                if listed.tar in rows:
                    rows[listed.tar].append(objid)
            for number, objids in rows.items():
                self._lists[number] = image_list.part((objid, self._done[objid]) for objid in self._in_order(objids))
        with replacing(self._folder / DONE) as temporary, open(temporary, "wb") as file:
            file.write(image_list.head())
            file.writelines(self._lists[number] for number in sorted(sealed))
            file.flush()
            os.fsync(file.fileno())

    def _take_over(self) -> None:
        """Make the list agree with the archives, which are authoritative."""
        listed = {image.tar for image in self._done.values()}
        for number in sorted(self._sealed - listed):
            self._done |= image_list.listed_in(self._path(number), number, self._suffix)
        for number in sorted(_numbers(self._folder.glob(f"TAR-*.tar{PART}"))):
            path = self._part_path(number)
            if members := members_of(path, self._suffix):
                self._parts[number] = _Part(end_of(members), members)
                self._done |= image_list.listed_in(path, number, self._suffix)
            elif not self._read_only:
                path.unlink()
        here = self._sealed | set(self._parts)
        self._done = {objid: image for objid, image in self._done.items() if image.tar in here}
        if self._sealed - listed and not self._read_only:
            self._write_list(self._sealed)


def _numbers(paths: Iterable[Path]) -> Iterator[int]:
    """Numbers of the archives among some files."""
    for path in paths:
        with contextlib.suppress(ValueError):
            yield tar_number(path.name.removesuffix(PART))
