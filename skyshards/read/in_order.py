"""Read the shards of a table one after the other, and ahead."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from skyshards.format.columns import nest
from skyshards.read.joined import JoinedTable
from skyshards.read.random_access import Batch
from skyshards.read.table import Table


class InOrder:
    """The rows of shards as batches; each is read while the one before it is in use.

    `datasets` asks for a shard at a time, and does not say which is next. Where shards are evenly spaced, as in one
    process and on each of several ranks, the next one is read ahead, too.

    Parameters
    ----------
    table : Table or JoinedTable
    shards : sequence of numpy.ndarray
        Positions in the table of the rows of each shard.
    nbytes : int
        Approximate maximum size of a batch.
    """

    def __init__(self, table: Table | JoinedTable, shards: Sequence[np.ndarray], nbytes: int):
        self._arguments = table, tuple(shards), nbytes
        self._table, self._shards = table, tuple(shards)
        self._length = max(1, nbytes // max(table.row_nbytes, 1))
        self._last: int | None = None
        self._step = 1
        self._started: dict[tuple[int, int], Callable[[], dict[str, Batch]]] = {}  # by process and shard

    def __reduce__(self):
        return InOrder, self._arguments

    def batches(self, numbers: Sequence[int]) -> Iterator[tuple[tuple[int, int], dict[str, Any]]]:
        """Yield the batches of the shards of these numbers, each with the numbers of its shard and in it."""
        for number in numbers:
            parts = self._parts(number)
            # A forked process lacks the threads of the one that started reading.
            ready = self._started.pop((os.getpid(), number), None)
            for part, rows in enumerate(parts):
                ready = ready or self._start(rows)
                following = self._start(parts[part + 1]) if part + 1 < len(parts) else None
                if following is None:
                    self._start_next(number)
                yield (number, part), nest(ready())
                ready = following

    def _parts(self, number: int) -> list[np.ndarray]:
        rows = self._shards[number]
        return [rows[start : start + self._length] for start in range(0, len(rows), self._length)]

    def _start(self, rows: np.ndarray) -> Callable[[], dict[str, Batch]]:
        return self._table._start(self._table._positions(rows), ahead=True, empty=None)

    def _start_next(self, number: int) -> None:
        """Start reading the next shard if it is as far from this one as this one from the last."""
        last, self._last, self._started = self._last, number, {}
        if last is None or number <= last:  # an epoch begins
            return
        step, self._step, expected = number - last, number - last, self._step
        if step == expected and number + step < len(self._shards) and (parts := self._parts(number + step)):
            self._started = {(os.getpid(), number + step): self._start(parts[0])}
