"""Packing of encoded rows into shards: the sorted rows of a HEALPix pixel, in one or more files of bounded size."""

from __future__ import annotations

import contextlib
import heapq
import operator
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from skyshards.errors import ShardCorrupted
from skyshards.files import TEMPORARY_PREFIX, file_digest, sync
from skyshards.format import catalog, storage
from skyshards.format import shard as hdf5
from skyshards.format.columns import ColumnSpec
from skyshards.format.layout import HEALPIX, pixel_folder, shard_name
from skyshards.format.manifest import Manifest, Shard
from skyshards.format.moments import MOMENTS, Moments, combined, of_stored
from skyshards.format.rows import EncodedRow
from skyshards.pipeline.catalog_parts import save

_one_at_a_time = threading.Lock()
"""Serializes packing in a thread executor: h5py before 3.16 cannot write two files at once through Python file
objects."""

MAX_SHARD_BYTES = 512 << 20
"""A pixel with more stored bytes than this is split into several shards."""
MAX_SHARD_ROWS = 1 << 16
"""The same for rows. The rows of a shard, but for their large values, are in memory while it is written."""


def divide(sizes: Sequence[int] | np.ndarray, max_rows: int, max_bytes: int) -> list[slice]:
    """Divide rows into the fewest consecutive runs of nearly equal length that keep the bounds.

    A row larger than `max_bytes` gets a run of its own.

    Parameters
    ----------
    sizes : sequence of int
        Stored bytes of each row.
    max_rows, max_bytes : int

    Returns
    -------
    list of slice
    """
    count, ends = len(sizes), np.append(0, np.cumsum(sizes, dtype=np.int64))
    number = max(-(-count // max_rows), min(-(-int(ends[-1]) // max_bytes), count), 1)
    while True:
        edges = np.arange(number + 1) * count // number
        rows, nbytes = np.diff(edges), np.diff(ends[edges])
        if number == count or (((rows == 1) | (nbytes <= max_bytes)) & (rows <= max_rows)).all():
            return [slice(*edge) for edge in zip(edges.tolist(), edges[1:].tolist(), strict=False)]
        number += 1


def merge(old: Iterable[EncodedRow], new: Iterable[EncodedRow]) -> Iterator[EncodedRow]:
    """Merge the rows of one pixel, each in order, without duplicates; new rows replace old ones."""
    last = None
    for row in heapq.merge(old, new, key=operator.attrgetter("order")):
        if last is not None and last.order != row.order:
            yield last
        last = row
    if last is not None:
        yield last


def pack_apart(folder: Path, workspace: Path, *arguments: Any, **options: Any) -> tuple[Path, list[Shard]]:
    """Pack a pixel into a new folder in the workspace; return that folder, and what `pack_pixel` does.

    A worker that is thought dead may still be packing while another one repeats its task: each has a folder of its own.
    """
    place = workspace / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    return place, pack_pixel(folder, place, *arguments, **options)


def pack_pixel(
    folder: Path,
    staged: Path,
    split: str,
    pixel: int,
    new: Iterable[EncodedRow],
    manifest: Manifest,
    attributes: Mapping[str, str],
    max_bytes: int = MAX_SHARD_BYTES,
) -> list[Shard]:
    """Write a pixel's shards to the folder `staged`, from its rows in `folder` and the new ones.

    The same rows give the same bytes, in however many builds they were added. Memory is that of one shard's rows.

    Parameters
    ----------
    new : iterable of EncodedRow
        In order, as they wait in the spool (values are deflated whatever the store); iterated twice.
    manifest : Manifest
        Of the dataset, with this pixel's shards only.
    attributes : mapping of str to str
        HDF5 attributes of the shards.

    Returns
    -------
    list of Shard
        The new shards; beside each is its part of the catalogue (see `skyshards.pipeline.catalog_parts`).

    Raises
    ------
    ShardCorrupted
        The hash of an old shard is wrong.
    """
    spooled = storage.in_spool(manifest)
    with shard_rows(folder, manifest, "run the same command again to read its sources again") as old:
        return write_pixel(
            staged,
            split,
            pixel,
            lambda: merge(old(), (storage.inflated(row, spooled) for row in new)),
            manifest,
            attributes,
            max_bytes,
        )


@contextlib.contextmanager
def shard_rows(folder: Path, manifest: Manifest, advice: str) -> Iterator[Callable[[], Iterator[EncodedRow]]]:
    """Read the rows of all shards of a manifest, at each call of what this gives; shards are written one at a time.

    Raises `ShardCorrupted`, with this advice, if the hash of a shard is wrong.
    """
    for shard in manifest.shards:
        if file_digest(folder / shard.path) != shard.sha256:
            message = f"not what was written there; delete it, and {advice}"
            raise ShardCorrupted(f"{folder / shard.path}: {message}")
    with _one_at_a_time, contextlib.ExitStack() as stack:
        files = [stack.enter_context(hdf5.open_safely(folder / shard.path)) for shard in manifest.shards]
        yield lambda: chain.from_iterable(hdf5.read_rows(file, manifest.in_shards) for file in files)


def write_pixel(
    staged: Path,
    split: str,
    pixel: int,
    rows: Callable[[], Iterator[EncodedRow]],
    manifest: Manifest,
    attributes: Mapping[str, str],
    max_bytes: int = MAX_SHARD_BYTES,
) -> list[Shard]:
    """Write all rows of a pixel, in order and stored as the manifest says, to shards in the folder `staged`.

    `rows` gives them, and is called twice. Other parameters and the result are those of `pack_pixel`.
    """
    specs, max_rows = manifest.in_shards, manifest.options["max_rows_per_shard"] or MAX_SHARD_ROWS
    name = pixel_folder(split, pixel, manifest.splits)
    (staged / name).mkdir(parents=True, exist_ok=True)
    runs = divide(np.fromiter((row.nbytes for row in rows()), np.int64), max_rows, max_bytes)
    following, packed = rows(), []
    for number, run in enumerate(runs, 1):
        path, part = staged / name / shard_name(number, len(runs)), list(islice(following, run.stop - run.start))
        ranges = hdf5.write(path, specs, part, dict(attributes) | {HEALPIX: str(pixel), "split": split})
        sync(path)  # while other processes still pack
        about = f"{name}/{path.name}", split, pixel, len(part), path.stat().st_size, file_digest(path)
        shard = Shard(*about, _moments(part, specs))
        save(staged, shard, catalog.rows_table(specs, shard, part, ranges))
        packed.append(shard)
    return packed


def _moments(rows: Sequence[EncodedRow], specs: Mapping[str, ColumnSpec]) -> dict[str, Moments | None]:
    """Add up the sums over the pixels of each image column; rows that are in a shard already are decoded for it."""
    images = {path: spec for path, spec in specs.items() if spec.is_image}
    found: dict[str, list[Moments]] = {path: [] for path in images}
    for row in rows if images else ():
        known = row.light().get(MOMENTS)
        parts = hdf5.parts(row) if known is None else {}
        for path, spec in images.items():
            sums = of_stored(parts[path], spec) if known is None else Moments(*map(tuple, known[path]))
            found[path].append(sums)
    return {path: combined(sums) for path, sums in found.items()}
