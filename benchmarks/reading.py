"""Measure how fast a training loop reads GZ3D rows from a table, beside the machine's limits and other formats.

    pip install -e '.[bench]' && python benchmarks/reading.py [--quick]

Everything is read from the page cache. Each measure runs in its own process; all run in turn, `--rounds` times,
and the best of each counts. Peers that are not installed are skipped, with a note. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import io
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from harness import in_fresh_process, machine, print_table, versions
from limits import Limits, measure_limits, measure_opening, measure_small_columns
from peers import FAST, MDS, PEERS, STOCK, TABLE
from simulated import COPY_RA, COPY_SUBJECT, build_gz3d, build_many_rows, make_fits

import skyshards

IMPORT_NAMES = {"mosaicml-streaming": "streaming"}
_alive: list[Any] = []
"""Loaders kept alive, whose workers are still busy when a measure ends: stopping them could outlast the measure."""
CATALOG_ROWS, CATALOG_SHARDS = 30_000, 700


@dataclass(frozen=True)
class Rate:
    """Result of one reader; `files` are those that a batch's rows came from, `changed` the dtypes lost."""

    rows_per_second: float
    files: float
    checked: int
    changed: str
    workers: int = 0
    pss: int = 0
    disk: float = 0.0


def save_source(fits_folder: Path, distinct: int, folder: Path) -> None:
    """Save the contents of the distinct FITS files, read with astropy alone."""
    first = sorted(fits_folder.iterdir(), key=_subject)[:distinct]
    rows: dict[str, list] = {"image": [], "masks": [], "ra": [], "dec": [], "total_classifications": []}
    for path in first:
        with fits.open(io.BytesIO(gzip.decompress(path.read_bytes()))) as hdus:  # much faster than by its path
            rows["image"].append(hdus[0].data)
            rows["masks"].append(np.stack([hdu.data for hdu in hdus[1:5]]).astype(np.uint8))
            for name, column in (("ra", "ra"), ("dec", "dec"), ("total_classifications", "GZ_total_classifications")):
                rows[name].append(hdus[5].data[column][0])
    np.save(folder / "subject_id.npy", [_subject(path) for path in first])
    for name, values in rows.items():
        np.save(folder / f"{name}.npy", np.stack(values))


def _subject(path: Path) -> int:
    return int(path.name.removesuffix(".fits.gz").rpartition("_")[2])


def check(batch: dict[str, Any], source: dict[str, np.ndarray]) -> str:
    """Compare a batch with the FITS files; returns dtypes that differ from the shards'. Raises if a value differs."""
    batch = {name: np.asarray(values) for name, values in batch.items()}
    position = np.searchsorted(source["subject_id"], source["subject_id"][0] + _place(batch["subject_id"], source))
    copy = (batch["subject_id"] - source["subject_id"][position]) // COPY_SUBJECT
    expected = {name: source[name][position] for name in ("dec", "total_classifications")}
    expected["ra"] = source["ra"][position] + COPY_RA * copy.astype(np.float32)
    for name, values in expected.items():
        np.testing.assert_array_equal(batch[name], values, name)
    for name in ("image", "masks"):
        for number, values in zip(position, batch[name], strict=True):
            if not np.array_equal(values, source[name][number]):
                raise AssertionError(f"{name} of subject {source['subject_id'][number]} differs from the FITS file's")
    dtypes = {"image": "uint8", "masks": "uint8", "ra": "float64"}
    changed = {f"{right} as {batch[name].dtype}" for name, right in dtypes.items() if batch[name].dtype != right}
    return ", ".join(sorted(changed))


def _place(subjects: np.ndarray, source: dict[str, np.ndarray]) -> np.ndarray:
    return (subjects - source["subject_id"][0]) % COPY_SUBJECT


