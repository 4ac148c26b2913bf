"""A limit on how often something happens, over all threads."""

from __future__ import annotations

import threading
import time

from skyshards.fetch.waiting import pause


class RateLimit:
    """Let through at most `rate` callers a second, evenly spaced; 0 lets all through.

    Parameters
    ----------
    rate : float
        Calls a second.
    """

    def __init__(self, rate: float = 0.0):
        self._interval = 1.0 / rate if rate > 0 else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when it is this caller's turn; raise `Stopped` if the build stops before."""
        pause()
        while True:
            with self._lock:
                now = time.monotonic()
                if (left := self._next - now) <= 0:
                    self._next = now + self._interval
                    return
            pause(left)

    def hold(self, seconds: float) -> None:
        """Let nobody through for a while: a server that asks one thread to wait means all of them."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)
