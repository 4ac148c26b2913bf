"""How worker processes start, where they find what they import, and how they end."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.context
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator

from skyshards.machine import keep_freed_memory

UNGUARDED = 77
"""Exit status of a process that ran the user's script, which began a build of its own instead of importing."""


def fork_server(modules: Iterable[str]) -> multiprocessing.context.ForkServerContext:
    """Start the process that workers are forked from; it imports the modules, just once, while this process goes on.

    Workers so start without this process's threads and open files, and leave Ctrl-C to it. They import what this
    process would, whatever the current folder holds: Python puts that folder first on the path of a process that it
    starts.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([name for name in modules if name != "__main__"])  # each worker runs that itself
    multiprocessing.resource_tracker.ensure_running()  # it lets Ctrl-C in again when it has started
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which processes inherit
    try:
        with _own_path():
            multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
    return context


@contextlib.contextmanager
def _own_path() -> Iterator[None]:
    """Have Python processes that start now look for modules where this one does, and nowhere else first."""
    places = [
        os.path.abspath(place) for place in map(str, sys.path) if os.pathsep not in place
    ]  # "" is the current one
    changed = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(places)}
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def start_worker(lifeline: multiprocessing.connection.Connection | None = None) -> None:
    """Leave Ctrl-C to the main process, and end when it ends, however it does, or when it closes the lifeline."""
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "called by a process that is no worker"
    ends: list[int | multiprocessing.connection.Connection] = [parent.sentinel, *([lifeline] if lifeline else [])]

    def follow() -> None:
        multiprocessing.connection.wait(ends)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def leave_if_unguarded() -> None:
    """End this process if it is a worker that only wanted to import the script it was started from.

    Call it where a script that lacks `if __name__ == "__main__":` begins what workers are for. `multiprocessing` itself
    tells by the same attribute, but its message is a page long, from each of the workers.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        os._exit(UNGUARDED)
