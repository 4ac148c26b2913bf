"""Other ways to store and read the same rows for training: each writes its format, and reads shuffled batches.

Libraries with their own formats are in `packed`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from packed import (
    MDS_ARRAYS,
    MDS_BYTES,
    litdata_batches,
    mds_batches,
    webdataset_batches,
    write_litdata,
    write_mds,
    write_tar,
)
from rows import ARRAYS, BATCH, BUFFER, SEED, SMALL, loader, pass_on, pick, random_batches, stack

import skyshards


@dataclass(frozen=True)
class Peer:
    """Library to compare with.

    `batches(built, folder, workers)` reads shuffled batches, with `workers` processes beside this one, of what
    `write(built, folder)` wrote from the dataset built in `built`; `write` returns the file of each row. A peer without
    `write` reads the shards themselves. `packages` are those whose versions are printed.
    """

    packages: tuple[str, ...]
    batches: Callable[[Path, Path, int], Iterable[dict[str, Any]]]
    write: Callable[[Path, Path], np.ndarray] | None = None
    workers: tuple[int, ...] = (0, 2)


# --- the table -----------------------------------------------------------------------------------------------------


def table_batches(built: Path, folder: Path, workers: int, passes: int = 1) -> Iterator[dict[str, Any]]:
    table = skyshards.open(built)
    order = random_batches(len(table)) * passes
    batches = loader(table, workers, sampler=order, batch_size=None) if workers else (table[rows] for rows in order)
    return map(pick, batches)


def write_fast(built: Path, folder: Path) -> np.ndarray:
    skyshards.repack(built, folder, "fast")
    return skyshards.open(folder).catalog["_shard"].combine_chunks().indices.to_numpy()


def fast_batches(built: Path, folder: Path, workers: int) -> Iterator[dict[str, Any]]:
    return table_batches(folder, folder, workers, passes=20)  # one takes a tenth of a second


# --- datasets ------------------------------------------------------------------------------------------------------


def _stream(source: str, form: str, **options: Any) -> Any:
    import datasets

    stream = datasets.load_dataset(source, split="train", streaming=True, **options)
    return stream.shuffle(seed=SEED, buffer_size=BUFFER).with_format(form)


def stock_torch(built: Path, folder: Path, workers: int) -> Iterator[dict[str, Any]]:
    return map(pick, loader(_stream(str(built), "torch"), workers, batch_size=BATCH))


def stock_iter(built: Path, folder: Path, workers: int) -> Iterator[dict[str, Any]]:
    """Read in one process: `datasets` distributes shards over a loader's workers only when read row by row."""
    return map(pick, _stream(str(built), "numpy").iter(BATCH))


def _parts(built: Path) -> Iterator[Any]:
    """Yield the rows as `datasets` holds them in memory, 64 at a time."""
    import datasets

    import gz3d
    from skyshards.read.arrow import ToArrow

    datasets.disable_progress_bars()
    table = skyshards.open(built)
    convert = ToArrow(gz3d.SCHEMA.features_of(gz3d.SCHEMA.config_columns("default")))
    for first in range(0, len(table), BATCH):
        yield datasets.Dataset(convert(table[first : first + BATCH]))


def write_parquet(built: Path, folder: Path) -> np.ndarray:
    count = 0
    for number, part in enumerate(_parts(built)):
        part.to_parquet(folder / f"{number:06d}.parquet")
        count += len(part)
    return np.arange(count) // BATCH


def write_arrow(built: Path, folder: Path) -> np.ndarray:
    count = 0
    for number, part in enumerate(_parts(built)):
        part.save_to_disk(folder / f"{number:06d}")
        count += len(part)
    return np.arange(count) // BATCH


def parquet_stream(built: Path, folder: Path, workers: int) -> Iterator[dict[str, Any]]:
    stream = _stream("parquet", "numpy", data_files=str(folder / "*.parquet"))
    return loader(stream, workers, batch_size=BATCH, collate_fn=_stackpicked)


