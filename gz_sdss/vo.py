"""What all Virtual Observatory services need: sessions whose requests have a time-out, and the server's own words."""

from __future__ import annotations

import contextlib
import gzip
import io
import warnings
import zlib
from collections.abc import Iterator

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
"""Seconds without a byte: some services accept a connection and then never answer."""
MAX_ANSWER = 64 << 20
"""Bound on an answer, inflated, in bytes; a page of 50,000 rows of the catalogue is some 30 MB."""
TOO_MUCH = "ask for fewer rows or columns, or see whether the address is right"


class _Body(io.BytesIO):
    """A body that has arrived, read in the way of one that is arriving."""

    def read(self, size: int = -1, decode_content: bool | None = None) -> bytes:
        return super().read(size)


def _take_whole(response: requests.Response) -> None:
    """Read the whole body at once: pyvo leaves off when the XML ends, and the connection open.

    One that is gzip, and does not say so, is inflated; one that would take too much memory is refused.
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


def vo_session(timeout: float = TIMEOUT, retries: int = 3, limit: RateLimit | None = None) -> requests.Session:
    """A session to give to pyvo's services: every request has a time-out (s), and is tried again after a 429 or 503,
    a reset, or a body that breaks off.

    All tries count to the limit, if one is given.
    """
    return Fetcher(timeout=timeout, retries=retries, limit=limit, on_wait=waiting).retrying_session(_take_whole)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Hide what pyvo warns of: overflow, which is looked for, and XML that is not quite right. For one thread alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VOWarning)
        warnings.simplefilter("ignore", DALOverflowWarning)
        yield


@contextlib.contextmanager
def server_errors(url: str, kind: type[SkyshardsError]) -> Iterator[None]:
    """Turn what pyvo raises into an error of ours, with the server's own message."""
    try:
        yield
    except DALAccessError as error:
        raise kind(f"{url}: {_words(error)}") from error
    except requests.RequestException as error:
        raise kind(f"{url}: {reason(error)}") from error
    except (OSError, ValueError, IndexError, AttributeError, KeyError) as error:
        # An answer that is no VOTable, or half of one, makes the parsers raise all of these.
        raise kind(f"{url}: no answer that can be read: {type(error).__name__}: {error}") from error


def _words(error: DALAccessError) -> str:
    """The server's message, also where it came in the body of an HTTP error, of which pyvo keeps the status alone."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, requests.RequestException):
        content = cause.response.content if cause.response is not None else b""
        return f"{cause}{explanation(content)}" if content else reason(cause)
    return " ".join(str(error).split()) or type(error).__name__
