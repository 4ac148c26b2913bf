"""Measure reading of spectra: shuffled batches of 256, padded, beside other formats and beside reading the bytes alone.

    pip install -e '.[bench]' && python benchmarks/spectra.py [--rows 8000] [--rounds 3]

A spectrum has flux, inverse variance and wavelength as float32, some 3,800 values each, as the SDSS has them. All
formats hold the same rows and are read in one process, in turn, from the page cache. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Sequence as ListOf
from datasets import Value
from harness import best_in_turn, machine, print_table, versions

import skyshards
from skyshards import Column, Schema, pad
from skyshards.pipeline.build import build
from skyshards.pipeline.recipe import Recipe, Source

BATCH = 256
SEED = 1
BUFFER = 2 * BATCH
"""Size of the shuffle buffers, rows."""
ROWS_PER_FILE = 500
NAMES = ("flux", "ivar", "loglam")


@dataclass(frozen=True)
class Spectra(Recipe):
    """Made-up spectra, all in a few pixels."""

    rows: int

    name = "spectra"
    schema = Schema({"spectrum": {name: Column(ListOf(Value("float32")), name) for name in NAMES}})

    @property
    def folder(self) -> Path:
        return Path(__file__).parent / "many_rows"

    def sources(self, fetcher: Any) -> Iterator[Source]:
        for first in range(0, self.rows, ROWS_PER_FILE):
            yield Source(f"plate-{first:08d}", info=range(first, min(first + ROWS_PER_FILE, self.rows)))

    def read(self, source: Source, fetched: Any) -> Iterator[dict[str, Any]]:
        for number in source.info:
            random = np.random.default_rng(number)
            length = int(random.integers(3700, 3900))
            spectrum = {name: random.standard_normal(length, np.float32) for name in NAMES}
            ra, dec = 4.0 * (number // ROWS_PER_FILE) % 360, random.uniform(10, 12)
            yield {"object_id": f"spec-{number:08d}", "ra": ra, "dec": dec, "spectrum": spectrum}


def shuffled(rows: int) -> list[np.ndarray]:
    order = np.random.default_rng(SEED).permutation(rows)
    return [order[first : first + BATCH] for first in range(0, rows, BATCH)]


def padded(rows: Sequence[dict[str, np.ndarray]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pad a list of spectra, as users of these libraries do by hand."""
    found = {}
    for name in NAMES:
        lists = [row[name] for row in rows]
        shape = (len(lists), max(map(len, lists)))
        values, mask = np.zeros(shape, np.float32), np.zeros(shape, bool)
        for row, each in enumerate(lists):
            values[row, : len(each)] = each
            mask[row, : len(each)] = True
        found[name] = values, mask
    return found


def by_padding_table(built: Path, folder: Path) -> Iterator[Any]:
    table = skyshards.open(built).select_columns(["spectrum"]).with_padding()
    return (batch["spectrum"] for batch in table.batches(shuffled(len(table))))


def by_table(built: Path, folder: Path) -> Iterator[Any]:
    table = skyshards.open(built).select_columns(["spectrum"])
    return (pad(batch["spectrum"]) for batch in table.batches(shuffled(len(table))))


def bytes_alone(built: Path, folder: Path) -> Iterator[Any]:
    """Read the same byte ranges in the same order, in two threads, and do nothing with them."""
    rows = pq.read_table(built / "catalog.parquet")
    shards = {name: os.open(built / name, os.O_RDONLY) for name in rows["_shard"].unique().to_pylist()}
    files = [shards[name] for name in rows["_shard"].to_pylist()]
    places = [[rows[f"{what}:spectrum.{name}"].to_pylist() for what in ("_start", "_size")] for name in NAMES]

    def read(part: np.ndarray) -> None:
        for row in part.tolist():
            for starts, sizes in places:
                os.pread(files[row], sizes[row], starts[row])

    with ThreadPoolExecutor(2) as threads:
        for batch in shuffled(len(rows)):
            yield list(threads.map(read, np.array_split(batch, 2)))
    for descriptor in shards.values():
        os.close(descriptor)


def parts(built: Path) -> Iterator[pa.Table]:
    table = skyshards.open(built).select_columns(["spectrum"])
    for first in range(0, len(table), ROWS_PER_FILE):
        spectra = table[first : first + ROWS_PER_FILE]["spectrum"]
        yield pa.table(
            {name: pa.ListArray.from_arrays(offsets(found), found.values) for name, found in spectra.items()}
        )


def offsets(lists: skyshards.Ragged) -> pa.Array:
    return pa.array(lists.offsets, pa.int32())


def as_rows(batch: dict[str, Any]) -> list[dict[str, np.ndarray]]:
    return [dict(zip(NAMES, lists, strict=True)) for lists in zip(*(batch[name] for name in NAMES), strict=True)]


