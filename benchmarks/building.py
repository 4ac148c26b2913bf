"""Measure the rate and memory of packing GZ3D from FITS files on disk, beside the Multimodal Universe's method.

    pip install -e '.[bench]' && python benchmarks/building.py [--quick]

Each build runs in its own process. Compared builds run in turn, `--rounds` times, and the fastest of each counts.
Memory is the peak of the whole process tree, sampled ten times a second. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import mmu
from harness import Measured, in_fresh_process, machine, print_table, versions
from simulated import build_gz3d, make_fits

ROOT = Path(__file__).resolve().parents[1]
PROCESSES = 2


@dataclass(frozen=True)
class Built:
    """Result of a build: rows, seconds, peak memory of its process tree and size of its output, both in bytes."""

    rows: int
    seconds: float
    pss: int
    rss: int
    nbytes: int

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


def ours(fits_folder: Path, output: Path) -> tuple[int, float]:
    start = time.perf_counter()
    rows = build_gz3d(fits_folder, output, PROCESSES).rows
    return rows, time.perf_counter() - start


def peer(fits_folder: Path, output: Path) -> tuple[int, float]:
    start = time.perf_counter()
    rows = mmu.build(fits_folder, output, PROCESSES)
    return rows, time.perf_counter() - start


def measure(builder, fits_folder: Path, output: Path) -> Built:
    if output.exists():
        shutil.rmtree(output)
    found: Measured = in_fresh_process(builder, fits_folder, output)
    return Built(*found.value, found.pss, found.rss, _nbytes(output))


def rebuild_seconds(fits_folder: Path, output: Path) -> float:
    """Seconds that the whole command takes on a finished dataset."""
    command = [sys.executable, "build_parent_sample.py", "gz3d", "--local_data_path", fits_folder, "-o", output]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    elapsed = time.perf_counter() - start
    if done.returncode or "0 rows added" not in done.stdout:
        raise RuntimeError(f"the rebuild did not find everything done: {done.stdout}{done.stderr}")
    return elapsed


def _nbytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer objects, once, so that start-up weighs more")
    parser.add_argument("--rounds", type=int, help="how often the builds that are compared are run (2; quick: 1)")
    options = parser.parse_args()
    few, many = (100, 400) if options.quick else (300, 3000)
    print(f"{machine()}\n\n{versions(['skyshards', 'astropy', 'h5py', 'deflate', 'numpy'])}\n", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        all_files, some_files = scratch / "all", scratch / "some"
        make_fits(all_files, many, few)
        some_files.mkdir()
        for path in sorted(all_files.iterdir())[:: many // few]:
            os.link(path, some_files / path.name)
        runs: dict[str, list[Built]] = {"skyshards": [], "peer": []}
        for _ in range(options.rounds or (1 if options.quick else 2)):
            runs["skyshards"].append(measure(ours, some_files, scratch / "ours"))
            runs["peer"].append(measure(peer, some_files, scratch / "theirs"))
        large = measure(ours, all_files, scratch / "large")
        rebuild = min(rebuild_seconds(all_files, scratch / "large") for _ in range(3))
        small, other = (max(found, key=lambda built: built.rate) for found in runs.values())
        per_fits = {few: _nbytes(some_files) / few, many: _nbytes(all_files) / many}
        pss = max(built.pss for built in runs["skyshards"])

    table = [
        (name, f"{built.rows:,}", f"{built.rate:.1f}", f"{built.pss / 2**20:,.0f}", f"{built.rss / 2**20:,.0f}",
         f"{built.nbytes / built.rows / 1e3:,.0f}", f"{built.nbytes / built.rows / per_fits[built.rows]:.2f}")
        for name, built in (("skyshards", small), ("skyshards", large), ("as the Multimodal Universe", other))
    ]  # fmt: skip
    header = ("build", "objects", "objects/s", "peak PSS, MiB", "peak RSS, MiB", "kB an object", "of the .fits.gz")
    print_table(header, table)
    faster, growth = small.rate / other.rate, large.pss / pss
    bars = [
        ("packing, times the peer's rate", f"{faster:.1f}", "at least 4", faster >= 4),
        (f"bytes on disk over those of the .fits.gz, {many:,} objects", table[1][-1], "at most 1.3",
         large.nbytes / many / per_fits[many] <= 1.3),
        (f"peak memory of the process tree, {many:,} objects", f"{large.pss / 2**20:,.0f} MiB", "at most 1,024 MiB",
         large.pss <= 2**30),
        (f"the same over that with {few:,} objects", f"{growth:.2f}", "0.9 to 1.1", 0.9 <= growth <= 1.1),
        (f"the command with nothing to do, {many:,} objects", f"{rebuild:.2f} s", "under 2 s", rebuild < 2),
    ]  # fmt: skip
    print_table(("measure", "found", "bar", ""), [(*line, "met" if met else "**missed**") for *line, met in bars])


if __name__ == "__main__":
    main()
