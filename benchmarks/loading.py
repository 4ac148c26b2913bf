"""Measure a PyTorch `DataLoader` with two workers beside the table in one process: shuffled epochs of batches of 64.

    pip install -e '.[bench]' && python benchmarks/loading.py [--rows 1000] [--rounds 5]

Both read the same rows in turn, from the page cache, once the workers have started; the best epoch of each counts. The
processor time is that of all processes. On a busy machine, compare that. "By PyTorch" is how PyTorch sends
batches by itself. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import functools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from harness import machine, print_table, versions
from rows import BATCH, SEED
from simulated import build_gz3d, make_fits

import skyshards

COLUMNS = ("image", "segmentation.array", "ra", "dec", "total_classifications")
WORKERS = 2


class Epochs:
    """A sampler of shuffled batches, another order for each epoch."""

    def __init__(self, rows: int):
        self.random = np.random.default_rng(SEED)
        self.rows = rows

    def __iter__(self) -> Iterator[list[int]]:
        order = self.random.permutation(self.rows).tolist()
        return (order[first : first + BATCH] for first in range(0, self.rows, BATCH))

    def __len__(self) -> int:
        return -(-self.rows // BATCH)


def in_one_process(table: Any) -> None:
    for _ in table.batches(Epochs(len(table))):
        pass


def epoch(loader: Any) -> None:
    for _ in loader:
        pass


def by_pytorch(worker: int) -> None:
    """Have a worker give batches to PyTorch in ordinary memory."""
    from skyshards.read import table

    table.recycler = lambda usual: usual  # type: ignore[assignment]


def processor_seconds() -> float:
    """Processor time of this process and its children so far."""
    this = psutil.Process()
    times = [each.cpu_times() for each in (this, *this.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def measure(function: Callable[[], None]) -> tuple[float, float]:
    """Seconds, and seconds of all processors."""
    processor, start = processor_seconds(), time.perf_counter()
    function()
    return time.perf_counter() - start, processor_seconds() - processor


def main() -> None:
    from torch.utils.data import DataLoader

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(machine())
    print(versions(("skyshards", "torch", "numpy", "deflate")) + "\n")
    with tempfile.TemporaryDirectory() as scratch:
        make_fits(Path(scratch) / "fits", options.rows, min(options.rows, 64))
        build_gz3d(Path(scratch) / "fits", Path(scratch) / "gz3d", workers=os.cpu_count())
        table = skyshards.open(Path(scratch) / "gz3d").select_columns(COLUMNS)
        load = functools.partial(
            DataLoader, table, sampler=Epochs(len(table)), batch_size=None, num_workers=WORKERS, persistent_workers=True
        )
        functions = {"the table in one process": functools.partial(in_one_process, table)}
        for name, start in ((f"`DataLoader`, {WORKERS} workers", None), ("the same, sent by PyTorch", by_pytorch)):
            functions[name] = functools.partial(epoch, load(worker_init_fn=start))
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
        for round_number in range(options.rounds + 1):
            for name, function in functions.items():
                seconds = measure(function)
                if round_number:  # in the first, workers start
                    found[name].append(seconds)
    best = {name: [min(each) for each in zip(*measured, strict=True)] for name, measured in found.items()}
    wall, processor = next(iter(best.values()))
    print_table(
        ("shuffled batches of 64 GZ3D rows", "rows/s", "share", "rows per processor second", "share"),
        [
            (name, f"{options.rows / a:,.0f}", f"{wall / a:.2f}", f"{options.rows / b:,.0f}", f"{processor / b:.2f}")
            for name, (a, b) in best.items()
        ],
    )


if __name__ == "__main__":
    main()
