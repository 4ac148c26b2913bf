"""Server responses: size-limited bodies, `Retry-After`, and error messages."""

from __future__ import annotations

import calendar
import json
import re
import time
import zlib
from collections.abc import Iterator, Mapping
from email.utils import parsedate_tz

import requests
from urllib3.exceptions import HTTPError

from skyshards.errors import BrokenAnswer, FetchError

BLOCK = 1 << 16
ENCODINGS = ("gzip", "x-gzip", "deflate")
"""Supported values of `Content-Encoding`."""
GZIP, ANY_ZLIB = b"\x1f\x8b", 47
"""First bytes of a gzip member; zlib's `wbits` that detects gzip and zlib."""
LEAST_SPEED = 1000.0
"""A body slower than this (bytes per second, averaged over `SPEED_WINDOW`) is requested again."""
SPEED_WINDOW = 60.0
"""Seconds over which a body's speed is averaged."""
UNTITLED = "without a title"
_CONNECTION = re.compile(r"^(?:\S+\(.*?\)|<.*? object at 0x\w+>): ")
"""Prefix of urllib3's messages about connections, from 2.6 on and before."""
PAGE_STARTS = (b"<!doctype html", b"<html", b"<head", b"<body")


def body(response: requests.Response, max_bytes: int, decode: bool = False) -> Iterator[bytes]:
    """Yield the blocks of a body as they arrive.

    Parameters
    ----------
    response : requests.Response
        Opened with `stream=True`.
    max_bytes : int
        Maximum length, exceeded by at most one block before the error.
    decode : bool
        Decompress a body with a `Content-Encoding`; otherwise, yield the bytes as sent.

    Yields
    ------
    bytes

    Raises
    ------
    BrokenAnswer
        The body breaks off, cannot be decompressed, or is slower than `LEAST_SPEED`.
    FetchError
        The body is too long, or its `Content-Encoding` is not supported.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower() if decode else ""
    inflater = Inflater(encoding) if encoding not in ("", "identity") else None
    received, given, judged, since = 0, 0, 0, time.monotonic()
    while True:
        try:
            block = response.raw.read1(BLOCK, decode_content=False)
        except HTTPError as error:
            raise BrokenAnswer(reason(error)) from error
        if not block:
            if inflater is not None:
                inflater.end()
            return
        received += len(block)
        for piece in (block,) if inflater is None else inflater.inflate(block):
            yield piece
            given += len(piece)
            if max(received, given) > max_bytes:
                raise FetchError(f"longer than the {max_bytes} bytes expected at most")
        if (elapsed := time.monotonic() - since) >= SPEED_WINDOW:
            if received - judged < LEAST_SPEED * elapsed:
                raise BrokenAnswer(f"slower than {LEAST_SPEED:.0f} bytes a second over {SPEED_WINDOW:.0f} s")
            judged, since = received, time.monotonic()


class Inflater:
    """Block-by-block decompression in bounded memory: pieces of at most `BLOCK` bytes, even from a zip bomb.

    urllib3 instead reads on until there is output: forever, if a gzip header never ends.
    """

    def __init__(self, encoding: str):
        if encoding not in ENCODINGS:
            raise FetchError(f"Content-Encoding: {one_line(encoding)}; expected {', '.join(ENCODINGS)} or none")
        self._stream = zlib.decompressobj(ANY_ZLIB)
        self._began = False

    def inflate(self, block: bytes) -> Iterator[bytes]:
        """Decompress a block and yield pieces, the last of which may be empty."""
        piece = b""
        while block or len(piece) == BLOCK:
            if self._stream.eof:
                if not block.startswith(GZIP):  # ignore trailing bytes
                    break
                self._stream = zlib.decompressobj(ANY_ZLIB)
            self._began = True
            try:
                piece = self._stream.decompress(block, BLOCK)
            except zlib.error as error:
                raise BrokenAnswer(f"cannot be inflated: {error}") from error
            yield piece
            block = self._stream.unconsumed_tail or self._stream.unused_data

    def end(self) -> None:
        """Raise `BrokenAnswer` if the body broke off."""
        if self._began and not self._stream.eof:
            raise BrokenAnswer("cannot be inflated: it breaks off")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by `Retry-After`, a number or a date; None if it is absent, past or invalid."""
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\+?(\d+\.?\d*|\.\d+)", text):
        seconds = float(text)
    elif (date := parsedate_tz(text)) is not None:
        try:
            seconds = calendar.timegm(date[:9]) - (date[9] or 0) - time.time()
        except (ValueError, OverflowError):  # a year out of range
            seconds = float("inf") if date[0] > 9999 else 0.0
    else:
        return None
    return seconds if seconds > 0 else None


def page_title(content: bytes) -> str | None:
    """Title of an HTML page, such as a login page; None if the content is not HTML."""
    if not content[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(PAGE_STARTS):
        return None
    title = re.search(rb"<title[^>]*>([^<]*)", content[: 1 << 16], re.IGNORECASE)
    return (one_line(title[1].decode("utf-8", "replace")) if title else "") or UNTITLED


def explanation(content: bytes) -> str:
    """A service's explanation of an error, as the end of a message: ": title: description" from JSON, or its text."""
    try:
        answer = json.loads(content)
        words = [str(answer[key]) for key in ("title", "description", "message") if answer.get(key)]
    except (ValueError, AttributeError):
        title = page_title(content)
        words = [title if title not in (None, UNTITLED) else re.sub("<[^>]*>", " ", content.decode("utf-8", "replace"))]
    return "".join(f": {line}" for word in words if (line := one_line(word)))


def one_line(text: str) -> str:
    """Make external text safe to print: one line, at most 300 characters, blanks for unprintable ones."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:300]


def reason(error: Exception) -> str:
    """Describe the innermost cause of an error, without the wrappers and object addresses of urllib3 and requests."""
    while (inner := getattr(error, "reason", None) or (error.args[0] if error.args else None)) is not None:
        if not isinstance(inner, Exception):
            break
        error = inner
    return f"{type(error).__name__}: {_CONNECTION.sub('', str(error))}"
