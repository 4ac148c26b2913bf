"""Waits that end when a build stops, so that no further requests are sent."""

from __future__ import annotations

import threading
import time

FETCHING_THREADS = "skyshards-fetch"
"""Name prefix of a build's download threads."""

_thread = threading.local()


class Stopped(BaseException):
    """The build is stopping: send no more requests. Not an `Exception`, so that no handler takes it for a failure."""


def stop_with(stopping: threading.Event) -> None:
    """Make `pause` in this thread raise `Stopped` once an event is set."""
    _thread.stopping = stopping


def pause(seconds: float = 0.0) -> None:
    """Wait some seconds. Raises `Stopped` at once if this thread's build is stopping."""
    stopping = getattr(_thread, "stopping", None)
    if stopping is None:
        time.sleep(max(0.0, seconds))
    elif stopping.wait(max(0.0, seconds)):
        raise Stopped
