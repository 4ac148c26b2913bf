"""Peers for small JPEGs with labels: each writes its own format, and reads shuffled batches for training.

Images are decoded by Pillow, the default of these libraries; the fastest is also measured with simplejpeg, which the
table uses.
"""

from __future__ import annotations

import functools
import io
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import simplejpeg
from packed import streaming_without_pictures
from PIL import Image
from rows import BATCH, SEED, loader, pass_on, random_batches

import skyshards

BUFFER = 500
"""Size of the shuffle buffers, rows."""
FILE_ROWS = 1000
"""Rows per tar archive or chunk."""


@dataclass(frozen=True)
class Peer:
    """Library to compare with. `batches(built, folder, workers)` reads, with `workers` processes beside this one, what
    `write(built, folder)` wrote from the dataset in `built`; a peer without `write` reads that dataset itself.
    """

    package: str
    batches: Callable[[Path, Path, int], Iterable[Any]]
    write: Callable[[Path, Path], None] | None = None


def rows(built: Path) -> Iterator[tuple[bytes, int]]:
    """Yield every JPEG with its label."""
    table = skyshards.open(built, decode=False).select_columns(["image", "label"])
    for first in range(0, len(table), FILE_ROWS):
        batch = table[first : first + FILE_ROWS]
        yield from zip(batch["image"].tolist(), batch["label"].tolist(), strict=True)


def with_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def decoded(batch: Sequence[tuple[bytes, int]], decode: Callable = with_pillow) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([decode(image) for image, _ in batch]), np.array([label for _, label in batch])


def decoded_dicts(batch: Sequence[dict[str, Any]], decode: Callable = with_pillow) -> tuple[np.ndarray, np.ndarray]:
    return decoded([(row["image"], row["label"]) for row in batch], decode)


def table_batches(built: Path, folder: Path, workers: int) -> Iterator[Any]:
    table = skyshards.open(built).select_columns(["image", "label"])
    batches = random_batches(len(table))
    if workers:
        return iter(loader(table, workers, sampler=batches, batch_size=None, collate_fn=pass_on))
    return table.batches(batches)


def stock_batches(built: Path, folder: Path, workers: int) -> Iterable[Any]:
    from datasets import load_dataset

    stream = load_dataset(str(built), "images", split="train", streaming=True).shuffle(seed=SEED, buffer_size=BUFFER)
    return loader(stream, workers, batch_size=BATCH, collate_fn=_from_lists)


def _from_lists(batch: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    return decoded([(bytes(row["image"]), row["label"]) for row in batch])


def _dataset(built: Path, folder: Path) -> Any:
    from datasets import disable_progress_bars, load_dataset

    import gz_sdss  # noqa: F401 - registers its builder

    disable_progress_bars()
    return load_dataset("gz_sdss", "images", data_dir=str(built), split="train", cache_dir=str(folder / "cache"))


def write_arrow(built: Path, folder: Path) -> None:
    _dataset(built, folder).save_to_disk(folder / "arrow")


def arrow_batches(built: Path, folder: Path, workers: int) -> Iterable[Any]:
    from datasets import load_from_disk

    table = load_from_disk(str(folder / "arrow")).with_format("numpy")
    return loader(table, workers, sampler=random_batches(len(table)), batch_size=None, collate_fn=pass_on)


def write_parquet(built: Path, folder: Path) -> None:
    table = _dataset(built, folder)
    for first in range(0, len(table), FILE_ROWS):
        part = table.select(range(first, min(first + FILE_ROWS, len(table))))
        part.to_parquet(folder / f"{first:06d}.parquet")


def parquet_batches(built: Path, folder: Path, workers: int) -> Iterable[Any]:
    from datasets import load_dataset

    stream = load_dataset("parquet", data_files=str(folder / "*.parquet"), split="train", streaming=True)
    return loader(stream.shuffle(seed=SEED, buffer_size=BUFFER), workers, batch_size=BATCH, collate_fn=_from_pictures)


def _from_pictures(batch: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([np.asarray(row["image"]) for row in batch]), np.array([row["label"] for row in batch])


def write_tar(built: Path, folder: Path) -> None:
    members = rows(built)
    for first in count(0, FILE_ROWS):
        part = list(islice(members, FILE_ROWS))
        if not part:
            return
        with tarfile.open(folder / f"{first:06d}.tar", "w") as archive:
            for number, (image, label) in enumerate(part, first):
                for suffix, content in (("jpg", image), ("cls", str(label).encode())):
                    entry = tarfile.TarInfo(f"{number:06d}.{suffix}")
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))


