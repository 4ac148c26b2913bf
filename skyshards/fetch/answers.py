"""What comes back from a server: bodies read within bounds, how long it asks to wait, and what it says of errors."""

from __future__ import annotations

import calendar
import json
import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_tz

import requests
from urllib3.exceptions import HTTPError

from skyshards.errors import BrokenAnswer, FetchError

BLOCK = 1 << 16
LEAST_SPEED = 1000.0
"""A body slower than this (bytes a second, over `SPEED_WINDOW`) is asked for again."""
SPEED_WINDOW = 60.0
"""Seconds over which a body's speed is judged."""
UNTITLED = "without a title"
_CONNECTION = re.compile(r"^(?:\S+\(.*?\)|<.*? object at 0x\w+>): ")
"""How urllib3 begins what it says of a connection, from 2.6 on and before."""
PAGE_STARTS = (b"<!doctype html", b"<html", b"<head", b"<body")


def body(response: requests.Response, max_bytes: int, decode: bool = False) -> Iterator[bytes]:
    """Blocks of a body, as they arrive.

    Parameters
    ----------
    max_bytes : int
        Bound; it is at most one block behind.
    decode : bool
        Inflate what is sent with a `Content-Encoding`; else the bytes are given as they come.

    Raises
    ------
    BrokenAnswer
        It breaks off, cannot be inflated, or is slower than `LEAST_SPEED`.
    FetchError
        It is longer than allowed.
    """
    received, judged, since = 0, 0, time.monotonic()
    while True:
        try:
            block = response.raw.read1(BLOCK, decode_content=decode)
        except HTTPError as error:
            raise BrokenAnswer(reason(error)) from error
        if not block:
            return
        yield block
        received += len(block)
        if received > max_bytes:
            raise FetchError(f"longer than the {max_bytes} bytes expected at most")
        if (elapsed := time.monotonic() - since) >= SPEED_WINDOW:
            if received - judged < LEAST_SPEED * elapsed:
                raise BrokenAnswer(f"slower than {LEAST_SPEED:.0f} bytes a second over {SPEED_WINDOW:.0f} s")
            judged, since = received, time.monotonic()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for, as a number or a date; None where it is absent, past or nonsense."""
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\+?(\d+\.?\d*|\.\d+)", text):
        seconds = float(text)
    elif (date := parsedate_tz(text)) is not None:
        try:
            seconds = calendar.timegm(date) - (date[9] or 0) - time.time()
        except (ValueError, OverflowError):  # a year that the calendar does not have
            seconds = float("inf") if date[0] > 9999 else 0.0
    else:
        return None
    return seconds if seconds > 0 else None


def page_title(content: bytes) -> str | None:
    """What an HTML page, such as one to log in, calls itself; None for what is no HTML page."""
    if not content[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(PAGE_STARTS):
        return None
    title = re.search(rb"<title[^>]*>([^<]*)", content[: 1 << 16], re.IGNORECASE)
    return (one_line(title[1].decode("utf-8", "replace")) if title else "") or UNTITLED


def explanation(content: bytes) -> str:
    """What a service says of an error, for the end of a message: of JSON ": title: description", else all its text."""
    try:
        answer = json.loads(content)
        words = [str(answer[key]) for key in ("title", "description", "message") if answer.get(key)]
    except (ValueError, AttributeError):
        title = page_title(content)
        words = [title if title not in (None, UNTITLED) else re.sub("<[^>]*>", " ", content.decode("utf-8", "replace"))]
    return "".join(f": {line}" for word in words if (line := one_line(word)))


def one_line(text: str) -> str:
    """Text from elsewhere, safe to print: blanks for whatever cannot be seen, 300 characters at most."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:300]


def reason(error: Exception) -> str:
    """The innermost cause in words: what urllib3 and requests wrap is long and names object addresses."""
    while (inner := getattr(error, "reason", None) or (error.args[0] if error.args else None)) is not None:
        if not isinstance(inner, Exception):
            break
        error = inner
    return f"{type(error).__name__}: {_CONNECTION.sub('', str(error))}"
