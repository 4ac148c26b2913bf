"""Measure joins: time to the first batch for two tables of a million rows, and joined batches beside both tables'.

    pip install -e '.[bench]' && python benchmarks/joining.py [--rows 1000000] [--seconds 5]

Positions lie at random in a few pixels; those of the second table are those of the first, in another order, offset by
about an arcsecond. Each measure runs in its own process. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from harness import best_in_turn, in_fresh_process, machine, print_table, versions
from simulated import build_gz3d, build_many_rows, enlarge_catalog, make_fits, scattered

import skyshards
from skyshards.format import healpix

BATCH = 64
NAMES = ("first", "second")


def make_large(small: Path, scratch: Path, rows: int) -> list[Path]:
    """Make two catalogues of `rows` rows that share the images of a small folder."""

    def near(pixels: np.ndarray, nside: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the first catalogue's positions, offset, and in another order within each pixel."""
        random = np.random.default_rng(1)
        ra, dec = scattered(pixels, nside, np.random.default_rng(0))
        offsets = random.normal(0, 0.6 / 3600, (2, rows))
        near_dec = np.clip(dec + offsets[1], -90, 90)
        near_ra = (ra + offsets[0] / np.cos(np.radians(near_dec))) % 360
        stays = healpix.pixel_of(near_ra, near_dec, nside) == pixels
        mixed = random.permutation(rows)
        order = mixed[np.argsort(pixels[mixed], kind="stable")]  # `pixels` is in order
        return np.where(stays, near_ra, ra)[order], np.where(stays, near_dec, dec)[order]

    first = functools.partial(scattered, random=np.random.default_rng(0))
    folders = [scratch / name for name in NAMES]
    for folder, places in zip(folders, (first, near), strict=True):
        enlarge_catalog(small, folder, rows, places)
        for shard in small.glob("healpix=*"):
            (folder / shard.name).symlink_to(shard)
    return folders


def to_first_batch(folders: list[Path]) -> dict[str, float]:
    """Seconds from folders to the first batch of joined rows, and the number of rows."""
    import scipy.spatial  # noqa: F401 (importing it is not part of the measure)

    start = time.perf_counter()
    tables = [skyshards.open(folder) for folder in folders]
    opened = time.perf_counter()
    joined = skyshards.join(*tables, names=NAMES)
    found = time.perf_counter()
    rows = np.random.default_rng(0).integers(0, len(joined), BATCH)
    joined[rows]
    end = time.perf_counter()
    return {"opening": opened - start, "joining": found - opened, "first batch": end - found, "rows": len(joined)}


def nothing() -> None:
    """Do nothing, to measure the memory of the imports alone."""


def batch_times(folders: list[Path], on: str, seconds: float) -> dict[str, float]:
    """Shortest seconds per batch of random rows, from both tables and from their join, one by one and read ahead."""
    tables = [skyshards.open(folder) for folder in folders]
    joined = skyshards.join(*tables, on=on, names=NAMES)
    random = np.random.default_rng(0)
    keys = [random.integers(0, len(joined), BATCH) for _ in range(4)]
    first, second = (
        [table._positions(matches[key]) for key in keys]
        for table, matches in zip(tables, joined._matches.rows.values(), strict=True)
    )
    sources = {"first": (tables[0], first), "second": (tables[1], second), "joined": (joined, keys)}

    def one_by_one(table, keys) -> Callable[[], None]:
        return lambda: [table[key] for key in keys] and None

    def ahead(table, keys) -> Callable[[], None]:
        return lambda: [None for _ in table.batches(keys)] and None

    measures = {f"{name}, one by one": one_by_one(*source) for name, source in sources.items()}
    measures |= {f"{name}, read ahead": ahead(*source) for name, source in sources.items()}
    best_in_turn(measures, 1)  # the page cache
    start = time.perf_counter()
    best = best_in_turn(measures, 2)
    rounds = max(2, int(2 * seconds / (time.perf_counter() - start)))
    again = best_in_turn(measures, rounds)
    return {name: min(best[name], again[name]) / len(keys) for name in measures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long batches are read")
    options = parser.parse_args()
    print(f"{machine()}\n\n{versions(['scipy', 'numpy', 'pyarrow'])}\n")
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        build_many_rows(scratch / "many", 3000, 12)
        large = make_large(scratch / "many", scratch, options.rows)
        idle = in_fresh_process(nothing)
        found = in_fresh_process(to_first_batch, large)
        times = found.value
        count = times.pop("rows")
        print_table(
            ("rows", "joined rows", *times, "together, s", "peak PSS, MiB", "without the imports, MiB"),
            [(f"{options.rows:,} x {options.rows:,}", f"{count:,}", *(f"{value:.2f}" for value in times.values()),
              f"{sum(times.values()):.2f}", f"{found.pss / 2**20:,.0f}", f"{(found.pss - idle.pss) / 2**20:,.0f}")],
        )  # fmt: skip
        make_fits(scratch / "fits", 128, 32)
        build_gz3d(scratch / "fits", scratch / "gz3d")
        pairs = {
            "gz3d with gz3d": ([scratch / "gz3d"] * 2, "object_id"),
            "thumbnails with thumbnails": ([scratch / "many"] * 2, "object_id"),
        }
        lines = []
        for name, (folders, on) in pairs.items():
            best = in_fresh_process(batch_times, folders, on, options.seconds).value
            for how in ("one by one", "read ahead"):
                first, second, joined = (1000 * best[f"{what}, {how}"] for what in ("first", "second", "joined"))
                lines.append(
                    (name, how, f"{first:.2f}", f"{second:.2f}", f"{joined:.2f}", f"{(first + second) / joined:.2f}")
                )
        print_table(
            (f"batches of {BATCH}", "", "first, ms", "second, ms", "joined, ms", "sum / joined (bar: 0.85)"), lines
        )


if __name__ == "__main__":
    main()
