"""Bound how much of an HTTP response is read, whatever the server sends."""

from __future__ import annotations

import re

import aiohttp

LARGEST_FILE = 1 << 30
"""Maximum bytes of a file that is read whole: `catalog.parquet` and `sources.parquet`."""
LARGEST_PAGE = 1 << 16
"""Bytes read at most of an error, or in place of a shorter range (which may be a login page)."""


class BoundedResponse(aiohttp.ClientResponse):
    """A response that stops one byte past the requested range, so that an oversized body shows by its length.

    Without a range, a body of `LARGEST_FILE` bytes raises `ValueError`.
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
