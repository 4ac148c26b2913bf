"""Common to all Virtual Observatory services: sessions with time-outs, and the server's own error messages."""

from __future__ import annotations

import contextlib
import gzip
import io
import warnings
import zlib
from collections.abc import Callable, Iterator

import requests
from astropy.io.votable.exceptions import VOWarning
from pyvo.dal.exceptions import DALAccessError, DALOverflowWarning

from gz_sdss.votable_bounds import check_votable
from skyshards.errors import BrokenAnswer, FetchError, SkyshardsError
from skyshards.fetch.answers import GZIP, body, explanation, reason
from skyshards.fetch.client import Fetcher
from skyshards.fetch.rate import RateLimit
from skyshards.files import inflated
from skyshards.progress import waiting

TIMEOUT = 60.0
"""Maximum seconds without a byte; some services accept a connection and never respond."""
MAX_ANSWER = 64 << 20
"""Maximum inflated size of a response, bytes; a page of 50,000 catalogue rows is some 30 MB."""
TOO_MUCH = "ask for fewer rows or columns, or see whether the address is right"


class _Body(io.BytesIO):
    """Complete body with the interface of a streamed one."""

    def read(self, size: int | None = -1, decode_content: bool | None = None) -> bytes:
        return super().read(size)


def _take_whole(response: requests.Response) -> None:
    """Read the whole body at once, because pyvo stops at the end of the XML and leaves the connection open.

    Undeclared gzip is inflated; a body that would take too much memory is refused.
    """
    content = _Body()
    try:
        for block in body(response, MAX_ANSWER, decode=True):
            content.write(block)
        if content.getbuffer()[:2] == GZIP:
            content = _Body(inflated(content.getvalue(), MAX_ANSWER))
        check_votable(content.getbuffer())
    except BrokenAnswer as error:
        raise requests.ConnectionError(str(error)) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise requests.exceptions.ContentDecodingError(str(error)) from error
    except (FetchError, OSError) as error:
        raise requests.exceptions.ContentDecodingError(f"{error}; {TOO_MUCH}") from error
    content.seek(0)
    response.raw = content


def vo_session(
    timeout: float = TIMEOUT, retries: int = 3, limit: RateLimit | None = None, on_wait: Callable = waiting
) -> requests.Session:
    """Create a session for pyvo's services, with a time-out (s) on every request and retries after a 429 or 503, a
    reset, or a truncated body.

    All tries count towards the limit, if one is given; waits are reported by `on_wait`, as those of a `Fetcher`.
    """
    return Fetcher(timeout=timeout, retries=retries, limit=limit, on_wait=on_wait).retrying_session(_take_whole)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Hide pyvo's warnings about overflow, which is checked, and slightly invalid XML. Not thread-safe."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VOWarning)
        warnings.simplefilter("ignore", DALOverflowWarning)
        yield


@contextlib.contextmanager
def server_errors(url: str, kind: type[SkyshardsError]) -> Iterator[None]:
    """Convert pyvo's exceptions to ours, with the server's own message."""
    try:
        yield
    except DALAccessError as error:
        raise kind(f"{url}: {_words(error)}") from error
    except requests.RequestException as error:
        raise kind(f"{url}: {reason(error)}") from error
    except (OSError, ValueError, IndexError, AttributeError, KeyError) as error:
        # The parsers raise all of these for a response that is not a VOTable, or truncated.
        raise kind(f"{url}: unreadable response: {type(error).__name__}: {error}") from error


def _words(error: DALAccessError) -> str:
    """The server's message, also from the body of an HTTP error, of which pyvo keeps only the status."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, requests.RequestException):
        content = cause.response.content if cause.response is not None else b""
        return f"{cause}{explanation(content)}" if content else reason(cause)
    return " ".join(str(error).split()) or type(error).__name__
