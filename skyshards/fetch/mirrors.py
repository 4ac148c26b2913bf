"""Many small answers from a public service and its mirrors: rate limits, retries and response validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from skyshards.errors import BrokenAnswer, FetchError
from skyshards.fetch.answers import body
from skyshards.fetch.client import Busy, Fetcher, Tries, naming
from skyshards.fetch.rate import RateLimit


class PoliteClient:
    """GET requests from many threads, one session a thread.

    Parameters
    ----------
    rate : float
        Requests a second, over all threads and counting every try; 0 for no limit.
    timeout : float
        Seconds without a byte after which a try has failed.
    on_wait : callable, optional
        As of `Fetcher`.
    """

    def __init__(self, rate: float = 0.0, timeout: float = 60.0, on_wait: Callable | None = None):
        self.limit = RateLimit(rate)
        # The tries are counted here, where the mirrors are known.
        self.fetcher = Fetcher(timeout=timeout, retries=0, limit=self.limit, on_wait=on_wait)
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
            Raises `BrokenAnswer` for a body that another try may mend, another `FetchError` for one that is what it is.
        max_retries : int
            Rounds over all addresses, and so requests if there is one; at least one.
        delay : float
            Seconds before the second round, doubled for each after that, 60 at most. A `Retry-After`, up to an hour,
            takes its place, and then all threads wait.
        max_bytes : int
            A longer body is refused.

        Raises
        ------
        FetchError
            With the address, the service's own message where it gave one, and how often it was tried.
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
                        break  # not down: its mirror is no way around that
                else:
                    self._first = number % len(urls)
                    return content
            if not tries.left:
                raise FetchError(f"{error}; tried {asked} time{'s' * (asked > 1)}") from error
            tries.wait(url, error)

    def _get_once(self, url: str, max_bytes: int) -> bytes:
        with self.fetcher.open(url) as response:
            return b"".join(body(response, max_bytes, decode=True))
