"""Peers with their own formats: tar archives, MDS and litdata's chunks.

Arrays are the same deflated bytes as in the shards, inflated with Python's zlib, as these libraries' users do.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import types
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rows import BATCH, BUFFER, SEED, SHAPES, SMALL, deflated, loader, pass_on, stack


def _unpack(row: dict[str, Any]) -> dict[str, Any]:
    arrays = {name: np.frombuffer(zlib.decompress(row[name]), np.uint8) for name in SHAPES}
    shaped = {name: arrays[name].reshape(shape) for name, shape in SHAPES.items()}
    return shaped | {name: row[name] for name in SMALL}


def _unpack_all(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return stack([_unpack(row) for row in rows])


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
    return iter(loader(data.batched(BATCH, collation_fn=_unpack_all), workers, batch_size=None, collate_fn=pass_on))


def _from_tar(sample: dict[str, Any]) -> dict[str, Any]:
    return {name: sample[f"{name}.z"] for name in SHAPES} | json.loads(sample["json"])


_MDS_SMALL = {"subject_id": "int64", "ra": "float64", "dec": "float64", "total_classifications": "int64"}
MDS_BYTES = dict.fromkeys(SHAPES, "bytes") | {name: _MDS_SMALL[name] for name in SMALL}
MDS_ARRAYS = {name: f"ndarray:uint8:{','.join(map(str, shape))}" for name, shape in SHAPES.items()} | _MDS_SMALL


def streaming_without_pictures() -> types.ModuleType:
    """Import mosaicml-streaming without its image and text modules.

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
    with streaming_without_pictures().MDSWriter(out=str(folder), columns=columns, size_limit="32mb") as writer:
        for row in deflated(built):
            writer.write(row if columns is MDS_BYTES else _unpack(row))
    for number, shard in enumerate(json.loads((folder / "index.json").read_text())["shards"]):
        files += [number] * shard["samples"]
    return np.array(files)


def mds_batches(built: Path, folder: Path, workers: int, collate: Callable = _unpack_all) -> Iterator[dict[str, Any]]:
    rows = streaming_without_pictures().StreamingDataset(
        local=str(folder), shuffle=True, shuffle_seed=SEED, batch_size=BATCH
    )
    return iter(loader(rows, workers, batch_size=BATCH, collate_fn=collate))


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
