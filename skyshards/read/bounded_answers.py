"""Answers of HTTP servers that are read no further than what was asked for, and waited for as long as is sensible."""

from __future__ import annotations

import asyncio
import re
import time

import aiohttp

from skyshards.fetch import answers

LARGEST_FILE = 1 << 30
"""Bytes of a file that is read whole: `catalog.parquet` and `sources.parquet`."""
LARGEST_PAGE = 1 << 16
"""So much of an error is read, and of what comes in place of a shorter range, since it may be a login page."""
TIMEOUT = 60.0
"""Seconds for a connection, for all headers together, and between two blocks of a body."""


class BoundedResponse(aiohttp.ClientResponse):
    """An answer of which one byte more than the range asked for is read, so that its length tells that it is not that.

    Without a range, a body as long as `LARGEST_FILE` raises `ValueError`. `TimeoutError` is raised for headers that
    take longer than `TIMEOUT`, and for a body slower than `skyshards.fetch.answers.LEAST_SPEED`.
    """

    async def start(self, connection) -> BoundedResponse:
        async with asyncio.timeout(TIMEOUT):
            await super().start(connection)
        return self

    async def read(self) -> bytes:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.request_info.headers.get("Range", ""))
        if is_whole := self.status < 400 and not asked:
            most = LARGEST_FILE
        else:
            most = max(LARGEST_PAGE, int(asked[2]) - int(asked[1]) + 2) if asked else LARGEST_PAGE
        blocks, left, judged, since = [], most, most, time.monotonic()
        async for block in self.content.iter_any():
            blocks.append(block[:left])
            left -= len(blocks[-1])
            if left == 0:
                self.close()
                break
            if (elapsed := time.monotonic() - since) >= answers.SPEED_WINDOW:
                if judged - left < answers.LEAST_SPEED * elapsed:
                    raise TimeoutError(f"slower than {answers.LEAST_SPEED:.0f} bytes a second")
                judged, since = left, time.monotonic()
        if left == 0 and is_whole:
            raise ValueError(f"longer than the {most:,} bytes expected at most")
        return b"".join(blocks)


def client_options() -> dict:
    """Options of an `aiohttp.ClientSession` that reads answers in this way."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT, sock_read=TIMEOUT)
    return {"response_class": BoundedResponse, "timeout": timeout}
