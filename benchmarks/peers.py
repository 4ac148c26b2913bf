"""Other ways to keep and read the same rows for training: each writes its own format, and reads shuffled batches.

Batches are dicts of arrays: `image`, `masks` and the small columns of `SMALL`, a row each along the first dimension.
"""

from __future__ import annotations

import functools
import io
import json
import sys
import tarfile
import types
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import skyshards

BATCH = 64
SEED = 1
SHAPES = {"image": (525, 525, 3), "masks": (4, 525, 525)}
SMALL = ("subject_id", "ra", "dec", "total_classifications")
ARRAYS = {"image": "image", "masks": "segmentation/array"}
BUFFER = 2 * BATCH
"""Rows of the shuffle buffers. (By default `datasets` takes 1,000, in 15 MB a row.)"""


@dataclass(frozen=True)
class Peer:
    """How one library does it.

    `batches(built, folder, workers)` reads shuffled, in so many processes beside this one, what `write(built, folder)`
    wrote from the data set built in the folder `built`; that gives which of its files each row lies in. A peer without
    `write` reads the shards themselves. `packages` are those to name the versions of.
    """

    packages: tuple[str, ...]
    batches: Callable[[Path, Path, int], Iterable[dict[str, Any]]]
    write: Callable[[Path, Path], np.ndarray] | None = None
    workers: tuple[int, ...] = (0, 2)


def _pick(row: dict[str, Any]) -> dict[str, Any]:
    """The columns that are compared, of a row or a batch of the data set."""
    segmentation = row["segmentation"]
    if isinstance(segmentation, np.ndarray):  # the numpy format of `datasets` has a dict for each row
        segmentation = {"array": np.stack([one["array"] for one in segmentation])}
    return {"image": row["image"], "masks": segmentation["array"]} | {name: row[name] for name in SMALL}


def _stack(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _loader(data: Any, workers: int, **options: Any) -> Iterable:
    from torch.utils.data import DataLoader

    return DataLoader(data, num_workers=workers, **options)


def _random_batches(rows: int) -> list[list[int]]:
    order = np.random.default_rng(SEED).permutation(rows).tolist()
    return [order[first : first + BATCH] for first in range(0, rows, BATCH)]


# --- the table -----------------------------------------------------------------------------------------------------


def table_batches(built: Path, folder: Path, workers: int) -> Iterator[dict[str, Any]]:
    table = skyshards.open(built)
    if workers:
        batches = _loader(table, workers, sampler=_random_batches(len(table)), batch_size=None)
    else:
        batches = (table[rows] for rows in _random_batches(len(table)))
    return map(_pick, batches)


# --- datasets ------------------------------------------------------------------------------------------------------


def _stream(source: str, form: str, **options: Any) -> Any:
    import datasets

    stream = datasets.load_dataset(source, split="train", streaming=True, **options)
    return stream.shuffle(seed=SEED, buffer_size=BUFFER).with_format(form)


def stock_torch(built: Path, folder: Path, workers: int) -> Iterator[dict[str, Any]]:
    return map(_pick, _loader(_stream(str(built), "torch"), workers, batch_size=BATCH))


def stock_iter(built: Path, folder: Path, workers: int) -> Iterator[dict[str, Any]]:
    stream = _stream(str(built), "numpy")
    batches = stream.iter(BATCH) if workers == 0 else _loader(stream.batch(BATCH), workers, batch_size=None)
    return map(_pick, batches)


def _parts(built: Path) -> Iterator[Any]:
    """The rows as `datasets` has them in memory, 64 at a time."""
    import datasets

    import gz3d
    from skyshards.arrow import to_arrow

    table = skyshards.open(built)
    features = gz3d.SCHEMA.features_of(gz3d.SCHEMA.config_columns("default"))
    for first in range(0, len(table), BATCH):
        yield datasets.Dataset(to_arrow(table[first : first + BATCH], features))


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
    return _loader(stream, workers, batch_size=BATCH, collate_fn=_stack_picked)


def _stack_picked(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return _stack([_pick(row) for row in rows])


def arrow_map_style(built: Path, folder: Path, workers: int) -> Iterator[dict[str, Any]]:
    import datasets

    parts = [datasets.load_from_disk(str(part)) for part in sorted(folder.iterdir())]
    rows = datasets.concatenate_datasets(parts).with_format("numpy")
    return map(_pick, _loader(rows, workers, sampler=_random_batches(len(rows)), batch_size=None, collate_fn=_pass))


def _pass(batch: Any) -> Any:
    return batch


# --- h5py by hand --------------------------------------------------------------------------------------------------


class H5Rows:
    """Rows or batches of rows of the shards, with h5py alone; files stay open once they were read."""

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
        """Rows of one file."""
        file = self._file(number)
        names = ARRAYS | {name: name for name in SMALL}
        return {name: file[inner][rows] for name, inner in names.items()}

    def row(self, index: int) -> dict[str, Any]:
        number = int(np.searchsorted(self.starts, index, "right")) - 1
        return self.slab(number, int(index - self.starts[number]))

    def __getitem__(self, index: Any) -> dict[str, Any]:
        return self.row(index) if np.ndim(index) == 0 else _stack([self.row(one) for one in index])


def h5py_random(built: Path, folder: Path, workers: int) -> Iterator[dict[str, Any]]:
    rows = H5Rows(built)
    return iter(_loader(rows, workers, sampler=_random_batches(len(rows)), batch_size=None, collate_fn=_pass))


class H5Slabs:
    """Up to 64 rows that lie together in a shard."""

    def __init__(self, built: Path):
        self.rows = H5Rows(built)
        counts = np.diff(self.rows.starts)
        self.slabs = [(n, slice(a, a + BATCH)) for n, count in enumerate(counts) for a in range(0, count, BATCH)]

    def __len__(self) -> int:
        return len(self.slabs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows.slab(*self.slabs[index])


def h5py_slabs(built: Path, folder: Path, workers: int) -> Iterator[dict[str, Any]]:
    return iter(_loader(H5Slabs(built), workers, shuffle=True, batch_size=None, collate_fn=_pass))


def grain_batches(built: Path, folder: Path, workers: int) -> Iterator[dict[str, Any]]:
    import grain

    rows = grain.MapDataset.source(H5Rows(built)).shuffle(SEED).batch(BATCH)
    if workers == 0:
        return iter(rows.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)))
    stream = rows.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2))
    return iter(stream.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers)))


