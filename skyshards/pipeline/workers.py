"""Reading of sources in the workers of a pool, and of those in turn that a dead worker left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any

from skyshards.pipeline.payloads import PayloadFiles
from skyshards.pipeline.pools import pool_for
from skyshards.pipeline.recipe import Recipe
from skyshards.pipeline.source_rows import Piece, ReadSource, read_pieces, sent_far
from skyshards.processes import in_order

Outcome = tuple[Piece, ReadSource]
"""A piece of a source, and the result of reading it."""

TASK = 16
"""Maximum number of sources in a task; a killed build loses its unfinished tasks. A block has one of its own."""


class Workers:
    """Pool of workers that read sources, then pack rows; survives the death of one.

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
        self._files = files
        self._common = recipe, files, limit
        self._pool = pool_for(recipe, workers, executor, files.folder)
        self.fetching = self._pool.fetching
        self._waiting: list[Piece] = []
        self._tasks: dict[Future, list[Piece]] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        for future in self._tasks:
            future.cancel()
        self._pool.close(at_once=kind is not None and issubclass(kind, KeyboardInterrupt))

    @property
    def count(self) -> int:
        """Number of tasks that run at once."""
        return self._pool.count

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

        Sources that arrive while all workers are busy are collected into fewer, larger tasks.
        """
        self._waiting += arrived
        while self._waiting and (free := 2 * self.count - len(self._tasks)) > 0:
            size = 1 if self.recipe.counts else min(TASK, -(-len(self._waiting) // free))
            task, self._waiting = self._waiting[:size], self._waiting[size:]
            future = self._start(task)
            self._tasks[future] = task
            future.add_done_callback(call_back)

    def _start(self, task: list[Piece]) -> Future:
        if not self._pool.is_far:
            return self._pool.submit(read_pieces, *self._common, task)
        sent, path = sent_far(task, self._files.folder)
        future = self._pool.submit(read_pieces, *self._common, sent)
        if path is not None:
            future.add_done_callback(lambda _: path.unlink(missing_ok=True))
        return future

    def drop(self) -> None:
        """Drop the sources that are not being read yet, except those held only in memory."""
        self._waiting = [piece for piece in self._waiting if isinstance(piece.fetched, bytes)]
        for future, task in list(self._tasks.items()):
            if not any(isinstance(piece.fetched, bytes) for piece in task) and future.cancel():
                del self._tasks[future]

    def call(self, function: Callable, calls: Iterable[tuple]) -> Iterator[Any]:
        """Call a function with each tuple of arguments and yield the results in order.

        At most one call more than there are workers is submitted at a time. Raises `BuildError` if a worker dies.
        """
        return in_order(self._pool, function, calls, self.count)

    def finished(self) -> list[Outcome]:
        """Outcomes of the pieces read since the last call."""
        outcomes, broken = self._collect()
        if broken:
            self._pool.renew()
            more, others = self._collect()  # which died with it
            outcomes += more + self._read_singly(broken + others)
        return outcomes

    def _collect(self) -> tuple[list[Outcome], list[Piece]]:
        """Outcomes of the tasks that ended, and the pieces of those whose worker died."""
        outcomes: list[Outcome] = []
        broken: list[Piece] = []
        for future in [future for future in self._tasks if future.done()]:
            task = self._tasks.pop(future)
            try:
                read = future.result()
            except BrokenExecutor:
                broken += task
            else:
                outcomes += zip(task, read, strict=False)
                self._waiting[:0] = task[len(read) :]  # it had rows enough
        return outcomes, broken

    def _read_singly(self, suspects: list[Piece]) -> list[Outcome]:
        """Read sources one by one after a worker died, to find the one that killed it."""
        outcomes = []
        for suspect in suspects:
            try:
                [outcome] = self._start([suspect]).result()
            except BrokenExecutor:
                outcome = ReadSource(error="the process that read it died twice; is it too large for the memory?")
                self._pool.renew()
            outcomes.append((suspect, outcome))
        return outcomes
