"""The images as they were downloaded: TAR archives of 1000, and a list of what is in them.

`TAR-000000.tar` is whole, and loads with `load_dataset("webdataset", ...)`. The archive that is being filled is named
`TAR-000001.tar.part`: an image is in it as soon as it has arrived, so a killed run loses none but those in flight.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import re
import shutil
import tarfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from skyshards.errors import BuildError, UsageError
from skyshards.files import replacing

DONE = "Images_downloaded.csv.gz"
ORIGIN = "origin.txt"
MEMBERS_PER_TAR = 1000
PART = ".part"
TAR_NAME = re.compile(r"TAR-(\d{6})\.tar")


def save_images_to_TAR(TAR_path: Path | str, contents: Mapping[str, bytes] | Iterable[Sequence]) -> None:
    """Write a TAR archive of images; it appears under its name when it is whole, in place of one that was there.

    Parameters
    ----------
    TAR_path : path
    contents : mapping of str to bytes, or sequences that begin with these two
        The members' names, such as "1237648720693755918.jpg", and what they hold.

    Raises
    ------
    OSError
        It cannot be written; what was there before is as it was.
    """
    pairs = contents.items() if isinstance(contents, Mapping) else contents
    with replacing(Path(TAR_path)) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in {name: content for name, content, *_ in pairs}.items():
            tar.addfile(_member(name, len(content)), io.BytesIO(content))


class ImageArchive:
    """A folder of TAR archives that images are added to, for one process and many threads.

    Parameters
    ----------
    folder : Path
        Made when the first image is added. What an earlier run left there is taken over: the list of what is done,
        the archive that was being filled (its last member is cut off if it is torn), and archives that the list lacks.
    suffix : str
        Of the members' names: ".jpg" or ".fits".
    members_per_tar : int
    origin : str, optional
        What the images are; kept beside them, and compared with what is there. Any will do without it.

    Raises
    ------
    UsageError
        The images there are of another origin.
    BuildError
        The list of what is done cannot be read.
    """

    def __init__(
        self, folder: Path, suffix: str = ".jpg", members_per_tar: int = MEMBERS_PER_TAR, origin: str | None = None
    ):
        self._folder, self._suffix, self._per_tar, self._origin = folder, suffix, members_per_tar, origin
        self._check_origin()
        self._lock = threading.Lock()
        self._places: dict[int, dict[int, tuple[int, int]]] = {}  # by TAR and objid: first byte and length
        self._file: int | None = None
        self._number = 0
        self._end = 0
        self._unlisted: list[tuple[int, str, str]] = []
        self._done = self._read_list()
        self._take_over()

    def __len__(self) -> int:
        return len(self._done)

    def __contains__(self, objid: int) -> bool:
        return objid in self._done

    def __enter__(self) -> ImageArchive:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def get(self, objid: int) -> bytes | None:
        """An image as it was added; None if it is not there, or no longer what it was."""
        with self._lock:
            if objid not in self._done:
                return None
            number, sha256 = self._done[objid]
            with contextlib.suppress(OSError, tarfile.TarError, KeyError):
                start, size = self._index(number)[objid]
                with open(self._path(number), "rb") as file:
                    file.seek(start)
                    content = file.read(size)
                if hashlib.sha256(content).hexdigest() == sha256:
                    return content
            return None

    def add(self, objid: int, content: bytes) -> None:
        """Add an image; it outlives this process once this has returned.

        Raises
        ------
        OSError
            It cannot be written (a full disk, say); the archive is as it was before.
        """
        header = _member(f"{objid}{self._suffix}", len(content)).tobuf(tarfile.USTAR_FORMAT)
        padding = bytes(-len(content) % tarfile.BLOCKSIZE)
        with self._lock:
            if self._file is None:
                self._start()
            _write(self._file, header + content + padding, self._end)
            self._places[self._number][objid] = self._end + len(header), len(content)
            self._end += len(header) + len(content) + len(padding)
            self._enter(objid, self._number, hashlib.sha256(content).hexdigest())
            if len(self._places[self._number]) >= self._per_tar:
                self._seal()

    def close(self) -> None:
        """Seal the archive that is being filled, though it is not full; the next image added goes on filling it."""
        with self._lock:
            if self._file is not None:
                self._seal()

    def _path(self, number: int) -> Path:
        path = self._folder / _tar_name(number)
        return path.with_name(path.name + PART) if number == self._number and self._file is not None else path

    def _enter(self, objid: int, number: int, sha256: str) -> None:
        self._done[objid] = number, sha256
        self._unlisted.append((objid, _tar_name(number), sha256))

    def _check_origin(self) -> None:
        path = self._folder / ORIGIN
        if self._origin and path.exists() and (found := path.read_text(encoding="utf-8").strip()) != self._origin:
            raise UsageError(
                f"{self._folder}: holds {found}, expected {self._origin}; "
                "delete that folder, or choose another `output_dir`"
            )

    def _start(self) -> None:
        """Open the last archive if there is room in it, or else a new one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._origin:
            with replacing(self._folder / ORIGIN) as temporary:
                temporary.write_text(f"{self._origin}\n", encoding="utf-8")
        number = max(self._sealed(), default=-1)
        if number >= 0 and len(self._index(number)) < self._per_tar:
            end = _end_of(self._index(number))
            sealed = self._folder / _tar_name(number)
            os.replace(sealed, sealed.with_name(sealed.name + PART))
        else:
            number, end = number + 1, 0
            self._places[number] = {}
        self._open(number, end)

    def _open(self, number: int, end: int) -> None:
        self._number, self._end = number, end
        path = self._folder / (_tar_name(number) + PART)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(self._file, end)

    def _seal(self) -> None:
        """End the archive as TAR asks for, list its images as done, and only then give it its name."""
        size = -(-(self._end + 2 * tarfile.BLOCKSIZE) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE
        _write(self._file, bytes(size - self._end), self._end)
        os.fsync(self._file)
        self._write_list()
        part = self._path(self._number)
        os.close(self._file)
        self._file = None
        os.replace(part, self._folder / _tar_name(self._number))

    def _sealed(self) -> Iterator[int]:
        """Numbers of the archives that have their final names."""
        for path in self._folder.glob("TAR-*.tar"):
            if match := TAR_NAME.fullmatch(path.name):
                yield int(match[1])

    def _index(self, number: int) -> dict[int, tuple[int, int]]:
        if number not in self._places:
            self._places[number] = _members(self._path(number))
        return self._places[number]

    def _read_list(self) -> dict[int, tuple[int, str]]:
        path = self._folder / DONE
        if not path.exists():
            return {}
        try:
            table = pd.read_csv(path, dtype={"objid": "int64", "tar": "str", "sha256": "str"})
            numbers = {name: int(TAR_NAME.fullmatch(name)[1]) for name in table["tar"].unique()}
            places = zip(table["tar"].map(numbers).tolist(), table["sha256"].tolist(), strict=True)
            return dict(zip(table["objid"].tolist(), places, strict=True))
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise BuildError(f"{path}: {error}; delete it, and it is made again from the archives beside it") from error

    def _write_list(self) -> None:
        """Add the images sealed now to the list, as one more gzip member behind those there are."""
        path = self._folder / DONE
        rows = pd.DataFrame(self._unlisted, columns=["objid", "tar", "sha256"])
        content = gzip.compress(rows.to_csv(index=False, header=not path.exists()).encode(), mtime=0)
        with replacing(path) as temporary:
            if path.exists():
                shutil.copyfile(path, temporary)
            with open(temporary, "ab") as file:
                file.write(content)
                os.fsync(file.fileno())
        self._unlisted = []

    def _take_over(self) -> None:
        """Make the list agree with the archives: these are what counts."""
        sealed = set(self._sealed())
        listed = {number for number, _ in self._done.values()}
        parts = sorted(self._folder.glob(f"TAR-*.tar{PART}"))
        for number in sorted(sealed - listed):
            self._enter_all(number, self._folder / _tar_name(number))
        filling = [int(match[1]) for path in parts if (match := TAR_NAME.fullmatch(path.stem))]
        for number in filling:
            self._enter_all(number, self._folder / (_tar_name(number) + PART))
            if not self._places[number]:
                (self._folder / (_tar_name(number) + PART)).unlink()
                continue
            self._open(number, _end_of(self._places[number]))
            if len(self._places[number]) >= self._per_tar or number != filling[-1]:
                self._seal()
        here = sealed | set(filling)
        self._done = {objid: place for objid, place in self._done.items() if place[0] in here}
        if self._unlisted and self._file is None:
            self._write_list()

    def _enter_all(self, number: int, path: Path) -> None:
        """Enter what an archive holds, as far as it is whole and the list lacks it."""
        self._places[number] = _members(path)
        with open(path, "rb") as file:
            for objid, (start, size) in self._places[number].items():
                file.seek(start)
                place = number, hashlib.sha256(file.read(size)).hexdigest()
                if self._done.get(objid) != place:
                    self._enter(objid, *place)


def _tar_name(number: int) -> str:
    return f"TAR-{number:06d}.tar"


def _member(name: str, size: int) -> tarfile.TarInfo:
    """A header that says nothing but name and size, so that the same images make the same archive."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def _members(path: Path) -> dict[int, tuple[int, int]]:
    """First byte and length of each whole member of an archive, by objid; a torn last one is left out."""
    members = {}
    size = path.stat().st_size
    with contextlib.suppress(tarfile.TarError), tarfile.open(path, "r:") as tar:
        for member in tar:
            end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            if end > size:
                break
            if (stem := Path(member.name).stem).isdecimal():
                members[int(stem)] = member.offset_data, member.size
    return members


def _end_of(members: dict[int, tuple[int, int]]) -> int:
    """Where the last member ends, its padding included."""
    start, size = max(members.values(), default=(0, 0))
    return start + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _write(file: int, content: bytes, start: int) -> None:
    """Write all of it, or leave the file as long as it was."""
    left = memoryview(content)
    try:
        while left:
            written = os.pwrite(file, left, start + len(content) - len(left))
            left = left[written:]
    except OSError:
        os.ftruncate(file, start)
        raise
