"""Parts of the representations of a dataset: computed in this process, or in the workers of an executor."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skyshards.embed.encoders import Encoder, device, encode
from skyshards.files import TEMPORARY_PREFIX, replacing
from skyshards.format.layout import SOURCE
from skyshards.processes import results
from skyshards.read.table import Table


def write_parts(
    table: Table,
    encoder: Encoder,
    column: str,
    batch_size: int,
    parts: Mapping[range, Path],
    done: Callable[[int], Any],
) -> None:
    """Write the representations of ranges of rows to a file each; `done` is told the rows of each finished batch."""
    for rows, vectors in _vectors(table, encoder, column, batch_size, list(parts), done):
        _write(parts[rows], table.select(slice(rows.start, rows.stop)), vectors)


def write_parts_far(
    executor: Executor,
    table: Table,
    encoder: Encoder,
    column: str,
    batch_size: int,
    parts: Mapping[range, Path],
    done: Callable[[int], Any],
) -> None:
    """Do the same in the workers of an executor.

    The encoder goes to them by a file beside the parts, so that its weights are fetched once, and no scheduler holds
    them.
    """
    import cloudpickle
    import torch

    if not parts:
        return
    path = next(iter(parts.values())).with_name(f"{TEMPORARY_PREFIX}encoder-{uuid.uuid4().hex}")
    try:
        with open(path, "xb") as file:
            torch.save(encoder, file, pickle_module=cloudpickle)
        calls = (
            (table.select(slice(rows.start, rows.stop)), path, column, batch_size, part) for rows, part in parts.items()
        )
        for count in results(_write_part, calls, None, executor):
            done(count)
    finally:
        path.unlink(missing_ok=True)


def _write_part(table: Table, encoder: Path, column: str, batch_size: int, part: Path) -> int:
    """Write the representations of all rows of a table in a worker; return their number."""
    if not part.exists():  # by a worker that died since
        write_parts(table, _load(encoder), column, batch_size, {range(len(table)): part}, lambda count: None)
    return len(table)


@functools.lru_cache(maxsize=1)
def _load(path: Path) -> Encoder:
    import torch

    return torch.load(path, map_location=device(), weights_only=False)


def _vectors(
    table: Table, encoder: Encoder, column: str, batch_size: int, todo: list[range], done: Callable[[int], Any]
) -> Iterator[tuple[range, np.ndarray]]:
    """Yield the rows and the vectors, float32 [rows, length], of each part to do; reads images ahead."""
    images = table.select_columns([column])
    batches = [(part, part[place : place + batch_size]) for part in todo for place in range(0, len(part), batch_size)]
    vectors: list[np.ndarray] = []
    with ThreadPoolExecutor(1) as reader:
        ahead = [reader.submit(_read, images, column, rows) for _, rows in batches[:1]]
        for number, (part, rows) in enumerate(batches):
            batch = ahead.pop().result()
            if number + 1 < len(batches):
                ahead.append(reader.submit(_read, images, column, batches[number + 1][1]))
            vectors.append(encode(batch, encoder))
            done(len(rows))
            if rows.stop == part.stop:
                yield part, np.concatenate(vectors)
                vectors = []


def _read(images: Table, column: str, rows: range) -> np.ndarray:
    value: Any = images[rows.start : rows.stop]
    for name in column.split("."):
        value = value[name]
    return value


def _write(path: Path, rows: Table, vectors: np.ndarray) -> None:
    names = rows.catalog
    columns = {name: names[name] for name in ("object_id", SOURCE)}
    columns |= {f"feat_{number}": pa.array(vectors[:, number]) for number in range(vectors.shape[1])}
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd", use_dictionary=False)
