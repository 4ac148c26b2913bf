"""Worker processes that read sources into rows and pack rows into shards."""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from skyshards.errors import BuildError, UsageError
from skyshards.machine import usable_cores
from skyshards.pipeline.payloads import PayloadFiles
from skyshards.pipeline.recipe import Recipe
from skyshards.pipeline.source_rows import Piece, ReadSource, read_piece, read_pieces
from skyshards.processes import UNGUARDED, fork_server, in_order, start_worker

Outcome = tuple[Piece, ReadSource]
"""A piece of a source, and the result of reading it."""

TASK = 16
"""Maximum number of sources in a task; a killed build loses its unfinished tasks. A block has one of its own."""


class Workers:
    """Pool of processes that read sources, then pack rows; survives the death of a process.

    Parameters
    ----------
    recipe : Recipe
    files : PayloadFiles
        Files for the rows' payloads.
    workers : int, optional
        Number of processes; 0 to work in this one. By default, the number of usable cores.
    executor : concurrent.futures.Executor, optional
        Used instead of own processes, and left running at the end.
    limit : int, optional
        Maximum number of rows to read from a source.
    """

    def __init__(
        self,
        recipe: Recipe,
        files: PayloadFiles,
        workers: int | None,
        executor: Executor | None,
        limit: int | None = None,
    ):
        self.recipe = recipe
        self.count = usable_cores() if workers is None else max(1, workers)
        self._common = recipe, files, limit
        self._given = InThisProcess() if workers == 0 else executor
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._pool = self._given or self._new_pool()
        self._waiting: list[Piece] = []
        self._tasks: dict[Future, list[Piece]] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        for future in self._tasks:
            future.cancel()
        if self._given is None:
            if kind is not None and issubclass(
                kind, KeyboardInterrupt
            ):  # end the workers at once; the next build repeats their tasks
                self._lifeline.close()
            self._pool.shutdown(cancel_futures=True)
            self._lifeline.close()

    @property
    def busy(self) -> int:
        """Number of pieces that are being read or waiting."""
        return len(self._waiting) + sum(len(task) for task in self._tasks.values())

    @property
    def free(self) -> int:
        """Number of tasks that can be started at once."""
        return 0 if self._waiting else max(0, 2 * self.count - len(self._tasks))

    def submit(self, arrived: list[Piece], call_back: Callable[[Future], None]) -> None:
        """Read sources in the pool, calling `call_back` with each finished task.

        Sources that arrive while all processes are busy are collected into fewer, larger tasks.
        """
        self._waiting += arrived
        while self._waiting and (free := 2 * self.count - len(self._tasks)) > 0:
            size = 1 if self.recipe.counts else min(TASK, -(-len(self._waiting) // free))
            task, self._waiting = self._waiting[:size], self._waiting[size:]
            try:
                future = self._pool.submit(read_pieces, *self._common, task)
            except BrokenProcessPool as error:
                future = Future()
                future.set_exception(error)
            self._tasks[future] = task
            future.add_done_callback(call_back)

    def drop(self) -> None:
        """Drop the sources that are not being read yet, except those held only in memory."""
        self._waiting = [piece for piece in self._waiting if isinstance(piece.fetched, bytes)]
        for future, task in list(self._tasks.items()):
            if not any(isinstance(piece.fetched, bytes) for piece in task) and future.cancel():
                del self._tasks[future]

    def call(self, function: Callable, calls: Iterable[tuple]) -> Iterator[Any]:
        """Call a function with each tuple of arguments and yield the results in order.

        At most one call more than there are processes is submitted at a time. Raises `BuildError` if a process dies.
        """
        return in_order(self._pool, function, calls, self.count)

    def finished(self) -> list[Outcome]:
        """Outcomes of the pieces read since the last call."""
        outcomes: list[Outcome] = []
        broken: list[Piece] = []
        for future in [future for future in self._tasks if future.done()]:
            task = self._tasks.pop(future)
            try:
                outcomes += zip(task, future.result(), strict=True)
            except BrokenProcessPool:
                broken += task
        if broken:
            outcomes += self._read_singly(broken)
        return outcomes

    def _read_singly(self, suspects: list[Piece]) -> list[Outcome]:
        """Read sources one by one after a worker died, to find the one that killed it."""
        if self._given is not None:
            raise BuildError("the given executor lost its workers; restart it and rerun the build")
        for task in self._tasks.values():
            suspects += task
        self._tasks.clear()
        self._pool.shutdown()
        if any(process.exitcode == UNGUARDED for process in self._processes):
            script = getattr(sys.modules["__main__"], "__file__", "the script")
            raise UsageError(
                f'{script}: put what calls build() below a line `if __name__ == "__main__":`; the processes that read'
                " sources import this script, and must not build as well"
            )
        self._pool = self._new_pool()
        try:
            self._pool.submit(os.getpid).result()
        except BrokenProcessPool as error:
            raise BuildError("worker processes cannot start; see their output above") from error
        outcomes = []
        for suspect in suspects:
            try:
                outcome = self._pool.submit(read_piece, *self._common, suspect).result()
            except BrokenProcessPool:
                outcome = ReadSource(error="the process that read it died twice; is it too large for the memory?")
                self._pool = self._new_pool()
            outcomes.append((suspect, outcome))
        return outcomes

    def _new_pool(self) -> ProcessPoolExecutor:
        context = start_fork_server(self.recipe)
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
