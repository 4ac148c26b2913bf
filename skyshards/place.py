"""The destination of an export or a build: a folder or an fsspec URL. Files appear there only when complete."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from skyshards.errors import BuildError, UsageError
from skyshards.files import replacing


@dataclass(frozen=True)
class Place:
    """A folder, or a URL with the options of its file system."""

    url: str
    storage_options: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def _opened(self) -> tuple[fsspec.AbstractFileSystem, str]:
        if self.url.startswith(("http://", "https://")):
            raise UsageError(
                f"{self.url}: web servers cannot be written to; use a folder, or a URL such as s3:// or hf://"
            )
        try:
            return fsspec.core.url_to_fs(self.url, **self.storage_options)
        except (ImportError, ValueError) as error:
            advice = "s3 needs `pip install 'skyshards[remote]'`"
            raise UsageError(f"{self.url}: cannot be written to ({error}); {advice}") from error

    @cached_property
    def folder(self) -> Path | None:
        """The local folder; None for other file systems."""
        file_system, path = self._opened
        return Path(path) if isinstance(file_system, LocalFileSystem) else None

    def names(self) -> set[str]:
        """Return the existing files, as paths below this place."""
        if self.folder is not None:
            return {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()}
        file_system, path = self._opened
        root = path.rstrip("/") + "/"
        with self._named_errors():
            return {name.removeprefix(root) for name in file_system.find(path)} if file_system.exists(path) else set()

    def sizes(self) -> dict[str, int]:
        """Return the existing files of a URL, as paths below it, and their bytes."""
        file_system, path = self._opened
        root = path.rstrip("/") + "/"
        with self._named_errors():
            file_system.invalidate_cache()  # of what other processes wrote
            found = file_system.find(path, detail=True) if file_system.exists(path) else {}
        return {name.removeprefix(root): about["size"] for name, about in found.items()}

    def get(self, name: str, path: Path) -> None:
        """Copy a file of a URL to disk."""
        file_system, root = self._opened
        with self._named_errors():
            file_system.get_file(f"{root}/{name}", str(path))

    def move(self, name: str, to: str) -> None:
        """Give a file of a URL another name, in place of what has it."""
        file_system, root = self._opened
        with self._named_errors():
            file_system.makedirs(f"{root}/{to}".rpartition("/")[0], exist_ok=True)
            file_system.cp_file(f"{root}/{name}", f"{root}/{to}")
            file_system.rm_file(f"{root}/{name}")

    def remove(self, names: Iterable[str]) -> None:
        """Delete files of a URL."""
        file_system, root = self._opened
        with self._named_errors():
            for name in names:
                file_system.rm_file(f"{root}/{name}")

    def read(self, name: str) -> bytes:
        """Read a file."""
        if self.folder is not None:
            return (self.folder / name).read_bytes()
        file_system, path = self._opened
        with self._named_errors():
            return file_system.cat_file(f"{path}/{name}")

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a temporary path, and move the file into place if the block succeeds."""
        if self.folder is not None:
            with replacing(self.folder / name) as path:
                yield path
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(name).name
            yield path
            self.put(path, name)

    def put(self, path: Path, name: str) -> None:
        """Copy a file from disk to a URL."""
        file_system, root = self._opened
        with self._named_errors():
            file_system.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
            file_system.put_file(str(path), f"{root}/{name}")

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Turn the errors of a file system into one of a line."""
        try:
            yield
        except Exception as error:  # each file system has its own
            words = " ".join(f"{type(error).__name__}: {error}".split())
            raise BuildError(f"{self.url}: cannot be written to or listed ({words}); run it again to resume") from error