def measure_peer(
    name: str, built: Path, folder: Path, workers: int, seconds: float, source_folder: Path | None
) -> Rate:
    """Rows per second over one shuffled pass, or `seconds` of it; with a source, an earlier pass compares with that.

    The clock starts once each worker has returned a batch, so that starting processes and filling buffers do not count.
    """
    peer, checked, changed, files = PEERS[name], 0, "", []
    if source_folder is not None:
        source = {path.stem: np.load(path, mmap_mode="r") for path in source_folder.glob("*.npy")}
        file_of = dict(zip(*np.load(folder.with_suffix(".files.npy")), strict=True))
        deadline = time.monotonic() + seconds
        for batch in peer.batches(built, folder, workers):
            changed = check(batch, source)
            checked += len(batch["image"])
            files.append(len({file_of[int(subject)] for subject in batch["subject_id"]}))
            if time.monotonic() > deadline:
                break
    start, count = 0.0, 0
    batches = iter(peer.batches(built, folder, workers))
    _alive.append(batches)
    for number, batch in enumerate(batches, 1):
        if start:
            count += len(batch["image"])
            if time.perf_counter() > start + seconds:
                break
        elif number >= workers:
            start = time.perf_counter()
    return Rate(count / (time.perf_counter() - start), float(np.mean(files or [0])), checked, changed, workers)


def prepare_peer(name: str, built: Path, folder: Path) -> float:
    """Write the peer's files, and beside them the file of each row; returns the bytes on disk per row."""
    table = skyshards.open(built)
    catalog, write = table.catalog, PEERS[name].write
    folder.mkdir()
    files = write(built, folder) if write else catalog["_shard"].combine_chunks().indices.to_numpy()
    np.save(folder.with_suffix(".files.npy"), [catalog["subject_id"].to_numpy(), files])
    where = folder if write else built
    return sum(path.stat().st_size for path in where.rglob("*") if path.is_file()) / len(table)


def measure_peers(built: Path, scratch: Path, seconds: float, rounds: int) -> tuple[dict[str, Rate], dict[str, str]]:
    """Best rate of each peer over its numbers of workers, and the reasons why others have none."""
    rates: dict[str, Rate] = {}
    absent: dict[str, str] = {}
    disks: dict[str, float] = {}
    for round_number in range(rounds):
        for number, (name, peer) in enumerate(PEERS.items()):
            folder = scratch / f"peer{number}"
            modules = {package: IMPORT_NAMES.get(package, package) for package in peer.packages}
            missing = [package for package, module in modules.items() if not importlib.util.find_spec(module)]
            if name in absent or missing:
                absent.setdefault(name, f"not installed: {', '.join(missing)}")
                continue
            try:
                if round_number == 0:
                    print(f"{time.strftime('%X')} {name}", file=sys.stderr)
                    disks[name] = in_fresh_process(prepare_peer, name, built, folder).value
                for workers in peer.workers:
                    first = round_number == 0 and workers == peer.workers[0]
                    source = scratch / "source" if first else None
                    found = in_fresh_process(measure_peer, name, built, folder, workers, seconds, source)
                    rates[name] = _better(rates.get(name), found.value, found.pss, disks[name])
            except RuntimeError as error:
                absent[name] = str(error)
    return rates, absent


def _better(before: Rate | None, now: Rate, pss: int, disk: float) -> Rate:
    """Faster of two measures of a peer, with the findings of the first round."""
    pss = max(pss, before.pss) if before else pss
    fast = now if before is None or now.rows_per_second > before.rows_per_second else before
    known = before or now
    return Rate(fast.rows_per_second, known.files or now.files, known.checked + (now.checked if before else 0),
                known.changed or now.changed, fast.workers, pss, disk)  # fmt: skip


def print_peers(rates: dict[str, Rate], absent: dict[str, str]) -> None:
    rows = []
    for name, rate in sorted(rates.items(), key=lambda item: -item[1].rows_per_second):
        ratio = f"{rates[TABLE].rows_per_second / rate.rows_per_second:.1f}" if TABLE in rates else ""
        where = f"{rate.workers} workers" if rate.workers else "1 process"
        equal = f"{rate.checked:,}" + (f" ({rate.changed})" if rate.changed else "")
        rows.append((name, f"{rate.rows_per_second:,.0f}", ratio, where, f"{rate.files:.1f}", f"{rate.disk / 1e3:,.0f}",
                     f"{rate.pss / 2**20:,.0f}", equal))  # fmt: skip
    header = ("shuffled batches of 64 rows, all columns", "rows/s", "the table is faster by", "better with",
              "files a batch", "kB on disk a row", "peak PSS, MiB", "rows found equal to the FITS files")  # fmt: skip
    print_table(header, rows)
    for name, reason in absent.items():
        print(f"- Left out: {name} ({reason})")


