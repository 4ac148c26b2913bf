"""Files that the demo archive serves, made on first request and then kept on disk."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from demo_archive.serve.server import Response


class Files:
    """Thread-safe folder of files that are made on first request.

    Parameters
    ----------
    folder : Path
        Created if missing.
    makers : dict of name -> function
        Functions that return the bytes of each file, the same every time.
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
        """Path of a file, which is made if missing."""
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


def autoindex(folder: str, names: Iterable[str]) -> Response:
    """Make a folder's page like nginx's autoindex: long names are truncated in the text, never in the link.

    Sizes are left out ("-", as nginx shows for folders), because they would need every file to be made.
    """
    lines = ['<a href="../">../</a>']
    for name in sorted(names):
        text = name if len(name) <= 50 else f"{name[:47]}..&gt;"
        blank = " " * max(0, 51 - len(name))
        lines.append(f'<a href="{name}">{text}</a>{blank}08-Dec-2021 21:46{"-":>20}')
    title = f"Index of {folder}"
    head = f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<h1>{title}</h1><hr><pre>"
    return Response((head + "\r\n".join(lines) + "\r\n</pre><hr></body>\r\n</html>\r\n").encode(), "text/html")