def write_arrow(built: Path, folder: Path) -> None:
    import datasets

    for number, part in enumerate(parts(built)):
        datasets.Dataset(part).save_to_disk(folder / f"{number:06d}")


def arrow_map_style(built: Path, folder: Path) -> Iterator[Any]:
    import datasets

    parts = [datasets.load_from_disk(str(part)) for part in sorted(folder.iterdir())]
    rows = datasets.concatenate_datasets(parts).with_format("numpy")
    for batch in shuffled(len(rows)):
        found = rows[batch.tolist()]
        yield padded(
            [dict(zip(NAMES, lists, strict=True)) for lists in zip(*(found[name] for name in NAMES), strict=True)]
        )


def write_parquet(built: Path, folder: Path) -> None:
    for number, part in enumerate(parts(built)):
        pq.write_table(part, folder / f"{number:06d}.parquet", row_group_size=100)


def parquet_stream(built: Path, folder: Path) -> Iterator[Any]:
    import datasets

    stream = datasets.load_dataset("parquet", data_files=str(folder / "*.parquet"), split="train", streaming=True)
    for batch in stream.shuffle(seed=SEED, buffer_size=BUFFER).with_format("numpy").iter(BATCH):
        yield padded(
            [dict(zip(NAMES, lists, strict=True)) for lists in zip(*(batch[name] for name in NAMES), strict=True)]
        )


def write_tar(built: Path, folder: Path) -> None:
    table = skyshards.open(built).select_columns(["spectrum"])
    for number, row in enumerate(table):
        with tarfile.open(folder / f"{number // ROWS_PER_FILE:06d}.tar", "a") as archive:
            for name in NAMES:
                content = row["spectrum"][name].tobytes()
                entry = tarfile.TarInfo(f"{number:06d}.{name}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


def webdataset_stream(built: Path, folder: Path) -> Iterator[Any]:
    import webdataset

    files = sorted(str(path) for path in folder.glob("*.tar"))
    data = webdataset.WebDataset(files, shardshuffle=len(files), empty_check=False).shuffle(BUFFER)
    rows = data.map(lambda sample: {name: np.frombuffer(sample[name], np.float32) for name in NAMES})
    return iter(rows.batched(BATCH, collation_fn=padded))


def write_litdata(built: Path, folder: Path) -> None:
    from litdata.streaming.cache import Cache

    table = skyshards.open(built).select_columns(["spectrum"])
    cache = Cache(str(folder), chunk_size=ROWS_PER_FILE)
    for number, row in enumerate(table):
        cache[number] = {name: values.tobytes() for name, values in row["spectrum"].items()}
    cache.done()
    cache.merge()


def litdata_stream(built: Path, folder: Path) -> Iterator[Any]:
    import litdata

    rows = litdata.StreamingDataset(str(folder), shuffle=True, seed=SEED)

    def collate(batch: Sequence[dict[str, bytes]]) -> Any:
        return padded([{name: np.frombuffer(row[name], np.float32) for name in NAMES} for row in batch])

    return iter(litdata.StreamingDataLoader(rows, batch_size=BATCH, num_workers=0, collate_fn=collate))


TABLE, BYTES = "skyshards table, `with_padding`", "reading the bytes alone"
READERS: dict[str, tuple[Callable[[Path, Path], Iterable[Any]], Callable[[Path, Path], None] | None]] = {
    TABLE: (by_padding_table, None),
    "skyshards table, then `pad`": (by_table, None),
    BYTES: (bytes_alone, None),
    "datasets Arrow, map-style": (arrow_map_style, write_arrow),
    "datasets Parquet stream": (parquet_stream, write_parquet),
    "webdataset": (webdataset_stream, write_tar),
    "litdata": (litdata_stream, write_litdata),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    print(versions(("skyshards", "datasets", "pyarrow", "webdataset", "litdata", "numpy")) + "\n")
    with tempfile.TemporaryDirectory() as scratch:
        built = Path(scratch) / "spectra"
        build(Spectra(options.rows), built)
        readers: dict[str, Callable[[], int]] = {}
        for number, (name, (read, write)) in enumerate(READERS.items()):
            folder = Path(scratch) / f"peer{number}"
            folder.mkdir()
            try:
                if write is not None:
                    write(built, folder)
                next(iter(read(built, folder)))
            except ImportError as error:
                print(f"{name} is left out: {error}\n")
                continue
            readers[name] = lambda read=read, folder=folder: sum(1 for _ in read(built, folder))
        seconds = best_in_turn(readers, options.rounds)
    print_table(
        ("shuffled batches of 256", "spectra/s", "skyshards / this"),
        ((name, f"{options.rows / time:,.0f}", f"{time / seconds[TABLE]:.2f}") for name, time in seconds.items()),
    )


if __name__ == "__main__":
    main()
