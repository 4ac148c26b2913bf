"""File utilities: atomic writes, folder locks, disk errors, digests."""

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
"""Name prefix of unfinished files and folders; `hold` deletes those left by killed runs."""


@contextlib.contextmanager
def hold(folder: Path, busy: str | None = None, lock: Path | None = None) -> Iterator[None]:
    """Lock a folder for this process; remove it at the end if it is empty.

    Creates the folder if needed and deletes unfinished files left in it by killed runs (subfolders are left to their
    own locks). Wrap it in `clear_errors`.

    Parameters
    ----------
    folder : Path
    busy : str, optional
        Error message if another process holds the folder; without it, wait for the lock.
    lock : Path, optional
        The lock file; default `lock` in the folder.

    Raises
    ------
    BuildError
        If another process holds the folder and `busy` is given.
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
        # Remove the lock file so that an empty folder can be removed; keep it where a build is to be resumed.
        if path.parent != folder or _holds_only(folder, path.name):
            path.unlink(missing_ok=True)
        held.release()
        remove_if_empty(folder)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder unless it has content or is not writable. Raises `OSError` on an I/O error of the disk."""
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno == errno.EIO:
            raise


def _holds_only(folder: Path, name: str) -> bool:
    return folder.exists() and [path.name for path in folder.iterdir()] == [name]


def remove_unfinished(folder: Path, below: bool = False) -> None:
    """Delete unfinished files left by killed runs in a locked folder; with `below`, in its subfolders too."""
    for leftover in list(folder.glob(f"{'**/' if below else ''}{TEMPORARY_PREFIX}*")):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def clear_errors(where: Path | str) -> Iterator[None]:
    """Convert disk errors to a `BuildError` that names the place and says what to do."""
    try:
        yield
    except SkyshardsError:  # some are also an OSError
        raise
    except OSError as error:
        if is_disk_full(error):
            message = "the disk is full; free some space and run the same command again to resume"
            raise BuildError(f"{where}: {message}") from error
        raise BuildError(f"{where}: {error}") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, then rename it to `path` if the block succeeds.

    Creates the folder if needed. If the block raises, the temporary file is removed and `path` is left unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{path.suffix}"
    temporary.touch(exist_ok=False)  # not tempfile, whose files only the owner can read
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's list of files, to disk.

    Does nothing for folders on file systems that do not support it.
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
    """Whether an error of the system, HDF5, SQLite or Arrow means that the disk or the user's quota is full."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error).lower()
    return any(words in text for words in ("no space left on device", "disk is full", "disk quota exceeded"))


def is_url(location: str | os.PathLike) -> bool:
    """Whether a location is a URL, not a path."""
    return "://" in os.fspath(location)


def open_regular(path: str | Path) -> int:
    """Open a regular file for reading and return its descriptor. Raises `OSError` for a pipe or device (may block)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def links_out(folder: Path) -> Iterator[Path]:
    """Yield links that lead out of a folder (or the folder itself, if a link), and pipes and devices in it."""
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


def refuse_links(*folders: Path) -> None:
    """Raise `BuildError` for links that would make a build write outside its folder."""
    for path in (path for folder in folders for path in links_out(folder)):
        raise BuildError(f"{path}: a link or device that leads out of the dataset's folder; remove it")


def inflated(content: bytes, max_bytes: int) -> bytes:
    """Decompress a gzip or bzip2 file, also of several members; return other content unchanged.

    Raises
    ------
    OSError, EOFError, zlib.error
        If it is damaged, truncated, or holds more than `max_bytes`.
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
    """Whether a folder exists and is not writable."""
    return folder.is_dir() and not os.access(folder, os.W_OK)


def file_size(path: Path) -> int:
    """Return the size of a file in bytes; 0 if it does not exist (such as the target of a dangling link)."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal digest of a file's content."""
    with open(open_regular(path), "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
