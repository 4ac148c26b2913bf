"""Pack all pixels with new rows, in workers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from skyshards.files import remove_unfinished
from skyshards.format import scalars
from skyshards.format.manifest import Manifest, Shard
from skyshards.pipeline import object_store, pack
from skyshards.pipeline.catalog_parts import ROWS, part_path
from skyshards.pipeline.spool import Spool
from skyshards.pipeline.workers import Workers
from skyshards.place import Place
from skyshards.progress import progress


def pack_all(staged: Path, spool: Spool, manifest: Manifest, pool: Workers, place: Place | None) -> Manifest:
    """Write the shards of all pixels with new rows, and their parts of the catalogue; return the manifest.

    With a `place`, the shards go there.
    """
    attributes = scalars.attributes(manifest)
    pixels = spool.pixels()
    touched: dict[tuple[str, int], list[Shard]] = {(split, pixel): [] for split, pixel in pixels}
    shards: list[Shard] = []
    for shard in manifest.shards:
        touched.get((shard.split, shard.pixel), shards).append(shard)
    calls = (
        (*pixel, spool.rows(*pixel), replace(manifest, shards=tuple(old)), attributes) for pixel, old in touched.items()
    )
    rows = spool.row_count() + sum(shard.rows for old in touched.values() for shard in old)
    with progress("packing", "rows", rows) as bar:
        for written, packed in _packed(staged, calls, pool, place):
            for shard in packed:
                _move(written, part_path(shard), staged.parent / ROWS)
                if place is None:
                    _move(written, shard.path, staged)
                shards.append(shard)
                bar.update(shard.rows)
    remove_unfinished(staged.parent)
    split_rank = {split: number for number, split in enumerate(manifest.splits)}
    shards.sort(key=lambda shard: (split_rank[shard.split], shard.path))
    return replace(manifest, shards=tuple(shards))


def _packed(
    staged: Path, calls: Iterable[tuple], pool: Workers, place: Place | None
) -> Iterator[tuple[Path, list[Shard]]]:
    """Pack pixels in workers; yield the folder and the shards of each."""
    folder, workspace = staged.parents[1], staged.parent
    if place is None:
        return pool.call(pack.pack_apart, ((folder, workspace, *call) for call in calls))
    return pool.call(object_store.pack_there, ((place, workspace, *call) for call in calls))


def _move(folder: Path, name: str, to: Path) -> None:
    (to / name).parent.mkdir(parents=True, exist_ok=True)
    os.replace(folder / name, to / name)
