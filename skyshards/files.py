"""Files that appear whole under their final name, or not at all."""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import hashlib
import io
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import filelock

from skyshards.errors import BuildError, SkyshardsError

TEMPORARY_PREFIX = ".writing-"
"""First characters of the name of a file or folder that is not finished; `hold` deletes what a killed run left."""


@contextlib.contextmanager
def hold(folder: Path, busy: str | None = None, lock: Path | None = None) -> Iterator[None]:
    """Hold a folder of ours for this process alone; in the end, it is removed if it is empty.

    The folder is made if need be, and what killed runs left unfinished in it is deleted (in the folders below it, those
    that hold them do that). See `clear_errors` for what to put around it.

    Parameters
    ----------
    folder : Path
    busy : str, optional
        What to say if another process holds the folder; without it, wait until that lets go.
    lock : Path, optional
        The file that is locked; `lock` in the folder unless given.

    Raises
    ------
    BuildError
        Another process holds it.
    """
    path = lock or folder / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    held = filelock.FileLock(path)
    try:
        held.acquire(timeout=-1 if busy is None else 0)
    except filelock.Timeout:
        raise BuildError(busy) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
        yield
    finally:
        # The lock goes with the folder, or it would keep that; where a build is to go on, it stays.
        if path.parent != folder or _holds_only(folder, path.name):
            path.unlink(missing_ok=True)
        held.release()
        remove_if_empty(folder)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder, unless something is in it or it cannot be written to. Raises `OSError` if the disk fails."""
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno == errno.EIO:
            raise


def _holds_only(folder: Path, name: str) -> bool:
    return folder.exists() and [path.name for path in folder.iterdir()] == [name]


def remove_unfinished(folder: Path, below: bool = False) -> None:
    """Delete what killed runs left half-written in a folder that is held, or also in the folders below it."""
    for leftover in list(folder.glob(f"{'**/' if below else ''}{TEMPORARY_PREFIX}*")):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def clear_errors(where: Path | str) -> Iterator[None]:
    """Turn errors of the disk into a `BuildError` that names the place and says what to do."""
    try:
        yield
    except SkyshardsError:  # some are an OSError, too
        raise
    except OSError as error:
        if is_disk_full(error):
            message = "the disk is full; free some space and run the same command again, nothing done is lost"
            raise BuildError(f"{where}: {message}") from error
        raise BuildError(f"{where}: {error}") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move what was written there to `path` if the block ends well.

    The folder is made if need be. If the block raises, the temporary file is removed and `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{path.suffix}"
    temporary.touch(exist_ok=False)  # and not tempfile, whose files only their owner can read
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Have a file's content, or a folder's list of files, on the disk itself when this returns.

    Some file systems cannot do that for a folder: there it is as they leave it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error of the system, HDF5, SQLite or Arrow means that the disk (or the user's share of it) is full."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error).lower()
    return any(words in text for words in ("no space left on device", "disk is full", "disk quota exceeded"))


def open_regular(path: str | Path) -> int:
    """A descriptor to read a regular file. Raises `OSError` at once for a pipe or device, which might wait for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def links_out(folder: Path) -> Iterator[Path]:
    """Links in a folder (or the folder itself) that lead out of it, and pipes and devices: nothing to write through."""
    if folder.is_symlink():
        yield folder
        return
    root = os.path.realpath(folder)
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(parent, name)
            if path.is_symlink():
                outside = os.path.commonpath([root, os.path.realpath(path)]) != root
            else:
                outside = not (path.is_dir() or path.is_file())
            if outside:
                yield path


def inflated(content: bytes, max_bytes: int) -> bytes:
    """What a gzip or bzip2 file holds, of as many parts as it may have; other content as it is.

    Raises
    ------
    OSError, EOFError, zlib.error
        It is damaged, cut short, or holds more than `max_bytes`.
    """
    opened = gzip.open if content[:2] == b"\x1f\x8b" else bz2.open if content[:3] == b"BZh" else None
    if opened is None:
        return content
    with opened(io.BytesIO(content)) as file:
        plain = file.read(max_bytes + 1)
    if len(plain) > max_bytes:
        raise OSError(f"holds more than the {max_bytes:,} bytes expected at most")
    return plain


def is_read_only(folder: Path) -> bool:
    """Whether a folder is there and cannot be written to."""
    return folder.is_dir() and not os.access(folder, os.W_OK)


def file_size(path: Path) -> int:
    """Bytes of a file; 0 for one that is not there, such as the end of a link that leads nowhere."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file's content."""
    with open(open_regular(path), "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
