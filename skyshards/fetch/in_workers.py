"""Fetching in the workers of a Dask cluster, all of them by one budget of requests."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from skyshards.errors import FetchError
from skyshards.fetch.client import Fetcher
from skyshards.fetch.turns import fetcher_by_turns
from skyshards.fetch.waiting import FETCHING_THREADS, pause, stop_with

LOOK_AGAIN = 1.0
"""Seconds between two looks whether a task is still wanted."""


class FetcherInWorkers(Fetcher):
    """Fetcher that downloads files, and calls what is given to `run`, in workers; other requests are sent from here.

    Parameters
    ----------
    here : Fetcher
        Its rate limit holds for all workers together.
    submit : callable
        Starts a function in a worker, and returns a future.
    name : str
        Name by which workers ask for their turns.
    """

    is_far = True

    def __init__(self, here: Fetcher, submit: Callable[..., Future], name: str):
        super().__init__(
            here.connections, here.timeout, here.retries, here.backoff, here.limit, here.on_wait, here.progress
        )
        self._submit, self._name = submit, name

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function(fetcher, *args)` in a worker; raises what it raised."""
        return _result(self._start(function, *args))

    def download(self, url: str, path: Path, *args: Any, keep_part: bool = False, **options: Any) -> Path:
        """Download a file in a worker, which sees `path`; see `Fetcher.download`.

        A build that stops does not wait for a part that is kept.
        """
        pause()
        function = functools.partial(Fetcher.download, keep_part=keep_part, **options)
        started = self._start(function, url, path.absolute(), *args)
        while keep_part and not started.done():
            pause(LOOK_AGAIN / 4)
        _result(started)
        return path

    def _start(self, function: Callable[..., Any], *args: Any) -> Future:
        return self._submit(_call, (self._name, self.connections, self.timeout), function, args)


def _result(started: Future) -> Any:
    try:
        return started.result()
    except BrokenExecutor as error:
        raise FetchError("several workers died while they fetched it") from error


def _call(client: tuple[str, int, float], function: Callable[..., Any], args: tuple) -> Any:
    """Call a function with the client of this worker, in a thread of the client's: the worker reads meanwhile."""
    from distributed import get_worker, secede

    threads, fetcher = _client(*client)
    worker = get_worker()
    cancelled = _Cancelled(worker, worker.get_current_task())
    secede()
    return threads.submit(_call_until, cancelled, function, fetcher, args).result()


def _call_until(cancelled: _Cancelled, function: Callable[..., Any], fetcher: Fetcher, args: tuple) -> Any:
    stop_with(cancelled)
    return function(fetcher, *args)


@functools.lru_cache(maxsize=8)
def _client(name: str, connections: int, timeout: float) -> tuple[ThreadPoolExecutor, Fetcher]:
    """Client of a build in this worker; threads that stay keep their connections."""
    return ThreadPoolExecutor(connections, FETCHING_THREADS), fetcher_by_turns(name, connections, timeout)


class _Cancelled:
    """Whether a task of a Dask worker was cancelled, as when the process that started it is gone."""

    def __init__(self, worker: Any, key: Any):
        self._worker, self._key = worker, key

    def wait(self, seconds: float) -> bool:
        """Wait some seconds, or until it is cancelled; returns whether it is."""
        end = time.monotonic() + seconds
        while self._is_wanted() and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_AGAIN))
        return not self._is_wanted()

    def _is_wanted(self) -> bool:
        task = self._worker.state.tasks.get(self._key)
        return task is not None and task.state in ("executing", "long-running")
