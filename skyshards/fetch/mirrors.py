"""Requests for many small things from a public service: tried again, never too often, believed only once checked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

import requests
from urllib3 import HTTPResponse, Retry
from urllib3.exceptions import HTTPError

from gz_sdss.image_checks import BrokenImage
from skyshards.errors import FetchError
from skyshards.fetch.client import RETRY_STATUSES, Fetcher
from skyshards.fetch.rate import RateLimit
from skyshards.fetch.waiting import pause

LONGEST_WAIT = 3600.0
"""A server that asks for a longer wait (seconds) is not asked again for this image."""
BLOCK = 1 << 18


class PoliteClient:
    """GET requests from many threads, one session a thread.

    Parameters
    ----------
    rate : float
        Requests a second, over all threads and counting every try; 0 for no limit.
    timeout : float
        Seconds without a byte after which a try has failed.
    """

    def __init__(self, rate: float = 0.0, timeout: float = 60.0):
        self.limit = RateLimit(rate)
        self._fetcher = Fetcher(timeout=timeout, retries=0)  # the tries are counted here, where the rate is kept
        self._first = 0

    def get(
        self,
        urls: Sequence[str],
        check: Callable[[bytes], object],
        max_retries: int = 5,
        delay: float = 2.0,
        max_bytes: int = 1 << 30,
    ) -> bytes:
        """The body of the first answer that passes the check.

        Parameters
        ----------
        urls : sequence of str
            One address, and its mirrors: the next is tried when one is down, and first from then on.
        check : callable
            Raises `BrokenImage` for a body that another try may mend, another `FetchError` for one that is what it is.
        max_retries : int
            Tries after the first round over all addresses.
        delay : float
            Seconds before the second round, doubled for each after that, 60 at most. A `Retry-After` takes its place,
            and then all threads wait.
        max_bytes : int
            A longer body is refused.

        Raises
        ------
        FetchError
            With the address, the service's own message where it gave one, and how often it was tried.
        """
        tries = 0
        for round_ in range(max_retries + 1):
            wait = None
            for number in range(self._first, self._first + len(urls)):
                url = urls[number % len(urls)]
                tries += 1
                try:
                    content = self._get_once(url, max_bytes)
                    check(content)
                except _Refused as error:
                    wait, reason = error.retry_after, f"{url}: {error}"
                    if error.is_busy:  # not down: its mirror is no way around that
                        break
                except BrokenImage as error:
                    reason = f"{url}: {error}"
                except FetchError as error:
                    raise FetchError(f"{url}: {error}") from error
                else:
                    self._first = number % len(urls)
                    return content
            if wait is not None:
                self.limit.hold(min(wait, LONGEST_WAIT))
                if wait > LONGEST_WAIT:
                    raise FetchError(f"{reason}; it asks to wait {wait:.0f} s: run the same command again after that")
            elif round_ < max_retries:
                pause(min(delay * 2**round_, 60.0))
        raise FetchError(f"{reason}; tried {tries} times")

    def _get_once(self, url: str, max_bytes: int) -> bytes:
        self.limit.wait()
        try:
            with self._fetcher.session.get(url, stream=True, timeout=self._fetcher.timeout) as response:
                content = _read(response, max_bytes)
        except (requests.RequestException, HTTPError) as error:
            raise _Refused(plainly(error)) from error
        if response.status_code == 200:
            return content
        message = f"HTTP status {response.status_code}{explanation(content)}"
        if response.status_code in RETRY_STATUSES:
            retry_after = _retry_after(response.raw)
            raise _Refused(message, retry_after, is_busy=response.status_code == 429 or retry_after is not None)
        raise FetchError(message)


class _Refused(FetchError):
    """No answer this time; there may be one later."""

    def __init__(self, message: str, retry_after: float | None = None, is_busy: bool = False):
        super().__init__(message)
        self.retry_after, self.is_busy = retry_after, is_busy


def _read(response: requests.Response, max_bytes: int) -> bytes:
    blocks, received = [], 0
    for block in response.iter_content(BLOCK):
        received += len(block)
        if received > max_bytes:
            raise FetchError(f"longer than the {max_bytes} bytes expected at most")
        blocks.append(block)
    return b"".join(blocks)


def _retry_after(raw: HTTPResponse) -> float | None:
    """Seconds that the header `Retry-After` asks for, whether it gives a number or a date."""
    try:
        return Retry().get_retry_after(raw)
    except HTTPError:
        return None


def plainly(error: Exception) -> str:
    """The innermost cause, without the addresses of objects that the libraries put into theirs."""
    while error.args and isinstance(error.args[0], Exception):
        error = getattr(error.args[0], "reason", None) or error.args[0]
    text = str(error).partition("): ")[2] or str(error)
    return f"{type(error).__name__}: {text}"


def explanation(content: bytes) -> str:
    """What a service says of an error, for the end of a message: ": title: description" of JSON, or its text."""
    try:
        answer = json.loads(content)
        words = [answer[key] for key in ("title", "description") if answer.get(key)]
    except (ValueError, AttributeError, UnicodeDecodeError):
        text = re.sub(r"<[^>]*>", " ", content.decode("utf-8", "replace"))
        words = [" ".join(text.split())[:300]]
    return "".join(f": {word}" for word in words if word)
