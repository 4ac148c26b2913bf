"""HTTP client with retries, rate limiting and verified downloads; the only module that opens sessions."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, TypeVar
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
"""Maximum wait for a `Retry-After`, seconds."""
LONGEST_BACKOFF = 60.0
MAX_WORDS = 1 << 16
"""Maximum number of bytes to read of an error page."""
MAX_PAGE = 256 << 20
"""Maximum size of a decompressed page or listing, bytes: the names and links of a million files."""
MAX_FILE = 4 << 30
"""Maximum size of a file of unknown length, bytes."""

Whole = TypeVar("Whole")


def user_agent() -> str:
    """User-Agent header that identifies skyshards to archives."""
    return f"skyshards/{__version__} (python-requests/{requests.__version__})"


class Fetcher:
    """Thread-safe HTTP client for GET: one `requests` session per thread, retries with backoff, `Retry-After` honoured.

    Parameters
    ----------
    connections : int
        Maximum number of threads that use it at once.
    timeout : float
        Seconds without a byte, or until all headers have arrived, after which a request fails (and is retried).
    retries : int
        Number of retries after a status 429, 500, 502, 503 or 504, a reset, a timeout or a broken body.
    backoff : float
        Seconds before the first retry; doubled for each further one, up to 60. A `Retry-After`, up to an hour,
        replaces it and makes all threads wait.
    limit : RateLimit, optional
        Rate limit of all requests, including retries.
    on_wait : callable, optional
        Called, from any thread, with the URL, the seconds until the retry, and the seconds that the server asked for
        (None if it did not).
    progress : callable, optional
        Called for a large file with its name, "B", its length in bytes (None if unknown) and the bytes already there;
        returns a context manager whose value has `update(nbytes)`, like `skyshards.progress.progress`.
    """

    is_far: ClassVar[bool] = False
    """Whether it downloads files in the workers of a cluster, and may so from several machines at once."""

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
        """This thread's session, with timeout and rate limit but without retries."""
        if not hasattr(self._local, "session"):
            self._local.session = self._new_session(0)
        return self._local.session

    def retrying_session(self, take: Callable[[requests.Response], None] | None = None) -> requests.Session:
        """Create a session for libraries that send their own requests; retries requests of any method.

        `take`, if given, reads the body of each response; if it raises `requests.ConnectionError`, the request is
        retried.
        """
        return self._new_session(self.retries, take)

    def _new_session(self, retries: int, take: Callable | None = None) -> requests.Session:
        session = requests.Session()
        session.headers.update({"User-Agent": user_agent(), "Accept-Encoding": "gzip, deflate"})
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(self, retries, take))
        return session

    def get(self, url: str, max_bytes: int | None = None, **kwargs) -> requests.Response:
        """Fetch a page, like `requests.Session.get`. Raises `FetchError` unless it is complete with status 200."""

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
        """Download a file to `path`, which exists only once its length and checksum are verified.

        An existing file is kept if its checksum is right (or unknown), and downloaded again if not. A body that breaks
        off is resumed, unless the server's file has changed or the server does not support ranges.

        Parameters
        ----------
        url : str
        path : Path
        checksum : str, optional
            "sha1:…", "sha256:…" or "md5:…".
        max_bytes : int
            Refuse a longer body.
        size : int, optional
            Length in bytes if known; replaces `max_bytes`.
        keep_part : bool
            For large files, each fetched by one process: after a failure or kill, keep the received bytes in `path` +
            ".part", for the next call to resume.

        Returns
        -------
        Path
            `path`.

        Raises
        ------
        FetchError
            Names the URL and the problem, after all retries.
        """
        with naming(url):
            return resume.download(self, resume.Wanted(url, checksum, size, max_bytes), path, keep_part)

    def run(self, function: Callable[..., Whole], *args: Any) -> Whole:
        """Call `function(fetcher, *args)` where requests are to be sent from: here, or in a worker of the Dask cluster
        that a build uses. There, it gets another fetcher, which keeps the same rate limit.

        Function and arguments must be picklable, and the call may be repeated: a worker may die.
        """
        return function(self, *args)

    def open(self, url: str, expect_200: bool = True, **kwargs) -> requests.Response:
        """Send one request and return the response before its body is read.

        Raises
        ------
        BrokenAnswer
            No response, or a status that a retry may mend.
        FetchError
            No response, or a status other than 200.
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
        """Call `attempt` and return its result; retry while it raises `BrokenAnswer`."""
        tries = self.tries()
        while True:
            try:
                return attempt()
            except BrokenAnswer as error:
                if not tries.left:
                    raise
                tries.wait(url, error)

    def tries(self) -> Tries:
        """Retry counter for a new request."""
        return Tries(self, self.retries, self.backoff)


class Busy(BrokenAnswer):
    """The server is busy. `retry_after` is the wait it asks for in seconds, or None."""

    def __init__(self, message: str, response: requests.Response):
        super().__init__(message)
        self.status, self.retry_after = response.status_code, retry_after(response.headers)


class Tries:
    """Retry counter of one request: the retries left, and the wait before each."""

    def __init__(self, fetcher: Fetcher, retries: int, backoff: float):
        self.left = retries
        self._fetcher, self._backoff = fetcher, backoff

    def wait(self, url: str, error: Exception) -> None:
        """Wait before a retry: as long as the server asked for, or with exponential backoff."""
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
    """Transport adapter that applies rate limit, timeout and retries."""

    def __init__(self, fetcher: Fetcher, retries: int, take: Callable[[requests.Response], None] | None):
        super().__init__()
        self._fetcher, self._retries, self._take = fetcher, retries, take

    def get_connection_with_tls_context(self, *args, **kwargs):
        return with_deadlines(super().get_connection_with_tls_context(*args, **kwargs))

    def send(
        self, request: requests.PreparedRequest, stream=False, timeout=None, verify=True, cert=None, proxies=None
    ) -> requests.Response:
        url = request.url or ""
        if _is_loopback(url):
            proxies = {}  # `HTTP_PROXY` is not meant for this machine
        tries = Tries(self._fetcher, self._retries, self._fetcher.backoff)
        while True:
            self._fetcher.limit.wait()
            try:
                response = super().send(request, stream, timeout or self._fetcher.timeout, verify, cert, proxies)
                is_busy = response.status_code in RETRY_STATUSES and tries.left
                if response.is_redirect:
                    _words(response)
                    response.close()  # or requests reads the rest, however long
                elif self._take is not None and not is_busy:
                    with contextlib.ExitStack() as broken:
                        broken.callback(response.close)
                        self._take(response)
                        broken.pop_all()
            except (requests.ConnectionError, requests.Timeout) as error:
                if not tries.left:
                    raise
                tries.wait(url, BrokenAnswer(reason(error)))
                continue
            if not is_busy:
                return response
            response.close()
            tries.wait(url, Busy(f"HTTP status {response.status_code}", response))


@contextlib.contextmanager
def naming(url: str) -> Iterator[None]:
    """Prefix the messages of `FetchError` with the URL."""
    try:
        yield
    except FetchError as error:
        error.args = (f"{url}: {error}",)
        raise


def _words(response: requests.Response) -> str:
    """Explanation in the body of an error response, as far as it can be read."""
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
