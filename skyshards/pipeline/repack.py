"""Write a built dataset again with its large values stored otherwise. An interrupted run goes on where it was."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.compute as pc

from skyshards.errors import BuildError, ShardCorrupted, UsageError
from skyshards.files import TEMPORARY_PREFIX, file_digest, is_read_only, sync
from skyshards.format import card, catalog, hashes, provenance, scalars, storage
from skyshards.format.addition import beside, with_additions
from skyshards.format.catalog_file import CatalogFile
from skyshards.format.layout import CARD, CATALOG, CITATION, FORMAT_VERSION, SHARDS, SIZE, SOURCES, WORKSPACE
from skyshards.format.manifest import WRITER, Manifest, Shard
from skyshards.format.parquet_parts import Parts
from skyshards.pipeline import pack, spool
from skyshards.pipeline.catalog_parts import load
from skyshards.pipeline.check import check_store
from skyshards.pipeline.workspace import hold, publish
from skyshards.processes import prepare, results
from skyshards.progress import progress, say, size

PARTS, STATE = "parts", "repack"
"""In the workspace: the folder of finished pixels, and the file that says of what; in each pixel, of which shards."""


@dataclass(frozen=True)
class Repacked:
    """What a repack wrote: its rows, their shards and the bytes of these, and the bytes of the shards before."""

    folder: Path
    rows: int
    shards: int
    nbytes: int
    nbytes_before: int


def repack(
    folder: str | os.PathLike, output_dir: str | os.PathLike, store: str, *, workers: int | None = None
) -> Repacked:
    """Write a built dataset to another folder, with its large columns deflated or uncompressed.

    Values, names, sources, additions, citations and the card stay the same, and the new folder can be built further,
    with this store. An interrupted run goes on where it was if it is called again. The old folder stays as it is.

    Parameters
    ----------
    folder : path
        The built dataset.
    output_dir : path
        A new folder.
    store : {"small", "fast"}
        As for `build`. From small to fast and back, all files have the same bytes again.
    workers : int, optional
        Number of processes, 0 for this one; by default, the number of usable cores.

    Returns
    -------
    Repacked

    Raises
    ------
    UsageError
        The dataset has this store already, or the new folder holds something else.
    FolderError
        The folder is not a built dataset.
    BuildError
        A build of the folder has not ended, another process holds one of the folders, or the disk is full.
    ShardCorrupted
        A file is not what was written there.

    Examples
    --------
    >>> if __name__ == "__main__":  # worker processes import this script  # doctest: +SKIP
    ...     skyshards.repack("data/gz3d", "data/gz3d_fast", "fast")
    """
    check_store(store)
    folder, out = Path(folder), Path(output_dir)
    _refuse(folder, out, store)
    if workers != 0:
        prepare(repack_pixel)
    with hold(folder, WORKSPACE, otherwise="") as own, hold(out, WORKSPACE) as workspace:
        if (own / spool.JOURNAL).is_file() or (workspace / spool.JOURNAL).is_file():
            place = folder if (own / spool.JOURNAL).is_file() else out
            raise BuildError(f"{place}: a build has not ended; complete it first, as `skyshards info` says")
        found = catalog.open_catalog(folder)
        manifest = found.manifest
        before = with_additions(manifest, ())
        wanted = _in_store(found, before, store)
        _check_space(out, len(found), wanted)
        _keep_parts(workspace, before, wanted)
        packed, parts = _pack_all(folder, workspace, before, wanted, workers)
        after = with_additions(replace(wanted, shards=packed), manifest.additions)
        staged = workspace / "staged"
        staged.mkdir()
        _write_rest(folder, staged, after, beside(parts, found.table, after))
        _move_shards(workspace, staged)
        publish(workspace)
    nbytes, nbytes_before = (sum(shard.nbytes for shard in each.shards) for each in (after, manifest))
    return Repacked(out, len(found), len(packed), nbytes, nbytes_before)


def _refuse(folder: Path, out: Path, store: str) -> None:
    """Raise an error unless the folder is a built dataset in another store, and the new one is empty."""
    if missing := [name for name in (CATALOG, CARD, CITATION, SOURCES) if not (folder / name).is_file()]:
        raise catalog.not_built(folder, missing[0])
    if storage.store_of(catalog.read_manifest(folder)) == store:
        raise UsageError(f"{folder}: has the `store` {store} already; use it as it is")
    if out.resolve() == folder.resolve():
        raise UsageError(f"{out}: holds the dataset itself; choose another folder for the new one")
    if (out / CATALOG).exists():
        raise UsageError(f"{out}: holds a built dataset; delete it, or choose another folder")
    others = [path.name for path in out.iterdir() if path.name != WORKSPACE] if out.is_dir() else []
    if others:
        raise UsageError(f"{out}: holds {others[0]}; choose an empty folder")
    if is_read_only(out):
        raise BuildError(f"{out}: cannot be written to; make it writable, or choose another folder")


def _in_store(found: CatalogFile, manifest: Manifest, store: str) -> Manifest:
    """Return the manifest of the new folder, without shards."""
    options = {name: value for name, value in manifest.options.items() if name != storage.STORE}
    wanted = replace(
        manifest,
        options=options | storage.options_of(store),
        shards=(),
        format=max(manifest.format, FORMAT_VERSION),
        written_by=WRITER,
    )
    if store == storage.SMALL:
        return storage.inflating(wanted, ())
    sizes = [SIZE + path for path, spec in manifest.in_shards.items() if spec.heavy]
    sums = Counter(dict.fromkeys(sizes, 0))
    for part in found.parts(sizes) if sizes else ():
        sums.update({name: pc.sum(part[name]).as_py() or 0 for name in sizes})
    return storage.in_fast_store(wanted, len(found), {name.removeprefix(SIZE): total for name, total in sums.items()})


def _check_space(out: Path, rows: int, wanted: Manifest) -> None:
    """Say how much uncompressed values will take, and raise `BuildError` if the disk has not that much."""
    needed = sum(wanted.in_shards[path].nbytes * rows for path in wanted.inflated)
    if not needed:
        return
    place = next(path for path in (out, *out.absolute().parents) if path.exists())
    done = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    say(f"{', '.join(wanted.inflated)} will be uncompressed, {size(needed)}")
    if (free := shutil.disk_usage(place).free) < needed - done:
        raise BuildError(f"{out}: the new folder needs {size(needed)}, the disk has {size(free)} free; free some space")


def _keep_parts(workspace: Path, before: Manifest, wanted: Manifest) -> None:
    """Keep the pixels that an interrupted run finished, if it was of the same dataset and into the same store."""
    state = hashlib.sha256((before.to_json() + wanted.to_json()).encode()).hexdigest()
    path = workspace / STATE
    if not path.is_file() or path.read_text() != state:
        shutil.rmtree(workspace / PARTS, ignore_errors=True)
        path.write_text(state)
    (workspace / PARTS).mkdir(exist_ok=True)


def _pack_all(
    folder: Path, workspace: Path, before: Manifest, wanted: Manifest, workers: int | None
) -> tuple[tuple[Shard, ...], Parts]:
    """Write the pixels that are not finished; return all shards in order, and the catalogue in parts."""
    pixels: dict[tuple[str, int], list[Shard]] = {}
    for shard in before.shards:
        pixels.setdefault((shard.split, shard.pixel), []).append(shard)
    places = {pixel: workspace / PARTS / f"{pixel[0]}-{pixel[1]}" for pixel in pixels}
    left = sorted((pixel for pixel in pixels if not places[pixel].exists()), key=lambda pixel: -_nbytes(pixels[pixel]))
    attributes = scalars.attributes(wanted)
    calls = (
        (folder, places[pixel], *pixel, replace(before, shards=tuple(pixels[pixel])), wanted, attributes)
        for pixel in left
    )
    rows = sum(shard.rows for shard in before.shards)
    done = rows - sum(shard.rows for pixel in left for shard in pixels[pixel])
    with progress("repacking", "rows", rows, done) as bar:
        for count in results(repack_pixel, calls, workers, None):
            bar.update(count)
    shards = [shard for place in places.values() for shard in _finished(place)]
    rank = {split: number for number, split in enumerate(wanted.splits)}
    shards.sort(key=lambda shard: (rank[shard.split], shard.path))
    return tuple(shards), lambda: (load(places[shard.split, shard.pixel], shard) for shard in shards)


def _nbytes(shards: list[Shard]) -> int:
    return sum(shard.nbytes for shard in shards)


def repack_pixel(
    folder: Path,
    place: Path,
    split: str,
    pixel: int,
    before: Manifest,
    wanted: Manifest,
    attributes: Mapping[str, str],
) -> int:
    """Write a pixel's shards and catalogue to the folder `place`, which appears whole; return the number of rows.

    `before` has the shards of this pixel only.
    """
    unfinished = place.parent / f"{TEMPORARY_PREFIX}{place.name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    with (
        pack.shard_rows(folder, before, "build it again") as old,
        tempfile.TemporaryFile(dir=unfinished, buffering=0) as scratch,
    ):
        spooled = storage.in_spool(wanted)
        if before.inflated:
            rows = list(storage.deflated(old(), storage.in_spool(before), scratch))
        else:
            rows = [storage.inflated(row, spooled) for row in old()]
        shards = pack.write_pixel(unfinished, split, pixel, lambda: iter(rows), wanted, attributes)
    (unfinished / STATE).write_text(replace(wanted, shards=tuple(shards)).to_json())
    for path in [*unfinished.rglob("*"), unfinished]:
        sync(path)
    unfinished.rename(place)
    return len(rows)


def _finished(place: Path) -> tuple[Shard, ...]:
    """Read which shards a finished pixel has."""
    return Manifest.from_json((place / STATE).read_text()).shards


def _write_rest(folder: Path, staged: Path, manifest: Manifest, parts: Parts) -> None:
    """Write the files beside the shards: those that tell of the store anew, the others as they are."""
    for addition in manifest.additions:
        path = staged / addition.path
        path.parent.mkdir(exist_ok=True)
        shutil.copyfile(folder / addition.path, path)
        if file_digest(path) != addition.sha256:
            words = f"not what was written there; run `skyshards add` again with {addition.table}"
            raise ShardCorrupted(f"{folder / addition.path}: {words}")
    shutil.copyfile(folder / CITATION, staged / CITATION)
    written = catalog.write_parts(staged, manifest, parts)
    bad = provenance.read_bad_rows(folder, provenance.read(folder))
    provenance.write(staged, lambda: provenance.read(folder), written, (row for rows in bad.values() for row in rows))
    scalars.write(staged, manifest, written)
    card.amend(staged, folder, manifest, written)
    hashes.write(staged, manifest.digests)


def _move_shards(workspace: Path, staged: Path) -> None:
    """Move the finished pixels' shards to the other files."""
    for path in sorted((workspace / PARTS).rglob(SHARDS)):
        place = staged / path.relative_to(workspace / PARTS).as_posix().partition("/")[2]
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    shutil.rmtree(workspace / PARTS)
    (workspace / STATE).unlink()
