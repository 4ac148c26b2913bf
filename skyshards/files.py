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
import stat
from collections.abc import Iterator
from pathlib import Path

TEMPORARY_PREFIX = ".writing-"
"""First characters of the name of a file that is not finished; a build deletes those that a killed run left."""


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


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file's content."""
    with open(open_regular(path), "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
