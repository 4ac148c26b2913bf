"""Run the writing of an export's files in worker processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any

from skyshards.machine import usable_cores
from skyshards.processes import fork_server, in_order, leave_if_unguarded, start_worker


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
    count = workers or usable_cores()
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