def webdataset_batches(built: Path, folder: Path, workers: int) -> Iterable[Any]:
    import webdataset

    files = sorted(str(path) for path in folder.glob("*.tar"))
    data = webdataset.WebDataset(files, shardshuffle=len(files), empty_check=False).shuffle(BUFFER).map(_from_tar)
    return loader(data.batched(BATCH, collation_fn=decoded), workers, batch_size=None, collate_fn=pass_on)


def _from_tar(sample: dict[str, Any]) -> tuple[bytes, int]:
    return sample["jpg"], int(sample["cls"])


def write_mds(built: Path, folder: Path) -> None:
    columns = {"image": "bytes", "label": "int"}
    with streaming_without_pictures().MDSWriter(out=str(folder), columns=columns, size_limit="4mb") as writer:
        for image, label in rows(built):
            writer.write({"image": image, "label": label})


def mds_batches(built: Path, folder: Path, workers: int) -> Iterable[Any]:
    streaming = streaming_without_pictures()
    data = streaming.StreamingDataset(local=str(folder), shuffle=True, shuffle_seed=SEED, batch_size=BATCH)
    return loader(data, workers, batch_size=BATCH, collate_fn=decoded_dicts)


def write_litdata(built: Path, folder: Path) -> None:
    from litdata.streaming.cache import Cache

    cache = Cache(str(folder), chunk_size=FILE_ROWS)
    for number, (image, label) in enumerate(rows(built)):
        cache[number] = {"image": image, "label": label}
    cache.done()
    cache.merge()


def litdata_batches(built: Path, folder: Path, workers: int, decode: Callable = with_pillow) -> Iterable[Any]:
    import litdata

    data = litdata.StreamingDataset(str(folder), shuffle=True, seed=SEED)
    collate = functools.partial(decoded_dicts, decode=decode)
    return litdata.StreamingDataLoader(data, batch_size=BATCH, num_workers=workers, collate_fn=collate)


class OneFile:
    """Rows of a single HDF5 file, read with h5py: the source for Grain."""

    def __init__(self, path: Path):
        self.path = path
        self.file: h5py.File | None = None
        with h5py.File(path) as file:
            self.length = len(file["label"])

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.file is None:
            self.file = h5py.File(self.path)
        return {"image": with_pillow(self.file["image"][index].tobytes()), "label": self.file["label"][index]}


def write_one_file(built: Path, folder: Path) -> None:
    images, labels = zip(*rows(built), strict=True)
    with h5py.File(folder / "all.hdf5", "w") as file:
        stored = file.create_dataset("image", (len(images),), h5py.vlen_dtype(np.uint8))
        for number, image in enumerate(images):
            stored[number] = np.frombuffer(image, np.uint8)
        file["label"] = np.array(labels)


def grain_batches(built: Path, folder: Path, workers: int) -> Iterable[Any]:
    import grain

    data = grain.MapDataset.source(OneFile(folder / "all.hdf5")).shuffle(SEED).batch(BATCH)
    if workers == 0:
        return data.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=4))
    stream = data.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2))
    return stream.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))


TABLE = "skyshards table"
STOCK = "datasets on the same shards"
PEERS = {
    TABLE: Peer("skyshards", table_batches),
    "litdata": Peer("litdata", litdata_batches, write_litdata),
    "litdata, by simplejpeg": Peer(
        "litdata", functools.partial(litdata_batches, decode=simplejpeg.decode_jpeg), write_litdata
    ),
    "datasets Arrow, map-style": Peer("datasets", arrow_batches, write_arrow),
    "webdataset": Peer("webdataset", webdataset_batches, write_tar),
    "Grain over h5py rows": Peer("grain", grain_batches, write_one_file),
    "mosaicml-streaming": Peer("streaming", mds_batches, write_mds),
    "datasets Parquet stream": Peer("datasets", parquet_batches, write_parquet),
    STOCK: Peer("datasets", stock_batches),
}
