"""HTTP: the one place that opens sessions. Polite, patient within bounds, and never content with a partial file."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from skyshards.errors import BrokenAnswer, FetchError
from skyshards.fetch import resume
from skyshards.fetch.answers import body, explanation, one_line, reason, retry_after
from skyshards.fetch.deadlines import with_deadlines
from skyshards.fetch.rate import RateLimit
from skyshards.fetch.waiting import pause
from skyshards.version import __version__

RETRY_STATUSES = (429, 500, 502, 503, 504)
LONGEST_WAIT = 3600.0
"""Seconds: a `Retry-After` beyond this is cut to it."""
LONGEST_BACKOFF = 60.0
MAX_WORDS = 1 << 16
"""Bytes of an error's page that are read."""
MAX_PAGE = 256 << 20
"""Bound on a page or listing, inflated, in bytes: the names and links of a million files."""
MAX_FILE = 4 << 30
"""Bound on a file of which nothing else is known, in bytes."""

Whole = TypeVar("Whole")


def user_agent() -> str:
    """The User-Agent header by which archives can tell who asks."""
    return f"skyshards/{__version__} (python-requests/{requests.__version__})"


class Fetcher:
    """GET requests from many threads: one `requests` session a thread, retries with backoff, `Retry-After` honoured.

    Parameters
    ----------
    connections : int
        How many threads will use it at once, at most.
    timeout : float
        Seconds without a byte, or until an answer's headers are there, after which a request counts as failed (and is
        tried again).
    retries : int
        How often a request is tried again after a 429, 500, 502, 503 or 504, a reset, a time-out or a broken body.
    backoff : float
        Seconds before the second try; doubled for each after that, 60 at most. A `Retry-After`, up to an hour, takes
        its place, and then all threads wait.
    limit : RateLimit, optional
        Every try waits for its turn.
    on_wait : callable, optional
        Called, from any thread, with a URL, the seconds until it is tried again, and those that its server asked to
        wait (None if it did not say).
    progress : callable, optional
        Called for a large file with its name, "B", its length (None if unknown) and what there is of it already, in
        bytes; gives a context manager whose value has `update(nbytes)`: `skyshards.progress.progress`.
    """

    def __init__(
        self,
        connections: int = 8,
        timeout: float = 60.0,
        retries: int = 5,
        backoff: float = 0.5,
        limit: RateLimit | None = None,
        on_wait: Callable[[str, float, float | None], None] | None = None,
        progress: Callable[[str, str, int | None, int], contextlib.AbstractContextManager] | None = None,
    ):
        self.connections, self.timeout, self.retries, self.backoff = connections, timeout, retries, backoff
        self.limit = limit or RateLimit()
        self.on_wait, self.progress = on_wait, progress
        self._local = threading.local()

    @property
    def session(self) -> requests.Session:
        """This thread's session. Every request has a time-out and waits for its turn; none is tried again."""
        if not hasattr(self._local, "session"):
            self._local.session = self._new_session(0)
        return self._local.session

    def retrying_session(self, take: Callable[[requests.Response], None] | None = None) -> requests.Session:
        """A session for libraries that ask for themselves; its requests, of any method, are tried again.

        `take`, if given, reads each answer's body; where it raises a `requests.ConnectionError`, that is tried again.
        """
        return self._new_session(self.retries, take)

    def _new_session(self, retries: int, take: Callable | None = None) -> requests.Session:
        session = requests.Session()
        session.headers.update({"User-Agent": user_agent(), "Accept-Encoding": "gzip, deflate"})
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(self, retries, take))
        return session

    def get(self, url: str, max_bytes: int | None = None, **kwargs) -> requests.Response:
        """A page, as `requests.Session.get` gives it. Raises `FetchError` unless it is whole and its status is 200."""

        def page() -> requests.Response:
            with self.open(url, **kwargs) as response:
                content = b"".join(body(response, max_bytes or MAX_PAGE, decode=True))
            response.raw = io.BytesIO(content)
            return response

        with naming(url):
            return self.until_whole(url, page)

    def download(
        self,
        url: str,
        path: Path,
        checksum: str | None = None,
        max_bytes: int = MAX_FILE,
        size: int | None = None,
        keep_part: bool = False,
    ) -> Path:
        """Fetch a file to `path`, which exists only once its length and checksum are right.

        A file that is there already is kept if its checksum is right (or none is known) and fetched again if it is not.
        A body that breaks off is taken up where it did, unless the server's file has changed or it gives no ranges.

        Parameters
        ----------
        checksum : str, optional
            "sha1:…", "sha256:…" or "md5:…".
        max_bytes : int
            A longer body is refused.
        size : int, optional
            Bytes, where known; takes the place of `max_bytes`.
        keep_part : bool
            For large files, of which one process fetches one: after a failure, or when killed, leave what has arrived
            in `path` + ".part", where the next call goes on.

        Raises
        ------
        FetchError
            With the URL and what went wrong, after all retries.
        """
        with naming(url):
            return resume.download(self, resume.Wanted(url, checksum, size, max_bytes), path, keep_part)

    def open(self, url: str, expect_200: bool = True, **kwargs) -> requests.Response:
        """A response whose body is to come, by one request.

        Raises
        ------
        BrokenAnswer
            There is none, but another try may help.
        FetchError
            There is none, or its status is not 200.
        """
        try:
            response = self.session.get(url, stream=True, **kwargs)
        except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
            raise BrokenAnswer(reason(error)) from error
        except requests.RequestException as error:
            raise FetchError(reason(error)) from error
        status = response.status_code
        if status in RETRY_STATUSES or (expect_200 and status != 200):
            with response:
                words = _words(response)
            if not words or words.startswith(f": {status}"):  # a page that only repeats the status
                words = f" {one_line(response.reason or '')}, expected 200"
            message = f"HTTP status {status}{words}"
            raise Busy(message, response) if status in RETRY_STATUSES else FetchError(message)
        return response

    def until_whole(self, url: str, attempt: Callable[[], Whole]) -> Whole:
        """What `attempt` gives, tried again while it raises `BrokenAnswer`."""
        tries = self.tries()
        while True:
            try:
                return attempt()
            except BrokenAnswer as error:
                if not tries.left:
                    raise
                tries.wait(url, error)

    def tries(self) -> Tries:
        """The tries of a new request."""
        return Tries(self, self.retries, self.backoff)


