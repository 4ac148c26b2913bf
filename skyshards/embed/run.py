"""Resumable computation of the representations of a built dataset's images, as a Parquet file."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skyshards.embed.encoders import Encoder, encode
from skyshards.errors import UsageError
from skyshards.files import clear_errors, hold, replacing
from skyshards.format.layout import SOURCE
from skyshards.progress import progress
from skyshards.read.table import Table, open_table

PART = 2048
"""Number of rows in a part; a killed run loses at most one part."""
_MERGED_BYTES = 128 << 20


def embed(
    folder: str | os.PathLike, out: Path, encoder: Encoder, *, column: str = "image", batch_size: int = 64
) -> int:
    """Write the representations of all images of a built dataset to a Parquet file.

    The file has the columns `object_id`, `source` and `feat_0`, `feat_1`, … (float32), in the order of the dataset;
    `skyshards.add` takes it as it is.
    Its metadata describe dataset and model, as JSON under "skyshards". Until the file is complete, finished parts are
    kept in a folder beside it, from which a killed run resumes.

    Parameters
    ----------
    folder : path or URL
        The built dataset.
    out : Path
        The file to write; it must not exist yet.
    encoder : Encoder
    column : str
        Column of the images: files, or uint8 or float arrays [H, W], [H, W, channels] or [channels, H, W] with 1, 3 or
        4 channels. Each image is resized, without cropping, to the encoder's square. uint8 is divided by 255; float
        images have no fixed scale, so each is stretched from its minimum to its maximum.
    batch_size : int
        Number of images per batch.

    Returns
    -------
    int
        Number of rows written.

    Raises
    ------
    UsageError
        The file exists, the dataset has no such images, or the parts are from a different run.
    BuildError
        Another run writes the same file, or the disk is full.
    """
    parts = out.with_name(out.name + ".parts")
    if out.exists():
        if parts.is_dir():  # of a run killed after its last step
            with clear_errors(parts), _held(parts):
                _delete(parts)
        raise UsageError(f"{out}: exists already; delete it, or choose another `out`")
    table = open_table(folder)
    if column not in table.column_names:
        raise UsageError(f"column: there is no {column}; available: {', '.join(table.column_names)}")
    manifest = table._data.manifest
    about = encoder.about | {
        "data_set": manifest.name,
        "simulated": manifest.simulated,
        "shards": [shard.sha256 for shard in manifest.shards],
        "column": column,
        "size": encoder.size,
        "mean": list(encoder.mean),
        "std": list(encoder.std),
    }
    with clear_errors(out), _hold(parts, about):
        todo = [start for start in range(0, len(table), PART) if not _part(parts, start).exists()]
        for start, vectors in _vectors(table, encoder, column, batch_size, todo):
            _write_part(_part(parts, start), table.select(slice(start, start + PART)), vectors)
        whole = parts / "whole.parquet"
        _merge(parts, whole, about)
        os.replace(whole, out)
    return len(table)


@contextlib.contextmanager
def _hold(parts: Path, about: dict[str, Any]) -> Iterator[None]:
    """Lock the folder of parts, check that its parts are of this dataset and model, and delete it on success."""
    with _held(parts):
        told, text = parts / "about.json", json.dumps(about, sort_keys=True)
        if told.exists() and told.read_text() != text:
            raise UsageError(f"{parts}: holds parts of another dataset or model; delete it, or choose another `out`")
        with replacing(told) as path:
            path.write_text(text)
        yield
        _delete(parts)


def _held(parts: Path) -> contextlib.AbstractContextManager[None]:
    return hold(parts, f"{parts}: another run is writing to it; wait for it, or choose another `out`")


def _delete(parts: Path) -> None:
    for path in parts.glob("*"):
        if path.name != "lock":
            path.unlink()


def _part(parts: Path, start: int) -> Path:
    return parts / f"part-{start:010d}.parquet"


def _vectors(
    table: Table, encoder: Encoder, column: str, batch_size: int, todo: list[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row and the vectors, float32 [rows, length], of each part to do; reads images ahead."""
    images = table.select_columns([column])
    batches = []
    for start in todo:
        rows = range(start, min(start + PART, len(table)))
        batches += [(start, rows[place : place + batch_size]) for place in range(0, len(rows), batch_size)]
    done: list[np.ndarray] = []
    rows_to_do = sum(len(rows) for _, rows in batches)
    with ThreadPoolExecutor(1) as reader, progress("embedding", "images", rows_to_do) as bar:
        ahead = [reader.submit(_read, images, column, rows) for _, rows in batches[:1]]
        for number, (start, rows) in enumerate(batches):
            batch = ahead.pop().result()
            if number + 1 < len(batches):
                ahead.append(reader.submit(_read, images, column, batches[number + 1][1]))
            done.append(encode(batch, encoder))
            bar.update(len(rows))
            if number + 1 == len(batches) or batches[number + 1][0] != start:
                yield start, np.concatenate(done)
                done = []


def _read(images: Table, column: str, rows: range) -> np.ndarray:
    value: Any = images[rows.start : rows.stop]
    for name in column.split("."):
        value = value[name]
    return value


def _write_part(path: Path, rows: Table, vectors: np.ndarray) -> None:
    names = rows.catalog
    columns = {name: names[name] for name in ("object_id", SOURCE)}
    columns |= {f"feat_{number}": pa.array(vectors[:, number]) for number in range(vectors.shape[1])}
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="zstd", use_dictionary=False)


def _merge(parts: Path, out: Path, about: dict[str, Any]) -> None:
    """Merge all parts into one file, a bounded number at a time."""
    paths = sorted(parts.glob("part-*.parquet"))
    if not paths:
        raise UsageError("the dataset has no rows to embed")
    schema = pq.read_schema(paths[0]).with_metadata({"skyshards": json.dumps(about)})
    at_once = max(1, _MERGED_BYTES // (4 * PART * len(schema)))
    with (
        replacing(out) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", use_dictionary=False) as file,
    ):
        for first in range(0, len(paths), at_once):
            tables = [pq.ParquetFile(path).read() for path in paths[first : first + at_once]]
            file.write_table(pa.concat_tables(tables).cast(schema), row_group_size=at_once * PART)
