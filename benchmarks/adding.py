"""Time and memory of adding columns to a folder of many rows: by name, by position, and long vectors.

python benchmarks/adding.py
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import in_fresh_process, machine, print_table, versions
from simulated import build_many_rows

FEATURES = 1280


def make_folder(folder: Path, rows: int) -> None:
    """Make a folder with a catalogue of many rows, which repeats that of a small one under other names.

    The shards stay those of the small one: additions do not read them.
    """
    from skyshards.format import catalog

    build_many_rows(folder, 1000, 4)
    table, manifest = catalog.open_folder(folder)
    table = pa.concat_tables([table] * -(-rows // len(table))).slice(0, rows)
    random = np.random.default_rng(0)
    values = {
        "object_id": [f"{number:09d}" for number in range(rows)],
        "ra": random.uniform(0, 360, rows),
        "dec": np.degrees(np.arcsin(random.uniform(-1, 1, rows))),
    }
    for name, column in values.items():
        table = table.set_column(table.column_names.index(name), table.schema.field(name), pa.array(column))
    catalog.write(folder, manifest, table)


def make_table(path: Path, folder: Path) -> None:
    """Write a table of 20 numbers for each row, in random order."""
    import skyshards

    catalogue = skyshards.open(folder).catalog.select(["object_id", "ra", "dec"])
    random = np.random.default_rng(1)
    table = catalogue.take(pa.array(random.permutation(len(catalogue))))
    for number in range(20):
        table = table.append_column(f"x_{number}", pa.array(random.random(len(table))))
    pq.write_table(table, path)


def make_features(path: Path, rows: int) -> None:
    """Write a file as large as the published one, in a single row group: the hardest case for memory."""
    random = np.random.default_rng(0)
    columns = {f"feat_{number}_pred": random.standard_normal(rows, np.float32) for number in range(FEATURES)}
    table = pa.table({"iauname": [f"{number:09d}" for number in reversed(range(rows))]} | columns)
    pq.write_table(table, path, row_group_size=rows, use_dictionary=False)


def add(folder: Path, path: Path, options: dict) -> float:
    """Add a table and take it away again; returns the seconds of the former."""
    import skyshards

    start = time.perf_counter()
    done = skyshards.add(folder, path, name="added", **options)
    seconds = time.perf_counter() - start
    assert done.rows == done.of
    skyshards.drop(folder, "added")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of folder and table")
    parser.add_argument("--vectors", type=int, default=340_000, help="rows of the file of vectors")
    options = parser.parse_args()
    print(f"{machine()}; {versions(['pyarrow', 'h5py', 'deflate'])}\n")
    numbers = [f"x_{number}" for number in range(20)]
    with tempfile.TemporaryDirectory() as scratch:
        lines = []
        folder, table = Path(scratch, "folder"), Path(scratch, "table.parquet")
        in_fresh_process(make_folder, folder, options.rows)
        in_fresh_process(make_table, table, folder)
        for what, how in (("name", {"columns": numbers}), ("position", {"columns": numbers, "radius_arcsec": 1.0})):
            found = in_fresh_process(add, folder, table, how)
            lines.append(_line(f"20 numbers, by {what}", options.rows, table, found))
        vectors, features = Path(scratch, "vectors"), Path(scratch, "features.parquet")
        in_fresh_process(make_folder, vectors, options.vectors)
        in_fresh_process(make_features, features, options.vectors)
        found = in_fresh_process(add, vectors, features, {})
        lines.append(_line(f"{FEATURES:,} components", options.vectors, features, found))
        print_table(["added", "rows", "file, GB", "seconds", "peak memory, MiB"], lines)


def _line(what: str, rows: int, path: Path, found) -> list[str]:
    size = f"{path.stat().st_size / 1e9:.1f}"
    return [what, f"{rows:,}", size, f"{found.value:.0f}", f"{found.pss / 2**20:,.0f}"]


if __name__ == "__main__":
    main()
