"""Encoded rows into shards: each HEALPix pixel's rows, sorted, in one file or several of bounded size."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from skyshards.errors import ShardCorrupted
from skyshards.files import file_digest, sync
from skyshards.format import catalog
from skyshards.format import shard as hdf5
from skyshards.format.layout import HEALPIX, pixel_folder, shard_name
from skyshards.format.manifest import Manifest, Shard
from skyshards.format.rows import EncodedRow

_one_at_a_time = threading.Lock()
"""Held by the thread that packs, where an executor of threads does: h5py before 3.16 cannot write two files at once
through Python file objects."""

MAX_SHARD_BYTES = 512 << 20
"""A pixel whose stored values take more than this is split."""


def divide(sizes: Sequence[int], max_rows: int | None, max_bytes: int) -> list[slice]:
    """Cut a sequence of rows into as few consecutive runs as the bounds allow, of nearly equal length.

    A row larger than `max_bytes` has a run of its own.
    """
    count = len(sizes)
    number = max(-(-count // max_rows) if max_rows else 1, min(-(-sum(sizes) // max_bytes), count), 1)
    while True:
        edges = [count * part // number for part in range(number + 1)]
        runs = [slice(*edge) for edge in zip(edges, edges[1:], strict=False)]
        fits = all(run.stop - run.start == 1 or sum(sizes[run]) <= max_bytes for run in runs)
        if number == count or (fits and (not max_rows or all(run.stop - run.start <= max_rows for run in runs))):
            return runs
        number += 1


def merge(old: Iterable[EncodedRow], new: Iterable[EncodedRow]) -> list[EncodedRow]:
    """Rows of one pixel in their final order, each once; a source's new rows stand for its old ones."""
    rows = {row.order: row for row in old} | {row.order: row for row in new}
    return [rows[order] for order in sorted(rows)]


def pack_pixel(
    folder: Path,
    staged: Path,
    split: str,
    pixel: int,
    new: Iterable[EncodedRow],
    manifest: Manifest,
    attributes: Mapping[str, str],
    max_bytes: int = MAX_SHARD_BYTES,
) -> list[tuple[Shard, pa.Table]]:
    """Write the shards of a pixel, in the folder `staged`, from the rows that it has in `folder` and the new ones.

    The manifest's shards are those that the pixel has. Gives each new one with its part of the catalogue. The same rows
    give the same bytes, however many steps it took. Raises `ShardCorrupted` if an old shard is not what it was.
    """
    specs, max_rows = manifest.specs, manifest.options["max_rows_per_shard"]
    name = pixel_folder(split, pixel, manifest.splits)
    (staged / name).mkdir(parents=True, exist_ok=True)
    for shard in manifest.shards:
        if file_digest(folder / shard.path) != shard.sha256:
            message = "not what was written there; delete it, and run the same command again to read its sources again"
            raise ShardCorrupted(f"{folder / shard.path}: {message}")
    with _one_at_a_time, contextlib.ExitStack() as stack:
        files = [stack.enter_context(hdf5.open_safely(folder / shard.path)) for shard in manifest.shards]
        rows = merge([row for file in files for row in hdf5.read_rows(file, specs)], new)
        runs = divide([row.nbytes for row in rows], max_rows, max_bytes)
        packed = []
        for number, run in enumerate(runs, 1):
            path = staged / name / shard_name(number, len(runs))
            ranges = hdf5.write(path, specs, rows[run], dict(attributes) | {HEALPIX: str(pixel), "split": split})
            sync(path)  # while other processes still pack
            shard = Shard(f"{name}/{path.name}", split, pixel, len(rows[run]), path.stat().st_size, file_digest(path))
            packed.append((shard, catalog.rows_table(specs, shard, rows[run], ranges)))
    return packed
