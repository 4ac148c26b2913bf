"""Measure builds of many small rows: rate and memory as rows increase, over the sky and in one pixel.

    pip install -e '.[bench]' && python benchmarks/growing.py [--rows 30000 300000] [--dense 1000000]

Rows have a position, four numbers and a class, and nothing is fetched, so that what is measured is the engine's own
share. Over the sky, each row is a source; in one pixel, a source has 10,000 rows. Each build runs in a process of its
own. Memory is that process's peak, and that of the process tree. Prints Markdown.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Value
from harness import in_fresh_process, machine, print_table, versions

from skyshards import Column, Schema
from skyshards.pipeline.build import build
from skyshards.pipeline.recipe import Recipe, Source

ROWS_PER_SOURCE = 10_000
FIRST = 3_000
"""Rows of a build that memory is compared with."""


@dataclass(frozen=True)
class Numbers(Recipe):
    """Made-up rows, each a source of its own over the sky, or all in one pixel."""

    rows: int
    dense: bool

    name = "numbers"
    schema = Schema(
        {f"number_{place}": Column(Value("float32"), "a number") for place in range(4)}
        | {"label": Column(ClassLabel(names=["round", "edge-on"]), "a class")}
    )

    @property
    def folder(self) -> Path:
        return Path(__file__).parent / "many_rows"

    def sources(self, fetcher: Any) -> Iterator[Source]:
        step = ROWS_PER_SOURCE if self.dense else 1
        for first in range(0, self.rows, step):
            yield Source(f"galaxy-{first:09d}", info=(first, min(first + step, self.rows)))

    def read(self, source: Source, fetched: Any) -> Iterator[dict[str, Any]]:
        for number in range(*source.info):
            random = np.random.default_rng(number)
            numbers = random.random(6)
            ra, dec = (180 + numbers[0], numbers[1]) if self.dense else (360 * numbers[0], _latitude(numbers[1]))
            values = {f"number_{place}": numbers[2 + place] for place in range(4)}
            yield {"object_id": f"galaxy-{number:09d}", "ra": ra, "dec": dec, "label": number % 2} | values


def _latitude(part: float) -> float:
    return float(np.degrees(np.arcsin(2 * part - 1)))


def built(rows: int, dense: bool) -> tuple[float, int, int]:
    """Build in this process; give seconds, its peak memory in bytes and the number of shards."""
    with tempfile.TemporaryDirectory() as scratch:
        started = time.perf_counter()
        summary = build(Numbers(rows, dense), Path(scratch) / "numbers")
        seconds = time.perf_counter() - started
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10, summary.shards


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[30_000, 300_000])
    parser.add_argument("--dense", type=int, nargs="*", default=[100_000, 1_000_000])
    options = parser.parse_args()
    print(machine())
    print(versions(("skyshards", "datasets", "pyarrow", "h5py", "numpy")) + "\n")
    first = in_fresh_process(built, FIRST, False).value[1]
    lines = []
    for dense, counts in ((False, options.rows), (True, options.dense)):
        for rows in counts:
            found = in_fresh_process(built, rows, dense)
            seconds, peak, shards = found.value
            where = "one pixel" if dense else "the sky"
            per_row = (peak - first) / (rows - FIRST)
            figures = f"{seconds:.0f}", f"{rows / seconds:,.0f}", f"{peak >> 20:,}", f"{per_row:,.0f}"
            lines.append((f"{rows:,}", where, *figures, f"{found.pss >> 20:,}", f"{shards:,}"))
    head = "rows", "in", "s", "rows/s", "peak, MiB", f"bytes a row beyond {FIRST:,}", "all processes, MiB", "shards"
    print_table(head, lines)


if __name__ == "__main__":
    main()
