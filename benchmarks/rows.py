"""Common rows of all readers, and small helpers.

Batches are dicts of arrays: `image`, `masks` and the small columns of `SMALL`, with rows along the first dimension.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

BATCH = 64
SEED = 1
SHAPES = {"image": (525, 525, 3), "masks": (4, 525, 525)}
SMALL = ("subject_id", "ra", "dec", "total_classifications")
ARRAYS = {"image": "image", "masks": "segmentation/array"}
BUFFER = 2 * BATCH
"""Size of the shuffle buffers, rows. (The default of `datasets` is 1,000, at 15 MB per row.)"""


def pick(row: dict[str, Any]) -> dict[str, Any]:
    """Pick the compared columns from a row or a batch of the dataset."""
    segmentation = row["segmentation"]
    if isinstance(segmentation, np.ndarray):  # the numpy format of `datasets` has a dict for each row
        segmentation = {"array": np.stack([one["array"] for one in segmentation])}
    return {"image": row["image"], "masks": segmentation["array"]} | {name: row[name] for name in SMALL}


def stack(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def loader(data: Any, workers: int, **options: Any) -> Iterable:
    from torch.utils.data import DataLoader

    return DataLoader(data, num_workers=workers, **options)


def random_batches(rows: int) -> list[list[int]]:
    order = np.random.default_rng(SEED).permutation(rows).tolist()
    return [order[first : first + BATCH] for first in range(0, rows, BATCH)]


def deflated(built: Path) -> Iterator[dict[str, Any]]:
    """Yield every row with its arrays as stored in the shards."""
    for path in sorted(built.glob("healpix=*/*.hdf5"), key=str):
        with h5py.File(path) as file:
            small = {name: file[name][()].tolist() for name in SMALL}
            for number in range(len(file["ra"])):
                chunk = (number, 0, 0, 0)
                arrays = {name: file[inner].id.read_direct_chunk(chunk)[1] for name, inner in ARRAYS.items()}
                yield arrays | {name: values[number] for name, values in small.items()}


def pass_on(batch: Any) -> Any:
    return batch
