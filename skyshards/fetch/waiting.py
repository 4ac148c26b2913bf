"""Waits that end when a build stops, so that no further requests are sent."""

from __future__ import annotations

import threading
import time
from typing import Protocol

FETCHING_THREADS = "skyshards-fetch"
"""Name prefix of a build's download threads."""

_thread = threading.local()


class Signal(Protocol):
    """Like a `threading.Event`: tells whether to stop."""

    def wait(self, seconds: float) -> bool:
        """Wait until it is set, at most some seconds; returns whether it is set."""


class Stopped(BaseException):
    """The build is stopping: send no more requests. Not an `Exception`, so that no handler takes it for a failure."""


def stopping() -> Signal | None:
    """The signal of this thread, for threads that it starts."""
    return getattr(_thread, "stopping", None)


def stop_with(stopping: Signal | None) -> None:
    """Make `pause` in this thread raise `Stopped` once a signal is set."""
    _thread.stopping = stopping


def pause(seconds: float = 0.0) -> None:
    """Wait some seconds. Raises `Stopped` at once if this thread's build is stopping."""
    signal = stopping()
    if signal is None:
        time.sleep(max(0.0, seconds))
    elif signal.wait(max(0.0, seconds)):
        raise Stopped
