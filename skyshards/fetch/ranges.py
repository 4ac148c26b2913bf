"""Remote files as file objects, read on demand by HTTP range requests."""

from __future__ import annotations

import io

from skyshards.errors import BrokenAnswer, FetchError
from skyshards.fetch.answers import body
from skyshards.fetch.client import Fetcher, naming
from skyshards.fetch.resume import content_range, mark_of


class NoRanges(FetchError):
    """The server does not support range requests, or does not state the length of the file."""


class RemoteFile(io.RawIOBase):
    """Read-only file object for a URL, which fetches byte ranges on demand.

    Parameters
    ----------
    url : str
    fetcher : Fetcher

    Raises
    ------
    NoRanges
        The server does not support range requests.
    FetchError
        A range could not be fetched, or the file has changed since the first one.
    """

    def __init__(self, url: str, fetcher: Fetcher):
        self.url, self._fetcher, self._position = url, fetcher, 0
        self._length = 0
        self._whole: tuple[int, str | None] | None = None
        """Its length, and what tells this state of the file from others, once the first range has come."""
        self._read(0, 1)

    def _read(self, start: int, stop: int) -> bytes:
        with naming(self.url):
            return self._fetcher.until_whole(self.url, lambda: self._read_once(start, stop))

    def _read_once(self, start: int, stop: int) -> bytes:
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        with self._fetcher.open(self.url, expect_200=False, headers=headers) as response:
            status, (first, total) = response.status_code, content_range(response.headers)
            if status == 200 and (start, stop) == (0, self._length):
                status, first, total = 206, start, stop  # the whole file was requested
            if status != 206 or first != start or total is None or "Content-Encoding" in response.headers:
                found = response.headers.get("Content-Range", "no Content-Range")
                raise NoRanges(f"the server gives no byte ranges (HTTP status {status}, {found})")
            whole = total, mark_of(response.headers)
            if whole != (self._whole or whole):
                raise FetchError("the file has changed on the server while it was read; run the same command again")
            self._length, self._whole = total, whole
            content = b"".join(body(response, stop - start))
        if len(content) != stop - start:
            raise BrokenAnswer(f"asked for {stop - start} bytes from {start}, got {len(content)}")
        return content

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer) -> int:
        stop = min(self._position + len(buffer), self._length)
        if stop <= self._position:
            return 0
        content = self._read(self._position, stop)
        buffer[: len(content)] = content
        self._position = stop
        return len(content)
