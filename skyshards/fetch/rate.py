"""Rate limit shared by all threads."""

from __future__ import annotations

import threading
import time

from skyshards.fetch.waiting import pause


class RateLimit:
    """Limit callers in all threads to `rate` per second, evenly spaced.

    Parameters
    ----------
    rate : float
        Calls per second; 0 for no limit.
    """

    def __init__(self, rate: float = 0.0):
        self._interval = 1.0 / rate if rate > 0 else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait for this caller's turn. Raises `Stopped` if the build stops first."""
        pause()
        while True:
            with self._lock:
                now = time.monotonic()
                if (left := self._next - now) <= 0:
                    self._next = now + self._interval
                    return
            pause(left)

    def hold(self, seconds: float) -> None:
        """Block all callers for some seconds: a server that asks one thread to wait means all of them."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)