# --- formats for arrays of bytes: the same deflated bytes as in the shards, inflated with Python's zlib ---------------


def deflated(built: Path) -> Iterator[dict[str, Any]]:
    """Every row with its arrays as the shards have them."""
    for path in sorted(built.glob("healpix=*/*.hdf5"), key=str):
        with h5py.File(path) as file:
            small = {name: file[name][()].tolist() for name in SMALL}
            for number in range(len(file["ra"])):
                chunk = (number, 0, 0, 0)
                arrays = {name: file[inner].id.read_direct_chunk(chunk)[1] for name, inner in ARRAYS.items()}
                yield arrays | {name: values[number] for name, values in small.items()}


def _unpack(row: dict[str, Any]) -> dict[str, Any]:
    arrays = {name: np.frombuffer(zlib.decompress(row[name]), np.uint8) for name in SHAPES}
    shaped = {name: arrays[name].reshape(shape) for name, shape in SHAPES.items()}
    return shaped | {name: row[name] for name in SMALL}


def _unpack_all(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return _stack([_unpack(row) for row in rows])


def write_tar(built: Path, folder: Path) -> np.ndarray:
    number = -1
    for number, row in enumerate(deflated(built)):
        with tarfile.open(folder / f"{number // BATCH:06d}.tar", "a") as archive:
            members = {f"{name}.z": row.pop(name) for name in SHAPES} | {"json": json.dumps(row).encode()}
            for name, content in members.items():
                entry = tarfile.TarInfo(f"{number:06d}.{name}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return np.arange(number + 1) // BATCH


def webdataset_batches(built: Path, folder: Path, workers: int) -> Iterator[dict[str, Any]]:
    import webdataset

    files = sorted(str(path) for path in folder.glob("*.tar"))
    data = webdataset.WebDataset(files, shardshuffle=len(files), empty_check=False).shuffle(BUFFER).map(_from_tar)
    return iter(_loader(data.batched(BATCH, collation_fn=_unpack_all), workers, batch_size=None, collate_fn=_pass))


def _from_tar(sample: dict[str, Any]) -> dict[str, Any]:
    return {name: sample[f"{name}.z"] for name in SHAPES} | json.loads(sample["json"])


_MDS_SMALL = {"subject_id": "int64", "ra": "float64", "dec": "float64", "total_classifications": "int64"}
_MDS_BYTES = dict.fromkeys(SHAPES, "bytes") | {name: _MDS_SMALL[name] for name in SMALL}
_MDS_ARRAYS = {name: f"ndarray:uint8:{','.join(map(str, shape))}" for name, shape in SHAPES.items()} | _MDS_SMALL


def _streaming() -> types.ModuleType:
    """mosaicml-streaming without its parts for pictures and text.

    These import torchvision and transformers, in versions that exclude the current `datasets`; arrays need neither.
    """
    absent = {"streaming.vision": {}, "streaming.text": {}, "streaming.multimodal": {}, "transformers": {},
              "transformers.feature_extraction_utils": {"BatchFeature": dict},
              "transformers.tokenization_utils_base": {"BatchEncoding": dict}}  # fmt: skip
    for name, content in absent.items():
        sys.modules.setdefault(name, types.ModuleType(name)).__dict__.update(content)
    import streaming

    return streaming


def write_mds(built: Path, folder: Path, columns: dict[str, str]) -> np.ndarray:
    files = []
    with _streaming().MDSWriter(out=str(folder), columns=columns, size_limit="32mb") as writer:
        for row in deflated(built):
            writer.write(row if columns is _MDS_BYTES else _unpack(row))
    for number, shard in enumerate(json.loads((folder / "index.json").read_text())["shards"]):
        files += [number] * shard["samples"]
    return np.array(files)


def mds_batches(built: Path, folder: Path, workers: int, collate: Callable = _unpack_all) -> Iterator[dict[str, Any]]:
    rows = _streaming().StreamingDataset(local=str(folder), shuffle=True, shuffle_seed=SEED, batch_size=BATCH)
    return iter(_loader(rows, workers, batch_size=BATCH, collate_fn=collate))


def write_litdata(built: Path, folder: Path) -> np.ndarray:
    from litdata.streaming.cache import Cache

    cache = Cache(str(folder), chunk_size=BATCH)
    count = 0
    for number, row in enumerate(deflated(built)):
        cache[number] = row
        count += 1
    cache.done()
    cache.merge()
    return np.arange(count) // BATCH


def litdata_batches(built: Path, folder: Path, workers: int) -> Iterator[dict[str, Any]]:
    import litdata

    rows = litdata.StreamingDataset(str(folder), shuffle=True, seed=SEED)
    loader = litdata.StreamingDataLoader(rows, batch_size=BATCH, num_workers=workers, collate_fn=_unpack_all)
    return iter(loader)


STOCK = "datasets hdf5, a row at a time, torch format"
TABLE = "skyshards table"
PEERS: dict[str, Peer] = {
    TABLE: Peer(("skyshards",), table_batches),
    STOCK: Peer(("datasets", "torch"), stock_torch),
    "datasets hdf5, `.iter(64)`, numpy format": Peer(("datasets",), stock_iter),
    "datasets Parquet stream": Peer(("datasets", "pyarrow"), parquet_stream, write_parquet),
    "datasets Arrow, map-style": Peer(("datasets", "pyarrow"), arrow_map_style, write_arrow),
    "h5py, rows at random": Peer(("h5py",), h5py_random),
    "h5py, slabs of a file": Peer(("h5py",), h5py_slabs),
    "Grain over h5py rows": Peer(("grain",), grain_batches),
    "webdataset": Peer(("webdataset",), webdataset_batches, write_tar),
    "mosaicml-streaming": Peer(("mosaicml-streaming",), mds_batches, functools.partial(write_mds, columns=_MDS_BYTES)),
    "litdata": Peer(("litdata",), litdata_batches, write_litdata),
    "mosaicml-streaming, arrays not compressed": Peer(
        ("mosaicml-streaming",),
        functools.partial(mds_batches, collate=_stack),
        functools.partial(write_mds, columns=_MDS_ARRAYS),
    ),
}
