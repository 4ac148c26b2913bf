"""Measure the table's rates beside the machine's limits, and the cost of a catalogue."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from harness import best_in_turn
from rows import BATCH, SEED, SHAPES, deflated

import skyshards
from skyshards.format.kinds.number import inflated

MAX_ROWS = 512
"""Rows read per round; their deflated bytes are held in memory."""
LABELS = ("total_classifications", "ra", "dec")


@dataclass(frozen=True)
class Limits:
    """Rates in rows/s; `inflate` by the number of threads."""

    inflate: dict[int, float]
    memcpy: float
    table: float
    sequential: float
    masks: float
    builder: float
    arrow: float


def measure_limits(built: Path, rounds: int) -> Limits:
    """Measure all limits in turn in one process; the best of each counts."""
    import datasets

    import gz3d  # noqa: F401 (registers the builder)

    whole = skyshards.open(built, threads=2)
    table = whole.select(slice(0, MAX_ROWS))
    rows = len(table)
    order = np.random.default_rng(SEED).permutation(rows)
    stream = datasets.load_dataset("gz3d", data_dir=str(built), split="train", streaming=True).with_format("arrow")
    masks = table.select_columns(["segmentation.array"])
    sizes = [(row[name], math.prod(shape)) for row in islice(deflated(built), rows) for name, shape in SHAPES.items()]
    source, target = (np.ones((BATCH, sum(map(math.prod, SHAPES.values()))), np.uint8) for _ in range(2))
    with ThreadPoolExecutor(2) as threads:
        functions: dict[Any, Callable] = {
            "table": lambda: _read(table, order),
            1: lambda: _inflate(sizes),
            2: lambda: list(threads.map(_inflate, (sizes[part::16] for part in range(16)))),
            "masks": lambda: _read(masks, order),
            "memcpy": lambda: [np.copyto(target, source) for _ in range(0, rows, BATCH)],
        }
        best = best_in_turn(functions, rounds)
        in_order = {
            "builder": lambda: _stream(stream),
            "arrow": lambda: [None for _ in stream.iter(BATCH)],
            "sequential": lambda: _read(whole, np.arange(len(whole))),
        }
        both = best_in_turn(in_order, max(2, rounds // 2))
    rate = {name: rows / seconds for name, seconds in best.items()}
    builder, arrow, sequential = (len(whole) / both[name] for name in ("builder", "arrow", "sequential"))
    return Limits({1: rate[1], 2: rate[2]}, rate["memcpy"], rate["table"], sequential, rate["masks"], builder, arrow)


def _read(table: Any, order: np.ndarray) -> None:
    for first in range(0, len(order), BATCH):
        table[order[first : first + BATCH]]


def _stream(stream: Any) -> None:
    from skyshards.read.arrow import as_numpy

    for batch in stream.iter(BATCH):
        as_numpy(batch)


def _inflate(contents: list[tuple[bytes, int]]) -> None:
    for content, nbytes in contents:
        inflated(content, nbytes)


def measure_small_columns(folder: Path, scratch_file: Path) -> dict[str, float]:
    """Rows/s of label and position, from the table, and with h5py from whole columns of one file."""
    table = skyshards.open(folder).select_columns(LABELS)
    values = table[:]
    with h5py.File(scratch_file, "w") as file:
        for name in LABELS:
            file[name] = values[name]

    def by_h5py() -> dict[str, np.ndarray]:
        with h5py.File(scratch_file) as file:
            return {name: file[name][()] for name in LABELS}

    for name, column in by_h5py().items():
        np.testing.assert_array_equal(column, values[name])
    seconds = best_in_turn({"table": lambda: table[:], "h5py": by_h5py}, 20)
    return {name: len(table) / elapsed for name, elapsed in seconds.items()}


def measure_opening(folder: Path) -> float:
    """Seconds from the first call to the first row, all imports done."""
    start = time.perf_counter()
    row = skyshards.open(folder)[0]
    elapsed = time.perf_counter() - start
    assert row["image"].shape == (16, 16, 3)
    return elapsed
