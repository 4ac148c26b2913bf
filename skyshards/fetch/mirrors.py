"""HTTP client for many small requests to a service and its mirrors: rate limiting, retries, response validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from skyshards.errors import BrokenAnswer, FetchError
from skyshards.fetch.answers import body
from skyshards.fetch.client import Busy, Fetcher, Tries, naming
from skyshards.fetch.rate import RateLimit


class PoliteClient:
    """Thread-safe client for GET requests to mirrored services, with one session per thread.

    Parameters
    ----------
    rate : float
        Maximum requests per second over all threads, including retries; 0 for no limit.
    timeout : float
        Seconds without a byte after which a request fails.
    on_wait : callable, optional
        See `Fetcher`.
    """

    def __init__(self, rate: float = 0.0, timeout: float = 60.0, on_wait: Callable | None = None):
        self.fetcher = Fetcher(timeout=timeout, limit=RateLimit(rate), on_wait=on_wait)
        self._first = 0

    @classmethod
    def using(cls, fetcher: Fetcher) -> PoliteClient:
        """Make a client with the sessions, time-out and rate limit of a fetcher."""
        client = cls()
        client.fetcher = fetcher
        return client

    def get(
        self,
        urls: Sequence[str],
        check: Callable[[bytes], object],
        max_retries: int = 5,
        delay: float = 2.0,
        max_bytes: int = 1 << 30,
    ) -> bytes:
        """Fetch the first response body that passes the check; see `get_served`, which also tells its address."""
        return self.get_served(urls, check, max_retries, delay, max_bytes)[0]

    def get_served(
        self,
        urls: Sequence[str],
        check: Callable[[bytes], object],
        max_retries: int = 5,
        delay: float = 2.0,
        max_bytes: int = 1 << 30,
    ) -> tuple[bytes, str]:
        """Fetch the first response body that passes the check.

        Parameters
        ----------
        urls : sequence of str
            An address and its mirrors. If one is down, the next is tried, and stays the first choice.
        check : callable
            Raises `BrokenAnswer` for a body that a retry may mend, another `FetchError` for a definitive failure.
        max_retries : int
            Maximum number of rounds over all addresses (at least one): of requests, for a single address.
        delay : float
            Seconds before the second round; doubled for each further one, up to 60. A `Retry-After`, up to an hour,
            replaces it and makes all threads wait.
        max_bytes : int
            Refuse a longer body.

        Returns
        -------
        bytes, str
            The body, and the address that served it.

        Raises
        ------
        FetchError
            Names the address, the service's own message if any, and the number of tries.
        """
        tries, asked = Tries(self.fetcher, max(max_retries, 1) - 1, delay), 0
        while True:
            for number in range(self._first, self._first + len(urls)):
                url = urls[number % len(urls)]
                asked += 1
                try:
                    with naming(url):
                        content = self._get_once(url, max_bytes)
                        check(content)
                except BrokenAnswer as broken:
                    error = broken
                    if isinstance(error, Busy) and (error.status == 429 or error.retry_after is not None):
                        break  # not down: do not evade its limit through a mirror
                else:
                    self._first = number % len(urls)
                    return content, url
            if not tries.left:
                raise FetchError(f"{error}; tried {asked} time{'s' * (asked > 1)}") from error
            tries.wait(url, error)

    def _get_once(self, url: str, max_bytes: int) -> bytes:
        with self.fetcher.open(url) as response:
            return b"".join(body(response, max_bytes, decode=True))
