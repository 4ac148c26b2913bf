"""The destination of an export: a folder or an fsspec URL. Files appear there only when complete."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from skyshards.files import replacing


@dataclass(frozen=True)
class Place:
    """A folder, or a URL with the options of its file system."""

    url: str
    storage_options: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def _opened(self) -> tuple[fsspec.AbstractFileSystem, str]:
        return fsspec.core.url_to_fs(self.url, **self.storage_options)

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
        return {name.removeprefix(root) for name in file_system.find(path)} if file_system.exists(path) else set()

    def read(self, name: str) -> bytes:
        """Read a file."""
        if self.folder is not None:
            return (self.folder / name).read_bytes()
        file_system, path = self._opened
        return file_system.cat_file(f"{path}/{name}")

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a temporary path, and move the file into place if the block succeeds."""
        if self.folder is not None:
            with replacing(self.folder / name) as path:
                yield path
            return
        file_system, root = self._opened
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(name).name
            yield path
            file_system.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
            file_system.put_file(str(path), f"{root}/{name}")
