"""Resumable computation of the representations of a built dataset's images, as a Parquet file."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from skyshards.cluster import as_executor
from skyshards.embed.encoders import Encoder
from skyshards.embed.parts import write_parts, write_parts_far
from skyshards.errors import UsageError
from skyshards.files import clear_errors, hold, replacing
from skyshards.progress import progress, stalled
from skyshards.read.table import open_table

if TYPE_CHECKING:
    from distributed import Client

PART = 2048
"""Number of rows in a part; a killed run loses at most one part, in a Dask cluster one for each of its threads."""
_MERGED_BYTES = 128 << 20


def embed(
    folder: str | os.PathLike,
    out: Path,
    encoder: Encoder,
    *,
    column: str = "image",
    batch_size: int = 64,
    executor: Executor | Client | None = None,
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
    executor : concurrent.futures.Executor or distributed.Client, optional
        Compute in its workers, which read the images themselves. They must see the dataset and the folder of `out`
        under the same paths, and need PyTorch and what the encoder is made of.

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
    out = out.absolute()
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
    with as_executor(executor, stalled) as executor, clear_errors(out), _hold(parts, about):
        starts = range(0, len(table), PART)
        paths = {range(start, min(start + PART, len(table))): _part(parts, start) for start in starts}
        todo = {rows: path for rows, path in paths.items() if not path.exists()}
        with progress("embedding", "images", sum(map(len, todo))) as bar:
            if executor is None:
                write_parts(table, encoder, column, batch_size, todo, bar.update)
            else:
                write_parts_far(executor, table, encoder, column, batch_size, todo, bar.update)
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
