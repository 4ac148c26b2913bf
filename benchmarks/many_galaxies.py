"""Measure catalogues of up to a hundred million rows: opening, a cone, a condition, an epoch of labels.

    python benchmarks/many_galaxies.py [--rows 1000000 10000000] [--scratch FOLDER]

The catalogues are written directly, without shards: positions are uniform in each HEALPix pixel, labels random. A
hundred million rows take 4 GB of disk. Each catalogue is measured in a fresh process, imports done. Prints a Markdown
table.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from harness import best_in_turn, in_fresh_process, machine, print_table, versions
from simulated import build_many_rows

import skyshards
from skyshards.format import catalog
from skyshards.format.catalog_file import KEY
from skyshards.format.catalog_schema import stored_schema

NSIDE, PIXELS = 16, 12 * 16**2
CENTRE, RADIUS = (180.0, 30.0), 0.5
CONDITION = "total_classifications >= 350"
BATCH = 1024


def make_catalog(small: Path, output: Path, rows: int) -> None:
    """Write a catalogue with as many rows in each pixel of the sky, the first of which give all other columns."""
    import healpy

    table, manifest = catalog.open_folder(small)
    catalog.write(output, manifest, table)  # for its metadata
    pixels = np.array(sorted(range(PIXELS), key=lambda pixel: f"healpix={pixel}/"))
    counts = np.diff(np.linspace(0, rows, PIXELS + 1).astype(int))
    shard = manifest.shards[0]
    shards = tuple(
        shard._replace(path=f"healpix={pixel}/001-of-001.hdf5", pixel=pixel, rows=count, nbytes=1 << 40)
        for pixel, count in zip(pixels.tolist(), counts.tolist(), strict=True)
    )
    metadata = pq.read_schema(output / catalog.CATALOG).metadata
    metadata |= {KEY: replace(manifest, shards=shards).to_json().encode(), b"table::len::_shard": b"28"}
    schema = stored_schema(manifest.specs).with_metadata(metadata)
    options = {"compression": "zstd", "write_page_checksum": True, "use_dictionary": ["_split", "_shard", "healpix"]}
    random, left = np.random.default_rng(0), []
    with pq.ParquetWriter(output / catalog.CATALOG, schema, **options) as writer:

        def write(parts: list[pa.Table]) -> list[pa.Table]:
            writer.write_table(pa.concat_tables(parts), catalog.GROUP_ROWS)
            return []

        first = 0
        for pixel, path, count in zip(pixels.tolist(), [each.path for each in shards], counts.tolist(), strict=True):
            inside = healpy.pix2ang(NSIDE << 10, (pixel << 20) + random.integers(0, 1 << 20, count), True, True)
            left.append(_rows(table, schema, pixel, path, first, inside, random))
            first += count
            if sum(map(len, left)) >= catalog.GROUP_ROWS:
                merged = pa.concat_tables(left)
                whole = len(merged) // catalog.GROUP_ROWS * catalog.GROUP_ROWS
                write([merged.slice(0, whole)])
                left = [merged.slice(whole)]
        write(left)


def _rows(table: pa.Table, schema: pa.Schema, pixel: int, path: str, first: int, inside: tuple, random) -> pa.Table:
    count = len(inside[0])
    names = [f"{number:09d}" for number in range(first, first + count)]
    values = {
        "object_id": names,
        "source": names,
        "ra": inside[0],
        "dec": inside[1],
        "healpix": np.full(count, pixel),
        "total_classifications": random.integers(0, 361, count),
        "_shard": [path] * count,
        "_row": np.arange(count),
        "_start:image": np.arange(count) * 700,
        "_crc32:image": random.integers(0, 1 << 32, count),
    }
    repeated = table.take(pa.array(np.zeros(count, np.int64)))
    return pa.table(
        [pa.array(values[f.name], f.type) if f.name in values else repeated[f.name].cast(f.type) for f in schema],
        schema=schema,
    )


def measure(folder: Path) -> dict[str, float]:
    """Measure a catalogue; seconds and MB by name."""
    import healpy  # noqa: F401 (importing it is not part of the measure)

    process = psutil.Process()

    def memory() -> float:
        return process.memory_info().rss / 1e6

    before, start = memory(), time.perf_counter()
    table = skyshards.open(folder)
    found = {"open": time.perf_counter() - start, "MB": memory() - before}
    for name, value in _timed(table):
        found[name] = value
    found["MB at the end"] = memory() - before
    return found


def _timed(table: skyshards.Table) -> Iterator[tuple[str, float]]:
    def timed(function):
        start = time.perf_counter()
        value = function()
        return time.perf_counter() - start, value

    yield "first cone", timed(lambda: table.cone(*CENTRE, RADIUS))[0]
    yield "cone", best_in_turn({"": lambda: table.cone(40.0, -20.0, RADIUS)}, 5)[""]
    seconds, selected = timed(lambda: table.where(CONDITION))
    yield "first where", seconds
    yield "where", best_in_turn({"": lambda: table.where(CONDITION)}, 3)[""]
    yield "selected rows, M", len(selected) / 1e6
    labels = table.select_columns(["total_classifications", "ra", "dec"])
    order = np.random.default_rng(0).permutation(len(labels))
    start = time.perf_counter()
    for batch in range(0, len(order), BATCH):
        labels[order[batch : batch + BATCH]]
    yield "epoch of labels, M rows/s", len(order) / (time.perf_counter() - start) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--scratch", type=Path)
    arguments = parser.parse_args()
    print(f"{machine()}\n\n{versions(('skyshards', 'pyarrow', 'numpy', 'healpy'))}\n")
    found = {}
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        small = Path(scratch) / "small"
        build_many_rows(small, 500, 8)
        for rows in arguments.rows:
            folder = Path(scratch) / f"{rows}"
            folder.mkdir()
            make_catalog(small, folder, rows)
            size = (folder / catalog.CATALOG).stat().st_size / 1e6
            found[rows] = {"catalog.parquet, MB": size} | in_fresh_process(measure, folder).value
    lines = [[name, *(f"{each[name]:.3g}" for each in found.values())] for name in found[arguments.rows[0]]]
    print_table(["", *(f"{rows:,} rows" for rows in found)], lines)


if __name__ == "__main__":
    main()
