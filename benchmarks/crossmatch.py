"""Measure `skyshards crossmatch` of two large Parquet files, with and without Dask; compare a sample with astropy.

    pip install -e '.[bench,dask]' && python benchmarks/crossmatch.py [--rows 1000000] [--workers 1 2]

Positions cover the whole sky, in no order; those of the second file are those of the first, offset by up to 2 arcsec.
Each row has a name of 20 characters. `main` is the peak of the process that was started, `all` that of its workers as
well (pages that they share, of mapped files too, once). Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy import units
from astropy.coordinates import SkyCoord
from click.testing import CliRunner
from harness import in_fresh_process, machine, print_table, versions

from skyshards.cli.main import main as skyshards

SAMPLE = 10_000


def write(folder: Path, rows: int) -> None:
    """Write both files."""
    random = np.random.default_rng(0)
    ra, dec = random.uniform(0, 360, rows), np.degrees(np.arcsin(random.uniform(-1, 1, rows)))
    ra[:4], dec[:4] = [0, 0, 1e-5, 360 - 1e-5], [90, -90, 5, 5]
    near = random.normal(0, 0.6 / 3600, (2, rows))
    other_dec = np.clip(dec + near[1], -90, 90)
    other_ra = (ra + near[0] / np.cos(np.radians(np.clip(other_dec, -89.9, 89.9)))) % 360
    order = random.permutation(rows)
    for name, columns in (("a", (ra, dec)), ("b", (other_ra[order], other_dec[order]))):
        names = [f"{name}-{number:018d}" for number in range(rows)]
        pq.write_table(pa.table([names, *columns], ["object_id", "ra", "dec"]), folder / f"{name}.parquet",
                       row_group_size=1 << 17)  # fmt: skip


def crossmatched(folder: Path, name: str, *options: str) -> tuple[float, float, int]:
    """Run the command in this process; give seconds, processor time and the peak memory in bytes."""
    started = time.perf_counter()
    files = [str(folder / file) for file in ("a.parquet", "b.parquet", name)]
    outcome = CliRunner().invoke(skyshards, ["crossmatch", *files[:2], "-o", files[2], *options])
    assert outcome.exit_code == 0, outcome.output
    spent = sum(os.times()[:4])
    return time.perf_counter() - started, spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def like_astropy(folder: Path, pairs: Path, match: str) -> int:
    """Count the rows of a sample, the poles and right ascension 0 among them, whose pairs are those of astropy."""
    a, b = (
        SkyCoord(table["ra"].to_numpy(), table["dec"].to_numpy(), unit="deg")
        for table in (pq.read_table(folder / f"{name}.parquet", columns=["ra", "dec"]) for name in "ab")
    )
    rows = np.unique(np.append(np.arange(4), np.random.default_rng(1).choice(len(a), SAMPLE - 4, replace=False)))
    if match == "all":
        places, others, *_ = b.search_around_sky(a[rows], 1 * units.arcsec)
        wanted = set(zip(rows[places].tolist(), others.tolist(), strict=True))
    else:
        nearest, apart, _ = a[rows].match_to_catalog_sky(b)
        near = apart.arcsec <= 1
        wanted = set(zip(rows[near].tolist(), nearest[near].tolist(), strict=True))
    found = pq.read_table(pairs, columns=["row_a", "row_b"])
    of_sample = found.filter(pa.array(np.isin(found["row_a"].to_numpy(), rows)))
    differ = wanted ^ set(zip(*(of_sample[name].to_pylist() for name in ("row_a", "row_b")), strict=True))
    return len(rows) - len({row for row, _ in differ})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000_000])
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--match", choices=["nearest", "all"], default="nearest")
    options = parser.parse_args()
    print(machine())
    print(versions(("skyshards", "astropy", "scipy", "numpy", "pyarrow", "distributed")) + "\n")
    lines, notes = [], []
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as scratch:
            folder, first = Path(scratch), None
            in_fresh_process(write, folder, rows)
            for workers in (0, *options.workers):
                dask = ("--dask", "local", "--workers", str(workers)) if workers else ()
                found = in_fresh_process(crossmatched, folder, "p.parquet", "--match", options.match, *dask)
                seconds, spent, peak = found.value
                count = pq.read_metadata(folder / "p.parquet").num_rows
                where = f"{workers} Dask workers" if workers else "without Dask"
                figures = f"{seconds:.1f}", f"{spent:.1f}", f"{peak >> 20:,}", f"{found.pss >> 20:,}"
                lines.append((f"{rows:,} x {rows:,}", where, f"{count:,}", *figures))
                content = (folder / "p.parquet").read_bytes()
                first = first or content
                assert content == first, "the bytes differ"
            equal = in_fresh_process(like_astropy, folder, folder / "p.parquet", options.match).value
            notes.append(f"{rows:,} rows: {equal:,} of a sample of {SAMPLE:,} have the pairs that astropy gives them.")
    print_table(("rows", "in", "pairs", "s", "processor s", "main, MiB", "all, MiB"), lines)
    print("\n" + "\n".join(notes))


if __name__ == "__main__":
    main()
