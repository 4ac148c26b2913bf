"""Sorted runs: files that together hold the rows of a table too large for memory, and are read by ranges of a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from skyshards.files import replacing

STEP = 1 << 10
"""Rows from one mark to the next."""


@dataclass(frozen=True)
class Run:
    """A file of rows in order of its first column, the key.

    Attributes
    ----------
    path : Path
    rows : int
        At least one.
    marks : array
        Keys of every `STEP`th row, and of the last.
    """

    path: Path
    rows: int
    marks: np.ndarray

    def without_marks(self) -> Run:
        """The same, with the first and the last key only."""
        return Run(self.path, self.rows, self.marks[[0, -1]])


def write(path: Path, table: pa.Table) -> Run:
    """Write a table, whose first column is in order and without nulls, as an Arrow file."""
    with replacing(path) as temporary, pa.ipc.new_file(str(temporary), table.schema) as writer:
        writer.write_table(table.combine_chunks())  # one batch, so that the key is one array
    key = table.column(0).to_numpy()
    return Run(path, len(key), np.append(key[::STEP], key[-1:]))


def ranges(runs: Sequence[Run], rows: int) -> list[tuple[Any, Any]]:
    """Cut the keys of runs into ranges (first key, key after the last) of about `rows` rows each."""
    if not runs:
        return []
    marks = np.sort(np.concatenate([run.marks[:-1] for run in runs]))
    last = max(run.marks[-1] for run in runs)
    end = last + 1 if marks.dtype.kind == "i" else np.nextafter(last, np.inf)
    step = max(1, rows // STEP)
    cuts = np.unique(np.concatenate([marks[:1], marks[step::step], [end]])).tolist()
    return list(zip(cuts[:-1], cuts[1:], strict=True))


def between(runs: Sequence[Run], low: Any, high: Any) -> list[pa.Table]:
    """Map the rows of runs with low <= key < high; runs without any are left out."""
    near = [run for run in runs if run.marks[0] < high and run.marks[-1] >= low]
    return [part for run in near if len(part := _rows(run, low, high))]


def _rows(run: Run, low: Any, high: Any) -> pa.Table:
    table = mapped(run)
    start, end = np.searchsorted(table.column(0).to_numpy(), [low, high]).tolist()
    return table.slice(start, end - start)


def mapped(run: Run) -> pa.Table:
    """All rows of a run, which take memory as they are used."""
    with pa.memory_map(str(run.path)) as file:
        return pa.ipc.open_file(file).read_all()
