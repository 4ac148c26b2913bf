"""Worker processes: how they start, where they import from, and how they end."""

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
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from typing import Any, Protocol

from skyshards.cluster import DaskExecutor
from skyshards.errors import BuildError
from skyshards.machine import keep_freed_memory, usable_cores

UNGUARDED = 77
"""Exit status of a process that ran the user's script, which began a build of its own instead of importing."""


def fork_server(modules: Iterable[str]) -> multiprocessing.context.ForkServerContext:
    """Start the process that workers are forked from; it imports the modules once, in the background.

    Workers start without this process's threads and open files, and leave Ctrl-C to it. They import the same modules
    as this process, even though Python puts the current folder first on the path of a new process.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([name for name in modules if name != "__main__"])  # each worker runs that itself
    multiprocessing.resource_tracker.ensure_running()  # starting it unblocks Ctrl-C, so do it first
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which processes inherit
    try:
        with _own_path():
            multiprocessing.forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
    return context


@contextlib.contextmanager
def _own_path() -> Iterator[None]:
    """Give Python processes started in the block this process's module path."""
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
    """Leave Ctrl-C to the main process; exit when it ends for any reason, or when it closes the lifeline."""
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "called by a process that is no worker"
    ends: list[int | multiprocessing.connection.Connection] = [parent.sentinel, *([lifeline] if lifeline else [])]

    def follow() -> None:
        multiprocessing.connection.wait(ends)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


class Submits(Protocol):
    def submit(self, function: Callable, /, *arguments: Any) -> Future: ...


def in_order(pool: Submits, function: Callable, calls: Iterable[tuple], ahead: int) -> Iterator[Any]:
    """Call a function in a pool with each tuple of arguments and yield the results in order.

    At most `ahead` calls more than the one that is waited for are submitted. Raises `BuildError` if a process dies.
    """
    waiting: deque[Future] = deque()
    try:
        for arguments in calls:
            waiting.append(pool.submit(function, *arguments))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenExecutor as error:
        raise BuildError("a process died (out of memory?); run the same command again to resume") from error
    finally:
        for future in waiting:
            future.cancel()


def leave_if_unguarded() -> None:
    """Exit if this process is a worker that is still importing the user's script.

    Call it before starting workers: a script without `if __name__ == "__main__":` gets here again in each worker.
    `multiprocessing` checks the same attribute, but prints a page-long message for each worker.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        os._exit(UNGUARDED)


def prepare(function: Callable) -> None:
    """Import the function's module, in the background, into the process that workers are forked from."""
    leave_if_unguarded()
    fork_server([function.__module__])


def results(
    function: Callable, calls: Iterable[tuple], workers: int | None, executor: Executor | None
) -> Iterator[Any]:
    """Call a function for each tuple of arguments; yield the results in order.

    Parameters
    ----------
    workers : int, optional
        Number of processes, 0 to run in this process; default: the number of usable cores.
    executor : concurrent.futures.Executor, optional
        Used instead of own processes, and not shut down.

    Raises
    ------
    BuildError
        If a process died.
    """
    leave_if_unguarded()
    if workers == 0:
        yield from (function(*arguments) for arguments in calls)
        return
    count = executor.count if isinstance(executor, DaskExecutor) else workers or usable_cores()
    with contextlib.nullcontext(executor) if executor else _processes(count, function.__module__) as pool:
        yield from in_order(pool, function, calls, 2 * count)


@contextlib.contextmanager
def _processes(count: int, module: str) -> Iterator[Executor]:
    """Start processes that ignore Ctrl-C, and exit at once if the block raises."""
    context = fork_server([module])
    follower, lifeline = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(count, context, initializer=start_worker, initargs=(follower,))
    try:
        yield pool
    except BaseException:
        lifeline.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        lifeline.close()
