"""Verified downloads of files, resumed after an interruption if the server's file has not changed."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from skyshards.errors import BrokenAnswer, FetchError
from skyshards.fetch.answers import body, page_title
from skyshards.fetch.waiting import pause
from skyshards.files import file_digest, replacing

if TYPE_CHECKING:
    import requests

    from skyshards.fetch.client import Fetcher

PROGRESS = 1 << 20
"""A try that brings this many new bytes resets the retry counter: large files may break off often."""
PACKED = (".gz", ".tgz", ".bz2", ".xz", ".zip")
"""Compressed files are stored as sent: many servers wrongly add a `Content-Encoding` to them."""


@dataclass(frozen=True)
class Wanted:
    """A file to fetch, with its checksum ("md5:…", "sha1:…" or "sha256:…") and size in bytes if known."""

    url: str
    checksum: str | None
    size: int | None
    max_bytes: int

    def flaw_in(self, path: Path) -> str | None:
        """Describe why a file is not this one; None if size and checksum match as far as they are known."""
        if self.size not in (None, path.stat().st_size):
            return f"{path.stat().st_size} bytes long, expected {self.size}"
        if self.checksum is not None:
            algorithm, _, expected = self.checksum.partition(":")
            if (found := file_digest(path, algorithm)) != expected.lower():
                return f"wrong checksum: expected {self.checksum}, found {algorithm}:{found}"
        return None


@dataclass
class Part:
    """Received part of a file, in `path`, with the server's mark of that file (a strong ETag, or Last-Modified).

    If `lasting`, `note` beside it stores URL, checksum and mark, from before the first byte.
    """

    path: Path
    lasting: bool
    mark: str | None = None
    inflated: bool = False
    note: Path = field(init=False)

    def __post_init__(self) -> None:
        self.note = self.path.with_name(f"{self.path.name}.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def take_up(self, wanted: Wanted) -> None:
        """Keep the part of an earlier run if it can be the beginning of the wanted file."""
        try:
            known = json.loads(self.note.read_text())
            self.mark = known["mark"] if known["url"] == wanted.url else None
            may_be = wanted.checksum == known["checksum"]
        except (OSError, ValueError, KeyError, TypeError):
            may_be = True
        if self.path.is_symlink() or self.note.is_symlink():  # never write through a link
            may_be, self.mark = False, None
        if not (self.mark or (wanted.checksum and may_be)):
            self.drop()

    def begin(self, wanted: Wanted, mark: str | None, inflated: bool) -> None:
        """Start over, for a file with this mark."""
        self.drop()
        self.mark, self.inflated = mark, inflated
        if self.lasting:
            with replacing(self.note) as temporary:
                temporary.write_text(json.dumps({"url": wanted.url, "checksum": wanted.checksum, "mark": mark}))

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.mark = None


def download(fetcher: Fetcher, wanted: Wanted, path: Path, keep_part: bool) -> Path:
    """Download a file; see `Fetcher.download`."""
    part = Part(path.with_name(f"{path.name}.part"), lasting=True)
    if path.exists() and wanted.flaw_in(path) is None:
        if keep_part:
            part.drop()  # the note of a run killed just after the rename
        return path
    if not keep_part:
        with replacing(path) as temporary:
            _fill(fetcher, wanted, Part(temporary, lasting=False), path.name)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part.take_up(wanted)
    _fill(fetcher, wanted, part, path.name)
    os.replace(part.path, path)
    part.drop()
    return path


def _fill(fetcher: Fetcher, wanted: Wanted, part: Part, name: str) -> None:
    """Fetch the missing bytes, with retries, until the file is complete and verified."""
    tries, furthest = fetcher.tries(), part.size
    while True:
        try:
            _fetch_rest(fetcher, wanted, part, name)
            if flaw := wanted.flaw_in(part.path):
                part.drop()
                raise BrokenAnswer(flaw)
            return
        except BrokenAnswer as error:
            if part.size >= furthest + PROGRESS:
                tries, furthest = fetcher.tries(), part.size
            if not tries.left:
                kept = "; run the same command again, it goes on where this one stopped"
                raise FetchError(f"{error}{kept if part.lasting and part.size else ''}") from error
            tries.wait(wanted.url, error)


def _fetch_rest(fetcher: Fetcher, wanted: Wanted, part: Part, name: str) -> None:
    """Request the bytes from the end of the part on, or all of them if the server does not support that."""
    headers = {"Accept-Encoding": "identity"}
    # Without mark and checksum, the rest could be of a different file.
    start = part.size if (part.mark or wanted.checksum) and not part.inflated else 0
    if start and start == wanted.size:
        return
    if start:
        ranged = headers | {"Range": f"bytes={start}-"} | ({"If-Range": part.mark} if part.mark else {})
        with fetcher.open(wanted.url, expect_200=False, headers=ranged) as response:
            first, total = content_range(response.headers)
            if response.status_code == 416 and total == start:  # killed after the last byte
                return
            if response.status_code == 200:
                return _write(fetcher, wanted, part, response, 0, None, name)
            if response.status_code == 206 and first == start and mark_of(response.headers) in (part.mark, None):
                return _write(fetcher, wanted, part, response, start, total, name)
    with fetcher.open(wanted.url, headers=headers) as response:
        _write(fetcher, wanted, part, response, 0, None, name)


def _write(
    fetcher: Fetcher,
    wanted: Wanted,
    part: Part,
    response: requests.Response,
    start: int,
    total: int | None,
    name: str,
) -> None:
    """Write a body to the part from byte `start` on. Raises `BrokenAnswer` if it is not as announced."""
    decode = "Content-Encoding" in response.headers and not name.lower().endswith(PACKED)
    length = response.headers.get("Content-Length", "")
    if total is None and not decode and re.fullmatch("[0-9]{1,18}", length):
        total = start + int(length)
    if wanted.size is None and total is not None and total > wanted.max_bytes:
        raise FetchError(f"{total} bytes long, expected at most {wanted.max_bytes}")
    most = wanted.max_bytes if wanted.size is None else wanted.size
    blocks = body(response, most - start, decode)
    block = next(blocks, b"")
    if not start:
        if (title := page_title(block)) and not name.endswith((".html", ".htm")):
            raise BrokenAnswer(f"an HTML page ({title}) came in its place")
        part.begin(wanted, None if decode else mark_of(response.headers), decode)
    done = start
    shown = fetcher.progress(name, "B", total, start) if fetcher.progress and part.lasting else None
    # Each byte at its own place: in a cluster, a worker that is thought dead may write the same ones.
    with open(part.path, "r+b" if start else "wb") as file, shown or contextlib.nullcontext() as bar:
        file.seek(start)
        while block:
            file.write(block)
            done += len(block)
            if bar is not None:
                bar.update(len(block))
            if part.lasting:  # let a stopping build interrupt the download
                pause()
            block = next(blocks, b"")
    if total is not None and done != total:
        raise BrokenAnswer(f"body ended after {done} of {total} bytes")
    if part.size != done:
        raise BrokenAnswer(f"{part.path}: expected the {done} bytes written to it, found {part.size}")


def content_range(headers: Mapping[str, str]) -> tuple[int | None, int | None]:
    """First byte and total length from `Content-Range`; None where missing."""
    found = re.fullmatch(
        r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(?:(\d{1,18})|\*)", headers.get("Content-Range", "").strip()
    )
    first, total = found.groups() if found else (None, None)
    return int(first) if first else None, int(total) if total else None


def mark_of(headers: Mapping[str, str]) -> str | None:
    """Identifier of a file's version: its strong ETag, or Last-Modified."""
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified")