def print_bars(rates: dict[str, Rate], limits: Limits, small: dict[str, float], opening: float) -> None:
    """Print the measures with a bar, and whether they meet it."""
    rivals = {name: rate for name, rate in rates.items() if name not in (TABLE, FAST, MDS)}
    best = max(rivals, key=lambda name: rivals[name].rows_per_second)
    table = rates[TABLE].rows_per_second
    rows = [
        (f"shuffled batches of 64 from the table vs the best peer that reads deflated rows ({best})",
         table / rivals[best].rows_per_second, 3),
        ("the same vs inflating alone, 2 threads", limits.table / limits.inflate[2], 0.8),
        ("masks only vs everything", limits.masks / limits.table, 2),
        ("registered builder, `.iter(64)` of arrow format, vs the table read in order",
         limits.arrow / limits.sequential, 0.9),
        ("the same with `as_numpy`, which copies", limits.builder / limits.sequential, 0.7),
    ]  # fmt: skip
    if STOCK in rivals:
        rows.insert(0, (f"shuffled batches of 64 from the table vs {STOCK}", table / rivals[STOCK].rows_per_second, 40))
    lines = [(what, f"{ratio:.2f}", f"at least {bar}", _met(ratio >= bar)) for what, ratio, bar in rows]
    lines += [
        (f"label and position of {CATALOG_ROWS:,} rows (h5py, whole columns of one file: {small['h5py'] / 1e6:.1f} M)",
         f"{small['table'] / 1e6:.1f} M rows/s", "at least 3 M", _met(small["table"] >= 3e6)),
        (f"open a folder of {CATALOG_ROWS:,} rows in {small['shards']:.0f} shards, first row in hand, imports done",
         f"{opening:.3f} s", "at most 0.5 s", _met(opening <= 0.5)),
    ]  # fmt: skip
    print_table(("measure", "found", "bar", ""), lines)
    print_table(
        ("limits and the table's own rates", "rows/s"),
        [
            ("inflate alone, 1 thread (`deflate`, zlib-ng)", f"{limits.inflate[1]:,.0f}"),
            ("inflate alone, 2 threads", f"{limits.inflate[2]:,.0f}"),
            ("copying the inflated rows in memory", f"{limits.memcpy:,.0f}"),
            ("table, shuffled batches", f"{limits.table:,.0f}"),
            ("table, batches in order", f"{limits.sequential:,.0f}"),
            ("table, shuffled, masks only", f"{limits.masks:,.0f}"),
            ("registered builder, arrow format", f"{limits.arrow:,.0f}"),
            ("registered builder, arrow format, as_numpy", f"{limits.builder:,.0f}"),
        ],
    )


def _met(condition: bool) -> str:
    return "met" if condition else "**missed**"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rows, once: about two minutes")
    parser.add_argument("--rounds", type=int, help="how often each measure is taken (2; quick: 1)")
    options = parser.parse_args()
    rows, distinct, seconds = (256, 64, 2.0) if options.quick else (512, 128, 5.0)
    rounds = options.rounds or (1 if options.quick else 2)
    packages = dict.fromkeys(package for peer in PEERS.values() for package in peer.packages)
    print(f"{machine()}\n\n{versions([*packages, 'deflate', 'numpy'])}\n")
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        built, many = scratch / "gz3d", scratch / "many"
        make_fits(scratch / "fits", rows, distinct)
        build_gz3d(scratch / "fits", built)
        (scratch / "source").mkdir()
        save_source(scratch / "fits", distinct, scratch / "source")
        print(f"{rows:,} rows of {distinct} simulated galaxies\n", flush=True)
        shards = build_many_rows(many, CATALOG_ROWS, CATALOG_SHARDS).shards

        limits = in_fresh_process(measure_limits, built, 5 * rounds).value
        rates, absent = measure_peers(built, scratch, seconds, rounds)
        small = in_fresh_process(measure_small_columns, many, scratch / "columns.hdf5").value | {"shards": shards}
        opening = min(in_fresh_process(measure_opening, many).value for _ in range(3))
        print_bars(rates, limits, small, opening)
        print_peers(rates, absent)


if __name__ == "__main__":
    main()
