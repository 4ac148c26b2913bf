"""Where the tasks of a build run: processes of this machine, the workers of a Dask cluster, or a given executor."""

from __future__ import annotations

import abc
import contextlib
import multiprocessing
import multiprocessing.context
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

from skyshards.cluster import DaskExecutor
from skyshards.errors import BuildError, UsageError
from skyshards.fetch.client import Fetcher
from skyshards.fetch.in_workers import FetcherInWorkers
from skyshards.fetch.turns import giving_turns
from skyshards.machine import usable_cores
from skyshards.pipeline.recipe import Recipe
from skyshards.processes import UNGUARDED, fork_server, start_worker


class Pool(abc.ABC):
    """Place where tasks run: as many at once as it has room for.

    A task whose process died raises `BrokenExecutor`.
    """

    count: int
    """Number of tasks that run at once."""
    is_far = False
    """Whether tasks may run on other machines: what they get and give must be small, and paths absolute."""

    @abc.abstractmethod
    def submit(self, function: Callable, *arguments: Any) -> Future:
        """Start a task."""

    @abc.abstractmethod
    def renew(self) -> None:
        """Make the pool work again after a task died. Raises `BuildError` if that is impossible."""

    @abc.abstractmethod
    def close(self, at_once: bool) -> None:
        """End the pool; `at_once` without waiting for its tasks."""

    def fetching(self, fetcher: Fetcher, stopping: threading.Event) -> contextlib.AbstractContextManager[Fetcher]:
        """Give the fetcher for sources, for as many threads as it has connections: the build's own, by default."""
        return contextlib.nullcontext(fetcher)


def pool_for(recipe: Recipe, workers: int | None, executor: Executor | None, folder: Path) -> Pool:
    """Pool of `workers` processes (0: this one), or of a given executor; `folder` is for what its workers leave."""
    if workers == 0:
        return Given(InThisProcess(), 1)
    if isinstance(executor, DaskExecutor):
        return Cluster(executor.through(folder))
    count = workers or usable_cores()
    return Processes(recipe, count) if executor is None else Given(executor, count)


class Given(Pool):
    """Executor that the caller gave, and that stays open."""

    def __init__(self, executor: Executor, count: int):
        self._executor, self.count = executor, count

    def submit(self, function: Callable, *arguments: Any) -> Future:
        return self._executor.submit(function, *arguments)

    def renew(self) -> None:
        raise BuildError("the given executor lost its workers; restart it and rerun the build")

    def close(self, at_once: bool) -> None:
        """Leave it open."""


class Cluster(Pool):
    """Workers of a Dask cluster, which stays open. They see the same folders, and fetch themselves."""

    is_far = True

    def __init__(self, executor: DaskExecutor):
        self._executor = executor

    @property
    def count(self) -> int:  # type: ignore[override]
        return self._executor.count

    def submit(self, function: Callable, *arguments: Any) -> Future:
        return self._executor.submit(function, *arguments)

    def renew(self) -> None:
        """Do nothing: Dask gives the tasks of a dead worker to others."""

    def close(self, at_once: bool) -> None:
        self._executor.shutdown(cancel_futures=True)

    @contextlib.contextmanager
    def fetching(self, fetcher: Fetcher, stopping: threading.Event) -> Iterator[Fetcher]:
        with giving_turns(self._executor.client, fetcher, stopping) as name:
            yield FetcherInWorkers(fetcher, self.submit, name)


class Processes(Pool):
    """Processes of this machine; survives the death of one."""

    def __init__(self, recipe: Recipe, count: int):
        self.count = count
        self._recipe = recipe
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._pool = self._started()

    def submit(self, function: Callable, *arguments: Any) -> Future:
        try:
            return self._pool.submit(function, *arguments)
        except BrokenExecutor as error:
            future: Future[Any] = Future()
            future.set_exception(error)
            return future

    def renew(self) -> None:
        self._pool.shutdown()  # all its tasks are broken then
        if any(process.exitcode == UNGUARDED for process in self._processes):
            script = getattr(sys.modules["__main__"], "__file__", "the script")
            raise UsageError(
                f'{script}: put what calls build() below a line `if __name__ == "__main__":`; the processes that read'
                " sources import this script, and must not build as well"
            )
        self._pool = self._started()
        try:
            self._pool.submit(os.getpid).result()
        except BrokenExecutor as error:
            raise BuildError("worker processes cannot start; see their output above") from error

    def close(self, at_once: bool) -> None:
        if at_once:  # end the workers; the next build repeats their tasks
            self._lifeline.close()
        self._pool.shutdown(cancel_futures=True)
        self._lifeline.close()

    def _started(self) -> ProcessPoolExecutor:
        context = start_fork_server(self._recipe)
        follower, self._lifeline = context.Pipe(duplex=False)
        pool = ProcessPoolExecutor(self.count, context, initializer=start_worker, initargs=(follower,))
        try:
            for _ in range(self.count):
                pool.submit(os.getpid)  # start the process now, not with the first source
        except (EOFError, ConnectionError) as error:  # of its socket
            self._lifeline.close()
            pool.shutdown()
            raise BuildError(
                "the process that starts the workers was ended by the system (out of memory?); "
                "run the same command again to resume"
            ) from error
        self._processes = multiprocessing.active_children()
        return pool


def start_fork_server(recipe: Recipe) -> multiprocessing.context.ForkServerContext:
    """Start the server process from which workers for this recipe are forked."""
    return fork_server([type(recipe).__module__, __name__])


class InThisProcess(Executor):
    """Executor that calls functions at once in this process, where a debugger can follow."""

    def submit(self, function: Callable, /, *args: Any, **kwargs: Any) -> Future:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future
