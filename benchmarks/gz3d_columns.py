"""Measure what the small columns of GZ3D cost, in bytes of the shards and in processor time of reading.

    python benchmarks/gz3d_columns.py [--objects 40]

Batches are read at random from the page cache, from tables of all columns and of some, in turn; times are processor
seconds of this process, the least of `--rounds`, so that other programs on the machine matter little.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
from harness import machine, print_table, versions
from simulated import build_gz3d, make_fits

import skyshards

LARGE = ("image", "segmentation.array")
VOLUNTEERS = ("volunteers", "drew", "center_clusters", "star_clusters", "hexagon", "explorer_link", "plateifu")
"""What the files say of the volunteers, of the IFU and of the galaxy's place, beside masks and votes."""


def column_bytes(folder: Path) -> Counter[str]:
    """Bytes of each top-level column in the shards, those of `LARGE` by themselves."""
    found: Counter[str] = Counter()

    def add(name: str, item) -> None:
        if isinstance(item, h5py.Dataset):
            column = name.replace("/", ".")
            found[column if column in LARGE else column.partition(".")[0]] += item.id.get_storage_size()

    for path in folder.glob("healpix=*/*.hdf5"):
        with h5py.File(path) as shard:
            shard.visititems(add)
    return found


def seconds(table: skyshards.Table, batches: list[np.ndarray]) -> float:
    """Processor seconds of reading some batches."""
    start = time.process_time()
    for batch in batches:
        table[batch]
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=40, help="number of galaxies")
    parser.add_argument("--rounds", type=int, default=12, help="how often each measure is taken")
    options = parser.parse_args()
    print(f"{machine()}\n\n{versions(['skyshards', 'h5py', 'numpy'])}\n", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        fits_folder, folder = Path(temporary) / "fits", Path(temporary) / "gz3d"
        make_fits(fits_folder, options.objects, options.objects)
        build_gz3d(fits_folder, folder, 2)
        table, sizes = skyshards.open(folder), column_bytes(folder)
        names = dict.fromkeys(name.partition(".")[0] for name in table.column_names)
        tables = {
            "all columns": table,
            "without those of the volunteers": table.select_columns([name for name in names if name not in VOLUNTEERS]),
            "images and masks": table.select_columns(list(LARGE)),
        }
        random = np.random.default_rng(0)
        least: dict[str, float] = {}
        for _ in range(options.rounds):
            batches = np.array_split(random.permutation(len(table)), max(1, len(table) // 20))
            for name, some in tables.items():
                least[name] = min(least.get(name, np.inf), seconds(some, batches))
    per_row = {name: found / options.objects for name, found in sizes.items()}
    of_volunteers = sum(per_row[name] for name in VOLUNTEERS)
    groups = [(name, per_row[name]) for name in LARGE]
    groups += [("columns of the volunteers", of_volunteers)]
    groups += [("all others", sum(per_row.values()) - sum(found for _, found in groups))]
    print_table(("in the shards", "bytes a row"), [(name, f"{found:,.0f}") for name, found in groups])
    print_table(
        ("read", "processor ms a row", "over that of images and masks"),
        [(name, f"{found / options.objects * 1e3:.2f}", f"{found / least['images and masks']:.2f}")
         for name, found in least.items()],
    )  # fmt: skip


if __name__ == "__main__":
    main()
