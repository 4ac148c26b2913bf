"""Waits that end when a build stops: what still waits for its turn then is not asked for."""

from __future__ import annotations

import threading
import time

FETCHING_THREADS = "skyshards-fetch"
"""First part of the names of a build's threads that fetch."""

_thread = threading.local()


class Stopped(BaseException):
    """The build is stopping: nothing more is to be asked for. No error, so nothing takes it for a failed request."""


def stop_with(stopping: threading.Event) -> None:
    """From now on, `pause` in this thread raises `Stopped` once an event is set."""
    _thread.stopping = stopping


def pause(seconds: float = 0.0) -> None:
    """Wait so many seconds; raise `Stopped`, without delay, if this thread's build is stopping."""
    stopping = getattr(_thread, "stopping", None)
    if stopping is None:
        time.sleep(max(0.0, seconds))
    elif stopping.wait(max(0.0, seconds)):
        raise Stopped
