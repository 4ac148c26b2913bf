"""Files that the demo archive serves: made when they are first asked for, and kept on disk after."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path


class Files:
    """A folder of files that come into being when they are asked for, each one once, whatever thread asks.

    Parameters
    ----------
    folder : Path
        Where they are kept; made if need be.
    makers : dict of name -> function
        What makes the bytes of each file. It must give the same bytes every time.
    """

    def __init__(self, folder: Path, makers: Mapping[str, Callable[[], bytes]]) -> None:
        self._folder = folder
        self._makers = dict(makers)
        self._locks = {name: threading.Lock() for name in makers}
        self._made: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._makers))

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def path(self, name: str) -> Path:
        """Where a file is, now that it exists."""
        path = self._folder / name
        with self._locks[name]:
            if name not in self._made:
                path.write_bytes(self._makers[name]())
                self._made.add(name)
        return path

    def digest(self, name: str, algorithm: str) -> str:
        """Hexadecimal digest of a file's bytes."""
        with self.path(name).open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
