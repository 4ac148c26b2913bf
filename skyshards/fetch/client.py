"""HTTP: the one place that opens sessions. Polite, patient, and never content with a partial file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry
from urllib3.exceptions import HTTPError, MaxRetryError, ProtocolError

from skyshards.errors import FetchError
from skyshards.files import file_digest, replacing

RETRY_STATUSES = (429, 500, 502, 503, 504)
BLOCK = 1 << 18


def user_agent() -> str:
    """The User-Agent header by which archives can tell who asks."""
    try:
        return f"skyshards/{version('skyshards')} (python-requests/{requests.__version__})"
    except PackageNotFoundError:  # run from a checkout that is not installed
        return f"skyshards (python-requests/{requests.__version__})"


class Fetcher:
    """GET requests from many threads: one `requests` session a thread, retries with backoff, `Retry-After` honoured.

    Parameters
    ----------
    connections : int
        How many threads will use it at once, at most.
    timeout : float
        Seconds without a byte after which a request counts as failed (and is tried again).
    retries : int
        How often a request is tried again after a 429, 500, 502, 503 or 504, a reset or a time-out.
    backoff : float
        Seconds before the second retry; doubled for each after that, 60 at most.
    """

    def __init__(self, connections: int = 8, timeout: float = 60.0, retries: int = 5, backoff: float = 0.5):
        self.connections = connections
        self.timeout = timeout
        self._retry = Retry(
            total=retries,
            backoff_factor=backoff,
            backoff_max=60,
            status_forcelist=RETRY_STATUSES,
            allowed_methods=("GET", "HEAD"),
            raise_on_status=False,
        )
        self._local = threading.local()

    @property
    def session(self) -> requests.Session:
        """This thread's session."""
        if not hasattr(self._local, "session"):
            session = requests.Session()
            session.headers["User-Agent"] = user_agent()
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=self._retry))
            self._local.session = session
        return self._local.session

    def get(self, url: str, **kwargs) -> requests.Response:
        """GET, as `requests.Session.get` does it; raises `FetchError` unless the status is 200."""
        return self._until_whole(url, lambda: self._get_once(url, **kwargs))

    def _until_whole(self, url: str, attempt: Callable[[], Any]) -> Any:
        """Try again while what comes is broken off: urllib3's own retries end with the headers."""
        retry = self._retry
        while True:
            try:
                return attempt()
            except _Broken as broken:
                try:
                    retry = retry.increment("GET", url, error=broken)
                except (MaxRetryError, ProtocolError):
                    raise FetchError(f"{url}: {broken}") from broken
                retry.sleep()

    def _get_once(self, url: str, **kwargs) -> requests.Response:
        kwargs.setdefault("timeout", self.timeout)
        try:
            response = self.session.get(url, **kwargs)
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
            raise _Broken(_reason(error)) from error
        except requests.RequestException as error:
            raise FetchError(f"{url}: {_reason(error)}") from error
        if response.status_code != 200:
            response.close()
            raise FetchError(f"{url}: HTTP status {response.status_code} {response.reason}, expected 200")
        return response

    def download(self, url: str, path: Path, checksum: str | None = None, max_bytes: int | None = None) -> Path:
        """Fetch a file to `path`, which exists only once its length and checksum are right.

        A file that is there already is kept if its checksum is right (or none is known) and fetched again if it is not.

        Parameters
        ----------
        checksum : str, optional
            "sha1:…", "sha256:…" or "md5:…".
        max_bytes : int, optional
            A longer body is refused.

        Raises
        ------
        FetchError
            With the URL and what went wrong, after all retries.
        """
        if path.exists() and (checksum is None or _matches(path, checksum)):
            return path
        return self._until_whole(url, lambda: self._download_once(url, path, checksum, max_bytes))

    def _download_once(self, url: str, path: Path, checksum: str | None, max_bytes: int | None) -> Path:
        # "identity": some servers label a .gz file as a gzip transfer encoding, and it would arrive inflated.
        response = self._get_once(url, stream=True, headers={"Accept-Encoding": "identity"})
        with response, replacing(path) as temporary:
            header = response.headers.get("Content-Length", "")
            length = int(header) if header.isascii() and header.isdigit() else None
            if max_bytes is not None and length is not None and length > max_bytes:
                raise FetchError(f"{url}: {length} bytes long, expected at most {max_bytes}")
            received = 0
            with open(temporary, "wb") as file:
                for block in _body(response):
                    received += len(block)
                    if max_bytes is not None and received > max_bytes:
                        raise FetchError(f"{url}: longer than the {max_bytes} bytes expected at most")
                    file.write(block)
            if length is not None and received != length:
                raise _Broken(f"body ended after {received} of {length} bytes")
            if checksum is not None and not _matches(temporary, checksum):
                algorithm = checksum.partition(":")[0]
                found = file_digest(temporary, algorithm)
                raise _Broken(f"wrong checksum: expected {checksum}, found {algorithm}:{found}")
        return path


class _Broken(ProtocolError):
    """A body that did not arrive as it should have, and may if it is asked for again."""


def _body(response: requests.Response):
    try:
        yield from response.raw.stream(BLOCK, decode_content=False)
    except HTTPError as error:
        raise _Broken(_reason(error)) from error


def _matches(path: Path, checksum: str) -> bool:
    algorithm, _, expected = checksum.partition(":")
    return file_digest(path, algorithm) == expected.lower()


def _reason(error: Exception) -> str:
    """The innermost cause in words: what urllib3 and requests wrap is long and names object addresses."""
    while (inner := getattr(error, "reason", None) or (error.args[0] if error.args else None)) is not None:
        if not isinstance(inner, Exception):
            break
        error = inner
    text = str(error).partition("): ")[2] or str(error)
    return f"{type(error).__name__}: {text}"
