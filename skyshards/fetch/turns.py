"""One budget of requests for workers on many machines: each asks the process that started them for its turn.

Questions and answers go through queues of the Dask scheduler.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from skyshards.fetch.client import LONGEST_WAIT, Fetcher
from skyshards.fetch.rate import RateLimit
from skyshards.fetch.waiting import Stopped, stop_with

if TYPE_CHECKING:
    from distributed import Client

TURN, OVER = "turn", "over"
PATIENCE = 2.0
"""Maximum wait, in seconds, for the last answers."""


@contextlib.contextmanager
def giving_turns(client: Client, fetcher: Fetcher, stopping: threading.Event) -> Iterator[str]:
    """Give workers their turns by a fetcher's rate limit; yields the name by which they ask (see `fetcher_by_turns`).

    A server that asks one worker to wait makes all wait, also those that have asked for their turn, and the user is
    told. Once `stopping` is set, a worker that asks is refused.
    """
    from distributed import Queue

    name = f"skyshards-{uuid.uuid4().hex}"
    asked, given, told = (Queue(f"{name}-{what}", client) for what in ("asked", "given", "told"))

    def give() -> None:
        stop_with(stopping)
        while asked.get() != OVER:
            try:
                fetcher.limit.wait()
                granted = True
            except Stopped:
                granted = False
            given.put(granted)

    def listen() -> None:
        while (told_now := told.get()) != OVER:
            url, seconds, wanted = told_now
            if wanted is not None:
                fetcher.limit.hold(seconds)
            if fetcher.on_wait is not None:
                fetcher.on_wait(url, seconds, wanted)

    def while_possible(function: Callable[[], None]) -> None:
        with contextlib.suppress(Exception):  # the scheduler is gone, and the tasks with it
            function()

    threads = [
        threading.Thread(target=while_possible, args=(function,), name=f"skyshards-{function.__name__}", daemon=True)
        for function in (give, listen)
    ]
    for thread in threads:
        thread.start()
    try:
        yield name
    finally:
        with contextlib.suppress(Exception):
            for queue in (asked, told):
                queue.put(OVER, timeout=PATIENCE)
            for thread in threads:
                thread.join(PATIENCE)


def fetcher_by_turns(name: str, connections: int, timeout: float) -> Fetcher:
    """Make a client that asks for a turn before each request; call it in a task of a Dask worker."""
    from distributed import Queue, get_client

    client = get_client()
    asked, given, told = (Queue(f"{name}-{what}", client) for what in ("asked", "given", "told"))

    def on_wait(url: str, seconds: float, wanted: float | None) -> None:
        told.put([url, seconds, wanted])

    return Fetcher(connections, timeout, limit=_Turns(asked, given), on_wait=on_wait)


class _Turns(RateLimit):
    """Rate limit that another process keeps."""

    def __init__(self, asked: Any, given: Any):
        super().__init__()
        self._asked, self._given = asked, given

    def wait(self) -> None:
        """Wait for a turn. Raises `Stopped` if the build stops, or is gone."""
        self._asked.put(TURN)
        try:
            granted = self._given.get(timeout=2 * LONGEST_WAIT)
        except TimeoutError:
            granted = False
        if not granted:
            raise Stopped

    def hold(self, seconds: float) -> None:
        """Leave it to `on_wait`, which tells the process that keeps the limit."""
