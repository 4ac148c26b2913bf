"""Measure the time, memory and size of a page of GZ3D, for datasets of 30,000 and of 1,000,000 rows.

    pip install -e '.[bench]' && python benchmarks/page.py [--rows 30000 1000000]

The rows are those of a small dataset, repeated in a larger catalogue, at random positions in their pixels. Each page is
written in its own process, with imports. Prints Markdown.
"""

from __future__ import annotations

import argparse
import functools
import re
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from harness import in_fresh_process, machine, print_table, versions
from simulated import build_gz3d, enlarge_catalog, make_fits, scattered

from skyshards.format.layout import SOURCES


def make_large(small: Path, folder: Path, rows: int) -> None:
    """Make a dataset of `rows` rows that shares the shards of a small one."""
    enlarge_catalog(small, folder, rows, functools.partial(scattered, random=np.random.default_rng(0)))
    shutil.copy(small / SOURCES, folder)
    for shard in small.glob("healpix=*"):
        (folder / shard.name).symlink_to(shard)


def written(folder: Path, out: Path) -> tuple[float, float, int, int]:
    """Return the seconds that a page takes, those of the processor, its rows in the gallery, and its bytes.

    Pictures that several rows share count for each of them, since those of real galaxies all differ.
    """
    start, used = time.perf_counter(), time.process_time()
    from skyshards.page.write import INDEX, write_page

    done = write_page(folder, out)
    seconds = time.perf_counter() - start, time.process_time() - used
    names = re.findall(r'"(pictures/\w+\.webp)"', (out / INDEX).read_text(encoding="utf-8"))
    return *seconds, done.shown, sum((out / name).stat().st_size for name in [INDEX, *names])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[30_000, 1_000_000])
    parser.add_argument("--stored", type=int, default=300, help="rows in the shards; the others share their values")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a folder to keep the pages in")
    options = parser.parse_args()
    print(f"{machine()}; {versions(['pillow', 'numpy', 'healpy', 'pyarrow'])}\n")
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        make_fits(place / "fits", options.stored, min(options.stored, 100))
        build_gz3d(place / "fits", place / "gz3d")
        table = []
        for rows in options.rows:
            make_large(place / "gz3d", place / str(rows), rows)
            out = (options.keep or place) / f"page-{rows}"
            found = [in_fresh_process(written, place / str(rows), out) for _ in range(options.rounds)]
            seconds, used, shown, nbytes = min(one.value for one in found)
            memory = max(one.pss for one in found) / 2**20
            times = f"{seconds:.1f}", f"{used:.1f}"
            table.append([f"{rows:,}", f"{shown:,}", *times, f"{memory:,.0f}", f"{nbytes / 1e6:.1f}"])
        print_table(["rows", "in the gallery", "s", "s of the processor", "peak MiB", "MB"], table)


if __name__ == "__main__":
    main()
