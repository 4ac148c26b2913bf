"""Measure what `--store fast` gives and takes: rows per second beside a copy in memory and other formats, and disk.

    pip install -e '.[bench]' && python benchmarks/storing.py [--rounds 5]

The first table measures in one process, all in turn; the second each peer in a process of its own, all in turn. The
best of the rounds counts. The third shows what deflated columns lose. Everything is read
from the page cache. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deflate
import numpy as np
from harness import best_in_turn, in_fresh_process, machine, print_table, versions
from peers import FAST, MDS, PEERS, TABLE
from reading import measure_peer, prepare_peer
from rows import BATCH, SEED, SHAPES
from simulated import build_gz3d, make_fits

import skyshards
from skyshards.format import storage
from skyshards.format.kinds.number import inflated

WEBDATASET = "webdataset"
MASK = (4, 525, 525)
ROW_BYTES = sum(map(math.prod, SHAPES.values()))


def repack_raw(built: Path, folder: Path) -> None:
    """Repack with no columns deflated."""
    storage.SHRUNK = 1 << 20
    skyshards.repack(built, folder, "fast", workers=0)


def cache_in_order(folder: Path) -> None:
    """Have the page cache drop a folder's shards, and read them in order: it then holds them in large pieces."""
    os.sync()
    for path in sorted(folder.rglob("*.hdf5")):
        with open(path, "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while file.read(1 << 22):
                pass


def measure_stores(folders: dict[str, Path], rounds: int) -> dict[str, tuple[float, float]]:
    """Rows/s, by the clock and by processor seconds, of copying rows in memory and of each folder's table.

    Also of the image and the masks alone, which are nearly all of a row's bytes.
    """
    tables: dict[str, Any] = {}
    for name, folder in folders.items():
        cache_in_order(folder)
        tables[name] = table = skyshards.open(folder, threads=2)
        tables[f"{name}: image and masks"] = table.select_columns(["image", "segmentation.array"])
    rows = len(next(iter(tables.values())))
    order = np.random.default_rng(SEED).permutation(rows)
    batches = [order[first : first + BATCH] for first in range(0, rows, BATCH)]
    memory = np.ones((rows, ROW_BYTES), np.uint8)
    target = np.ones((BATCH, ROW_BYTES), np.uint8)
    spent: dict[str, float] = {}

    def timed(name: str, read: Callable[[np.ndarray], object]) -> Callable[[], None]:
        def all_batches() -> None:
            start = time.process_time()
            for batch in batches:
                read(batch)
            spent[name] = min(spent.get(name, math.inf), time.process_time() - start)

        return all_batches

    def copy(batch: np.ndarray) -> None:
        for place, row in enumerate(batch):
            np.copyto(target[place], memory[row])

    functions = {"memory": timed("memory", copy)}
    functions |= {name: timed(name, table.__getitem__) for name, table in tables.items()}
    best = best_in_turn(functions, rounds)
    return {name: (rows / best[name], rows / spent[name]) for name in functions}


def measure_shrunk(scratch: Path, masks: np.ndarray, rounds: int) -> list[tuple[float, float]]:
    """How many times deflate shrinks zeros and masks with more and more noise, and their rate over that of raw ones.

    Rates are by processor seconds, from 500 MB of values.
    """
    random, found = np.random.default_rng(SEED), []
    out = np.ones((BATCH, *MASK), np.uint8)
    for noise in (None, 0, 3e-4, 1e-3, 2e-3, 5e-3, 1e-2, 3e-2, 1e-1):
        noisy = np.zeros_like(masks) if noise is None else masks.copy()
        places = random.integers(0, noisy.size, int(noisy.size * (noise or 0)))
        noisy.reshape(-1)[places] = random.integers(0, 16, len(places))
        packed = [bytes(deflate.zlib_compress(one, 6)) for one in noisy]
        copies = -(-500_000_000 // noisy.nbytes)
        files = {}
        for name, parts in (("raw", [one.tobytes() for one in noisy]), ("deflated", packed)):
            path = scratch / f"{name}-{noise}"
            path.write_bytes(b"".join(parts) * copies)
            starts = np.cumsum([0, *map(len, parts * copies)]).tolist()
            files[name] = os.open(path, os.O_RDONLY), list(zip(starts[:-1], map(len, parts * copies), strict=True))
        seconds = dict.fromkeys(files, math.inf)
        for _ in range(rounds):
            for name, (file, places_of) in files.items():
                start = time.process_time()
                for number, (place, size) in enumerate(places_of):
                    target = out[number % BATCH]
                    if name == "raw":
                        os.preadv(file, [target], place)
                        deflate.crc32(target)
                    else:
                        content = os.pread(file, size, place)
                        deflate.crc32(content)
                        target[...] = np.frombuffer(inflated(content, target.nbytes), np.uint8).reshape(MASK)
                seconds[name] = min(seconds[name], time.process_time() - start)
        for file, _ in files.values():
            os.close(file)
        found.append((noisy.nbytes / sum(map(len, packed)), seconds["raw"] / seconds["deflated"]))
        for path in scratch.iterdir():
            path.unlink()
    return found


def measure_peers(built: Path, scratch: Path, seconds: float, rounds: int) -> dict[str, list[float]]:
    """Rows/s of each peer in each round, the better of its numbers of workers."""
    folders = {name: scratch / f"peer{number}" for number, name in enumerate((TABLE, FAST, MDS, WEBDATASET))}
    for name, folder in folders.items():
        in_fresh_process(prepare_peer, name, built, folder)
    rates: dict[str, list[float]] = {name: [] for name in folders}
    for _ in range(rounds):
        for name, folder in folders.items():
            found = [
                in_fresh_process(measure_peer, name, built, folder, workers, seconds, None).value
                for workers in PEERS[name].workers
            ]
            rates[name].append(max(rate.rows_per_second for rate in found))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each measure is taken")
    options = parser.parse_args()
    packages = dict.fromkeys(package for name in (TABLE, MDS, WEBDATASET) for package in PEERS[name].packages)
    print(f"{machine()}\n\n{versions([*packages, 'deflate', 'numpy', 'h5py'])}\n", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        folders = {name: scratch / name for name in ("small", "fast", "fast, but masks uncompressed")}
        make_fits(scratch / "fits", 512, 64)
        build_gz3d(scratch / "fits", folders["small"])
        skyshards.repack(folders["small"], folders["fast"], "fast")
        in_fresh_process(repack_raw, folders["small"], folders["fast, but masks uncompressed"])
        disk = {name: sum(path.stat().st_size for path in folder.rglob("*.hdf5")) for name, folder in folders.items()}
        stores = in_fresh_process(measure_stores, folders, 2 * options.rounds).value
        copied, of_processor = stores["memory"]
        lines = [
            (name, f"{rate:,.0f}", f"{rate / copied:.2f}", f"{cpu / of_processor:.2f}",
             f"{disk[name] / 512e3:,.0f}" if name in disk else "")
            for name, (rate, cpu) in stores.items()
        ]  # fmt: skip
        header = (
            "shuffled batches of 64",
            "rows/s",
            "of copying",
            "of copying, by processor seconds",
            "kB on disk a row",
        )
        print_table(header, lines)
        peers = measure_peers(folders["small"], scratch, 5.0, options.rounds)
        fast = max(peers[FAST])
        lines = [(name, f"{max(rates):,.0f}", f"{fast / max(rates):.1f}") for name, rates in peers.items()]
        print_table(("shuffled batches of 64", "rows/s", "fast / this"), lines)
        masks = skyshards.open(folders["small"])[:32]["segmentation"]["array"]
        (scratch / "shrunk").mkdir()
        found = measure_shrunk(scratch / "shrunk", masks, options.rounds)
        header = ("masks that deflate shrinks", "rate of deflated over uncompressed, by processor seconds")
        print_table(header, [(f"{shrunk:.0f}-fold", f"{rate:.2f}") for shrunk, rate in found])


if __name__ == "__main__":
    main()