class Busy(BrokenAnswer):
    """The server does not answer now. `retry_after` has the seconds that it asks to wait, if it does."""

    def __init__(self, message: str, response: requests.Response):
        super().__init__(message)
        self.status, self.retry_after = response.status_code, retry_after(response.headers)


class Tries:
    """The tries of one request: how many are left, and the waits before them."""

    def __init__(self, fetcher: Fetcher, retries: int, backoff: float):
        self.left = retries
        self._fetcher, self._backoff = fetcher, backoff

    def wait(self, url: str, error: Exception) -> None:
        """Wait before another try: as long as the server asked for, or longer each time."""
        self.left -= 1
        asked = getattr(error, "retry_after", None)
        seconds = min(self._backoff, LONGEST_BACKOFF) if asked is None else min(asked, LONGEST_WAIT)
        self._backoff *= 2
        if self._fetcher.on_wait is not None:
            self._fetcher.on_wait(url, seconds, asked)
        if asked is not None:
            self._fetcher.limit.hold(seconds)
        pause(seconds)


class _Adapter(HTTPAdapter):
    """Sends each request when its turn has come, with a time-out, and again where another try may help."""

    def __init__(self, fetcher: Fetcher, retries: int, take: Callable[[requests.Response], None] | None):
        super().__init__()
        self._fetcher, self._retries, self._take = fetcher, retries, take

    def get_connection_with_tls_context(self, *args, **kwargs):
        return with_deadlines(super().get_connection_with_tls_context(*args, **kwargs))

    def send(self, request: requests.PreparedRequest, **kwargs) -> requests.Response:
        kwargs["timeout"] = kwargs.get("timeout") or self._fetcher.timeout
        if _is_loopback(request.url):
            kwargs["proxies"] = {}  # `HTTP_PROXY` is for what lies outside of this machine
        tries = Tries(self._fetcher, self._retries, self._fetcher.backoff)
        while True:
            self._fetcher.limit.wait()
            try:
                response = super().send(request, **kwargs)
                is_busy = response.status_code in RETRY_STATUSES and tries.left
                if response.is_redirect:
                    _words(response)
                    response.close()  # else requests reads the rest, however long
                elif self._take is not None and not is_busy:
                    with contextlib.ExitStack() as broken:
                        broken.callback(response.close)
                        self._take(response)
                        broken.pop_all()
            except (requests.ConnectionError, requests.Timeout) as error:
                if not tries.left:
                    raise
                tries.wait(request.url, BrokenAnswer(reason(error)))
                continue
            if not is_busy:
                return response
            response.close()
            tries.wait(request.url, Busy(f"HTTP status {response.status_code}", response))


@contextlib.contextmanager
def naming(url: str) -> Iterator[None]:
    """Begin the messages of `FetchError` with the URL."""
    try:
        yield
    except FetchError as error:
        error.args = (f"{url}: {error}",)
        raise


def _words(response: requests.Response) -> str:
    """What the body of an error says, as far as it can be had."""
    content: list[bytes] = []
    with contextlib.suppress(FetchError):
        content.extend(body(response, MAX_WORDS, decode=True))
    return explanation(b"".join(content))


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False
