"""Packing of encoded rows into shards: the sorted rows of a HEALPix pixel, in one or more files of bounded size."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from skyshards.errors import ShardCorrupted
from skyshards.files import file_digest, sync
from skyshards.format import catalog, storage
from skyshards.format import shard as hdf5
from skyshards.format.columns import ColumnSpec
from skyshards.format.layout import HEALPIX, pixel_folder, shard_name
from skyshards.format.manifest import Manifest, Shard
from skyshards.format.moments import MOMENTS, Moments, combined, of_stored
from skyshards.format.rows import EncodedRow

_one_at_a_time = threading.Lock()
"""Serializes packing in a thread executor: h5py before 3.16 cannot write two files at once through Python file
objects."""

MAX_SHARD_BYTES = 512 << 20
"""A pixel with more stored bytes than this is split into several shards."""


def divide(sizes: Sequence[int], max_rows: int | None, max_bytes: int) -> list[slice]:
    """Divide rows into the fewest consecutive runs of nearly equal length that keep the bounds.

    A row larger than `max_bytes` gets a run of its own.

    Parameters
    ----------
    sizes : sequence of int
        Stored bytes of each row.
    max_rows : int or None
    max_bytes : int

    Returns
    -------
    list of slice
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
    """Merge the rows of one pixel, in their final order and without duplicates; new rows replace old ones."""
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
    """Write a pixel's shards to the folder `staged`, from its rows in `folder` and the new ones.

    The same rows give the same bytes, in however many builds they were added.

    Parameters
    ----------
    new : iterable of EncodedRow
        As they wait in the spool: values are deflated whatever the store.
    manifest : Manifest
        Of the dataset, with this pixel's shards only.
    attributes : mapping of str to str
        HDF5 attributes of the shards.

    Returns
    -------
    list of (Shard, pyarrow.Table)
        Each new shard, with its part of the catalogue.

    Raises
    ------
    ShardCorrupted
        The hash of an old shard is wrong.
    """
    spooled = storage.in_spool(manifest)
    with shard_rows(folder, manifest, "run the same command again to read its sources again") as old:
        rows = merge(old, (storage.inflated(row, spooled) for row in new))
        return write_pixel(staged, split, pixel, rows, manifest, attributes, max_bytes)


@contextlib.contextmanager
def shard_rows(folder: Path, manifest: Manifest, advice: str) -> Iterator[list[EncodedRow]]:
    """Read the rows of all shards of a manifest; shards are written one at a time meanwhile.

    Raises `ShardCorrupted`, with this advice, if the hash of a shard is wrong.
    """
    for shard in manifest.shards:
        if file_digest(folder / shard.path) != shard.sha256:
            message = f"not what was written there; delete it, and {advice}"
            raise ShardCorrupted(f"{folder / shard.path}: {message}")
    with _one_at_a_time, contextlib.ExitStack() as stack:
        files = [stack.enter_context(hdf5.open_safely(folder / shard.path)) for shard in manifest.shards]
        yield [row for file in files for row in hdf5.read_rows(file, manifest.in_shards)]


def write_pixel(
    staged: Path,
    split: str,
    pixel: int,
    rows: Sequence[EncodedRow],
    manifest: Manifest,
    attributes: Mapping[str, str],
    max_bytes: int = MAX_SHARD_BYTES,
) -> list[tuple[Shard, pa.Table]]:
    """Write all rows of a pixel, in order and stored as the manifest says, to shards in the folder `staged`.

    Parameters and result are those of `pack_pixel`.
    """
    specs, max_rows = manifest.in_shards, manifest.options["max_rows_per_shard"]
    name = pixel_folder(split, pixel, manifest.splits)
    (staged / name).mkdir(parents=True, exist_ok=True)
    runs = divide([row.nbytes for row in rows], max_rows, max_bytes)
    packed = []
    for number, run in enumerate(runs, 1):
        path = staged / name / shard_name(number, len(runs))
        ranges = hdf5.write(path, specs, rows[run], dict(attributes) | {HEALPIX: str(pixel), "split": split})
        sync(path)  # while other processes still pack
        about = f"{name}/{path.name}", split, pixel, len(rows[run]), path.stat().st_size, file_digest(path)
        shard = Shard(*about, _moments(rows[run], specs))
        packed.append((shard, catalog.rows_table(specs, shard, rows[run], ranges)))
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
