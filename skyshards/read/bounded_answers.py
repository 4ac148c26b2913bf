"""Answers of HTTP servers that are read no further than what was asked for, whatever is sent."""

from __future__ import annotations

import re

import aiohttp

LARGEST_FILE = 1 << 30
"""Bytes of a file that is read whole: `catalog.parquet` and `sources.parquet`."""
LARGEST_PAGE = 1 << 16
"""So much of an error is read, and of what comes in place of a shorter range, since it may be a login page."""


class BoundedResponse(aiohttp.ClientResponse):
    """An answer of which one byte more than the range asked for is read, so that its length tells that it is not that.

    Without a range, a body as long as `LARGEST_FILE` raises `ValueError`.
    """

    async def read(self) -> bytes:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.request_info.headers.get("Range", ""))
        if is_whole := self.status < 400 and not asked:
            most = LARGEST_FILE
        else:
            most = max(LARGEST_PAGE, int(asked[2]) - int(asked[1]) + 2) if asked else LARGEST_PAGE
        blocks, left = [], most
        async for block in self.content.iter_any():
            blocks.append(block[:left])
            left -= len(blocks[-1])
            if left == 0:
                self.close()
                break
        if left == 0 and is_whole:
            raise ValueError(f"longer than the {most:,} bytes expected at most")
        return b"".join(blocks)