def _stackpicked(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return stack([pick(row) for row in rows])


def arrow_map_style(built: Path, folder: Path, workers: int) -> Iterator[dict[str, Any]]:
    import datasets

    parts = [datasets.load_from_disk(str(part)) for part in sorted(folder.iterdir())]
    rows = datasets.concatenate_datasets(parts).with_format("numpy")
    return map(pick, loader(rows, workers, sampler=random_batches(len(rows)), batch_size=None, collate_fn=pass_on))


# --- h5py by hand --------------------------------------------------------------------------------------------------


class H5Rows:
    """Rows or batches of the shards, read with h5py alone; files stay open."""

    def __init__(self, built: Path):
        self.paths = sorted(built.glob("healpix=*/*.hdf5"), key=str)
        counts = []
        for path in self.paths:
            with h5py.File(path) as file:
                counts.append(len(file["ra"]))
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        self.files: dict[int, h5py.File] = {}

    def __len__(self) -> int:
        return int(self.starts[-1])

    def _file(self, number: int) -> h5py.File:
        if number not in self.files:
            self.files[number] = h5py.File(self.paths[number])
        return self.files[number]

    def slab(self, number: int, rows: slice | int) -> dict[str, Any]:
        """Read rows of one file."""
        file = self._file(number)
        names = ARRAYS | {name: name for name in SMALL}
        return {name: file[inner][rows] for name, inner in names.items()}

    def row(self, index: int) -> dict[str, Any]:
        number = int(np.searchsorted(self.starts, index, "right")) - 1
        return self.slab(number, int(index - self.starts[number]))

    def __getitem__(self, index: Any) -> dict[str, Any]:
        return self.row(index) if np.ndim(index) == 0 else stack([self.row(one) for one in index])


def h5py_random(built: Path, folder: Path, workers: int) -> Iterator[dict[str, Any]]:
    rows = H5Rows(built)
    return iter(loader(rows, workers, sampler=random_batches(len(rows)), batch_size=None, collate_fn=pass_on))


class H5Slabs:
    """Runs of up to 64 consecutive rows of a shard."""

    def __init__(self, built: Path):
        self.rows = H5Rows(built)
        counts = np.diff(self.rows.starts)
        self.slabs = [(n, slice(a, a + BATCH)) for n, count in enumerate(counts) for a in range(0, count, BATCH)]

    def __len__(self) -> int:
        return len(self.slabs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows.slab(*self.slabs[index])


def h5py_slabs(built: Path, folder: Path, workers: int) -> Iterator[dict[str, Any]]:
    return iter(loader(H5Slabs(built), workers, shuffle=True, batch_size=None, collate_fn=pass_on))


def grain_batches(built: Path, folder: Path, workers: int) -> Iterator[dict[str, Any]]:
    import grain

    rows = grain.MapDataset.source(H5Rows(built)).shuffle(SEED).batch(BATCH)
    if workers == 0:
        return iter(rows.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)))
    stream = rows.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2))
    return iter(stream.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers)))


STOCK = "datasets hdf5, a row at a time, torch format"
TABLE = "skyshards table"
FAST = "skyshards table, --store fast"
MDS = "mosaicml-streaming, arrays not compressed"
PEERS: dict[str, Peer] = {
    TABLE: Peer(("skyshards",), table_batches),
    FAST: Peer(("skyshards",), fast_batches, write_fast),
    STOCK: Peer(("datasets", "torch"), stock_torch),
    "datasets hdf5, `.iter(64)`, numpy format": Peer(("datasets",), stock_iter, workers=(0,)),
    "datasets Parquet stream": Peer(("datasets", "pyarrow"), parquet_stream, write_parquet),
    "datasets Arrow, map-style": Peer(("datasets", "pyarrow"), arrow_map_style, write_arrow),
    "h5py, rows at random": Peer(("h5py",), h5py_random),
    "h5py, slabs of a file": Peer(("h5py",), h5py_slabs),
    "Grain over h5py rows": Peer(("grain",), grain_batches),
    "webdataset": Peer(("webdataset",), webdataset_batches, write_tar),
    "mosaicml-streaming": Peer(("mosaicml-streaming",), mds_batches, functools.partial(write_mds, columns=MDS_BYTES)),
    "litdata": Peer(("litdata",), litdata_batches, write_litdata),
    MDS: Peer(
        ("mosaicml-streaming",),
        functools.partial(mds_batches, collate=stack),
        functools.partial(write_mds, columns=MDS_ARRAYS),
    ),
}
