"""Where the files of a built data set lie, and how byte ranges of them are read: on disk, or at any URL of fsspec."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skyshards.errors import FolderError

MAX_OPEN_FILES = 128


class _File:
    """A file descriptor that is closed with its last user, so that a cache may drop it while a thread reads from it."""

    def __init__(self, root: Path, name: str):
        self.descriptor = os.open(root / name, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self):
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


class LocalStore:
    """A folder on disk. Open files belong to the process that opened them: a fork or a pickle starts without."""

    def __init__(self, root: Path):
        self.root = root
        self._process: int | None = None

    def __reduce__(self):
        return LocalStore, (self.root,)

    def __str__(self) -> str:
        return str(self.root)

    def open(self, name: str) -> Path:
        """What pyarrow can read a whole file from."""
        return self.root / name

    def read(self, names: Sequence[str], starts: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """Read byte ranges; one that a file is too short for comes back short. Raises `FolderError` for a missing file."""
        if self._process != os.getpid():
            self._cached = functools.lru_cache(MAX_OPEN_FILES)(functools.partial(_File, self.root))
            self._process = os.getpid()
        contents = []
        for name, start, size in zip(names, starts, sizes, strict=True):
            try:
                file = self._cached(name)  # held until it is read: another thread may push it out of the cache
                contents.append(os.pread(file.descriptor, size, start))
            except OSError as error:
                raise FolderError(f"{self.root / name}: cannot be read ({error}); build the data set again") from error
        return contents


class RemoteStore:
    """A folder behind any file system of fsspec: https://, hf://, s3:// and so on."""

    def __init__(self, url: str, options: dict[str, Any]):
        self.url = url.rstrip("/")
        self._options = options
        self._filesystem = None

    def __reduce__(self):
        return RemoteStore, (self.url, self._options)

    def __str__(self) -> str:
        return self.url

    def _connect(self) -> tuple[Any, str]:
        import fsspec

        if self._filesystem is None:
            self._filesystem = fsspec.core.url_to_fs(self.url, **self._options)
        return self._filesystem

    def open(self, name: str) -> Any:
        """What pyarrow can read a whole file from."""
        import io

        filesystem, root = self._connect()
        try:
            return io.BytesIO(filesystem.cat_file(f"{root}/{name}"))
        except FileNotFoundError as error:
            raise FolderError(f"{self.url}: not a built data set, there is no {name} in it") from error
        except Exception as error:  # each file system has its own
            raise FolderError(f"{self.url}/{name}: cannot be read ({type(error).__name__}: {error})") from error

    def read(self, names: Sequence[str], starts: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """Read byte ranges, many requests in flight at once. Raises `FolderError` if one fails."""
        filesystem, root = self._connect()
        ends = [start + size for start, size in zip(starts, sizes, strict=True)]
        contents = filesystem.cat_ranges([f"{root}/{name}" for name in names], list(starts), ends, on_error="return")
        for name, content in zip(names, contents, strict=True):
            if isinstance(content, Exception):
                raise FolderError(f"{self.url}/{name}: cannot be read ({type(content).__name__}: {content})") from content
        return contents
