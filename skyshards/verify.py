"""Check a built dataset against itself, file by file, and describe it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa

from skyshards.disk_use import disk_use
from skyshards.errors import FolderError, ShardCorrupted
from skyshards.files import file_digest, is_url
from skyshards.format import arrow_arrays, catalog, hashes, healpix, missing, provenance
from skyshards.format import shard as hdf5
from skyshards.format.addition import KEY, Addition, scalars_files, without
from skyshards.format.catalog_file import CatalogFile
from skyshards.format.catalog_statistics import is_within
from skyshards.format.columns import ColumnSpec
from skyshards.format.folds import NO_FOLD, fold_of, is_fold
from skyshards.format.kinds import KINDS
from skyshards.format.layout import (
    ADDED_ROW,
    CARD,
    CATALOG,
    FOLD,
    HEALPIX,
    ROW,
    SHARD,
    SHARDS,
    SIZE,
    SOURCE,
    SOURCES,
    SPLIT,
    START,
)
from skyshards.format.manifest import Manifest, Shard
from skyshards.read.table import Table, open_table
from skyshards.text import counted


def problems(folder: Path) -> Iterator[str]:
    """Yield the problems of a built dataset, one line each.

    Checks that every shard exists with its size and sha256; that its HDF5 datasets have the declared dtypes, shapes
    and length; that rows are sorted and lie in their pixel; that catalogue and shards hold the same values, and every
    heavy value decodes; that there are no other shards; and that each row's source is recorded as done.

    Raises `FolderError` if there is no catalogue to check against.
    """
    file = catalog.open_catalog(folder)
    manifest, table = file.manifest, open_table(folder)
    counts = np.zeros(len(manifest.shards), np.int64)
    for part in file.parts([SHARD]):
        counts += np.bincount(arrow_arrays.values(part[SHARD].chunk(0).indices), minlength=len(counts))
    misstated: set[str] = set()
    position, parts = 0, _cut(_groups(file, misstated), [shard.rows for shard in manifest.shards])
    for shard, count in zip(manifest.shards, counts.tolist(), strict=True):
        if count != shard.rows:
            yield f"{CATALOG}: does not have the {counted(shard.rows, 'rows')} of {shard.path}"
            return
        selected = table.select(slice(position, position + shard.rows))
        position += shard.rows
        part = next(parts)
        yield from (f"{shard.path}: {problem}" for problem in _shard_problems(folder, shard, manifest, part, selected))
        table._data.columns.forget_before(position)
    for name in sorted(misstated):
        yield f"{CATALOG}: the statistics of column {name!r} differ from its values, so that conditions miss rows"
    for addition in manifest.additions:
        yield from (f"{addition.path}: {problem}" for problem in _addition_problems(folder, addition, file, table))
    known = {*manifest.lengths, *scalars_files(manifest).values()}
    for path in sorted(path.relative_to(folder) for path in folder.rglob(SHARDS)):
        hidden = any(part.startswith(".") for part in path.parts)  # such as those of an unfinished build
        if not hidden and (name := path.as_posix()) not in known:
            yield f"{name}: is not in the catalogue, and stock datasets would load it"
    if not (folder / CARD).is_file():
        yield f"{CARD}: missing; stock datasets needs it to load the folder"
    yield from hashes.problems(folder, manifest.digests)
    yield from _source_problems(folder, file)


def _cut(parts: Iterable[pa.Table], lengths: Iterable[int]) -> Iterator[pa.Table]:
    """Yield the rows of at least one table in tables of other lengths, which add up to theirs."""
    coming = iter(parts)
    held = next(coming)
    for length in lengths:
        pieces, held = [held.slice(0, length)], held.slice(length)
        while lacking := length - sum(map(len, pieces)):
            held = next(coming)
            pieces.append(held.slice(0, lacking))
            held = held.slice(lacking)
        yield pa.concat_tables(pieces)


def _groups(file: CatalogFile, misstated: set[str]) -> Iterator[pa.Table]:
    """Yield the rows of the catalogue by row group, and note columns whose statistics differ from their values."""
    yield file.schema.remove_metadata().empty_table()
    extents = {name: file.extents(name) for name in file.schema.names}
    for group, part in enumerate(file.parts()):
        misstated.update(name for name in extents if not is_within(part[name].chunk(0), extents[name][group]))
        yield part


def _file_problem(path: Path, recorded: Shard | Addition) -> str | None:
    """Compare a file's size and digest with those in the manifest."""
    if not path.is_file():
        return "missing"
    if path.stat().st_size != recorded.nbytes:
        return f"{path.stat().st_size} bytes, expected {recorded.nbytes}"
    return None if file_digest(path) == recorded.sha256 else "its sha256 differs from the one in the catalogue"


def _addition_problems(folder: Path, addition: Addition, file: CatalogFile, table: Table) -> Iterator[str]:
    path = folder / addition.path
    if problem := _file_problem(path, addition):
        yield f"{problem}; run `skyshards add` again with {addition.table}, or `skyshards drop`"
        return
    added = ADDED_ROW + addition.name
    there = np.concatenate([np.zeros(0, bool), *(~without(part, addition) for part in file.parts([added]))])

    def column(name: str) -> pa.ChunkedArray:
        chunks = [chunk for part in file.parts([name]) for chunk in part[name].chunks]
        return pa.chunked_array(chunks, file.schema.field(name).type).filter(pa.array(there))

    places = column(added).to_numpy()
    if len(np.unique(places)) < len(places):
        yield "two rows of the catalogue have the same values in it"
        return
    specs = {name: file.manifest.in_shards[name] for name in KEY} | addition.specs
    try:
        with hdf5.open_safely(path) as opened:
            yield from _values_problems(opened, specs, addition.rows, column, places)
        heavy = [name for name, spec in addition.specs.items() if spec.heavy]
        narrow = table.select_columns(heavy or ["object_id"])
        for start in range(0, len(narrow), 1024):
            narrow[start : start + 1024]
            table._data.columns.forget_before(start)
    except (ShardCorrupted, FolderError) as error:
        yield str(error).removeprefix(f"{path}: ")
    except Exception as error:  # HDF5 reports damage with many kinds of errors
        yield f"cannot be read ({type(error).__name__}: {error})"


def _shard_problems(folder: Path, shard: Shard, manifest: Manifest, part: pa.Table, table: Table) -> Iterator[str]:
    path = folder / shard.path
    if problem := _file_problem(path, shard):
        yield problem
        return
    try:
        with hdf5.open_safely(path) as file:
            yield from _content_problems(file, shard, manifest, part)
        for start in range(0, len(table), 64):
            table[start : start + 64]
    except (ShardCorrupted, FolderError) as error:
        yield str(error).removeprefix(f"{path}: ")
    except Exception as error:  # HDF5 reports damage with many kinds of errors
        yield f"cannot be read ({type(error).__name__}: {error})"


def _content_problems(file, shard: Shard, manifest: Manifest, part: pa.Table) -> Iterator[str]:
    yield from _values_problems(file, manifest.in_shards, shard.rows, part.__getitem__, np.arange(shard.rows))
    ids = list(
        zip(
            hdf5.read_light(file, manifest.specs["object_id"]),
            hdf5.read_light(file, manifest.specs[SOURCE]),
            strict=True,
        )
    )
    if ids != sorted(set(ids)):
        yield "its rows are not in order of (object_id, source), or not unique"
    if part[ROW].to_pylist() != list(range(shard.rows)) or set(part[SPLIT].to_pylist()) != {shard.split}:
        yield "its row numbers or split differ from the catalogue's"
    pixels = healpix.pixel_of(file["ra"][()], file["dec"][()], manifest.nside)
    if (pixels != shard.pixel).any() or (file[HEALPIX][()] != shard.pixel).any():
        yield f"has rows that lie outside its pixel {shard.pixel}"
    if is_fold(manifest.specs.get(FOLD)):
        folds = file[FOLD][()]
        if ((folds != fold_of(file["ra"][()], file["dec"][()])) & (folds != NO_FOLD)).any():
            yield f"has rows whose column {FOLD!r} is not the fold of their position"


def _values_problems(
    file: h5py.File,
    specs: Mapping[str, ColumnSpec],
    length: int,
    column: Callable[[str], pa.ChunkedArray],
    places: np.ndarray,
) -> Iterator[str]:
    """Compare the columns of a file of `length` rows with columns of the catalogue, whose rows are at these places."""
    for name, spec in specs.items():
        inner = name.replace(".", "/")
        if inner not in file:
            yield f"no column {name!r}"
            return
        dataset = file[inner]
        if not isinstance(dataset, h5py.Dataset):
            yield f"column {name!r} is a {type(dataset).__name__}, expected data"
            return
        if expected := KINDS[spec.kind].expected_in_hdf5(dataset.dtype, spec):
            yield f"column {name!r} is {dataset.dtype}, expected {expected}"
            return
        if dataset.shape != (shape := (length, *spec.shape)):
            yield f"column {name!r} has shape {dataset.shape}, expected {shape}"
            return
        if spec.heavy:
            listed = _listed_contents(file.filename, column, name)
            stored = (hdf5.stored(dataset, spec, place) for place in places.tolist())
            if any(found != content for found, content in zip(stored, listed, strict=True)):
                yield f"column {name!r} is not where the catalogue says"
        if not spec.heavy:
            values = hdf5.read_light(file, spec)[places]
            listed = missing.with_nulls(pa.array(values.tolist(), KINDS[spec.kind].arrow_type(spec)), spec)
            if not _same(listed, column(name).combine_chunks()):
                yield f"column {name!r} differs from the catalogue's"


def _listed_contents(path: str, column: Callable[[str], pa.ChunkedArray], name: str) -> Iterator[bytes]:
    """Yield the bytes at the places where the catalogue locates the values of a heavy column."""
    starts, sizes = (column(what + name).to_pylist() for what in (START, SIZE))
    with open(path, "rb") as file:
        for start, size in zip(starts, sizes, strict=True):
            yield os.pread(file.fileno(), size, start)


def _same(found: pa.Array, expected: pa.Array) -> bool:
    """Compare two arrays; NaN equals NaN, in lists too."""
    if pa.types.is_fixed_size_list(found.type):
        return found.is_valid().equals(expected.is_valid()) and _same(found.flatten(), expected.flatten())
    if pa.types.is_floating(found.type):
        values, wanted = (array.to_numpy(zero_copy_only=False) for array in (found, expected))
        are_alike = found.is_valid().equals(expected.is_valid())
        return are_alike and np.array_equal(values, wanted, equal_nan=True)
    return found.equals(expected)


def _source_problems(folder: Path, file: CatalogFile) -> Iterator[str]:
    records = provenance.read(folder)
    if not (first := list(islice(records, 1))):
        yield f"{SOURCES}: missing, so that no row leads to its source"
        return
    records, places = chain(first, records), provenance.places(file)
    counts, recorded = places["rows"].to_numpy(), np.zeros(len(places), bool)
    while batch := list(islice(records, provenance.BATCH)):
        numbers = provenance.located(pa.array([record.key for record in batch], pa.string()), places)
        for record, number in zip(batch, numbers.tolist(), strict=True):
            count = 0 if number is None else int(counts[number])
            if number is not None and record.status in ("done", "in part"):
                recorded[number] = True
            yield from _record_problems(record, count)
    for number in np.flatnonzero(~recorded).tolist():
        key, count = places["key"][number].as_py(), int(counts[number])
        yield f"{SOURCES}: source {key!r} of {counted(count, 'rows')} is not recorded as done"


def _record_problems(record: provenance.SourceRecord, count: int) -> Iterator[str]:
    """Compare the record of a source with the number of its rows."""
    good = record.read - record.failed
    if record.status in ("done", "in part") and record.total is not None and count > good:
        yield f"{CATALOG}: has {counted(count, 'rows')} of source {record.key!r}; read without an error: {good:,}"
    is_done = record.status == "done" or (record.status == "in part" and record.total is None)
    if is_done and not count:
        yield f"{CATALOG}: has no row of source {record.key!r}, which is recorded as done"
    if record.status == "done" and record.total is not None and record.read < record.total:
        rows_read = f"{record.read:,} of its {counted(record.total, 'rows')} read"
        yield f"{SOURCES}: source {record.key!r} is done, with only {rows_read}"


def describe(folder: str | os.PathLike) -> str:
    """Summarize a built dataset, at a path or URL, in a few lines."""
    table = open_table(folder)
    manifest = table._data.manifest
    recorded = is_url(folder) or (Path(folder).expanduser() / SOURCES).is_file()
    records = provenance.records(table._data.sources) if recorded else []
    statuses = [record.status for record in records]
    outcome = ", ".join(
        f"{statuses.count(status):,} {status}"
        for status in ("done", "in part", "left out", "failed")
        if status in statuses
    )
    if missing := sum(record.missing for record in records):
        outcome += f"; not read yet: {counted(missing, 'rows')} of those in part"
    if failed := sum(record.failed for record in records):
        outcome += f"; {counted(failed, 'rows')} failed"
    options = ", ".join(f"{name}={value}" for name, value in manifest.options.items() if value is not None)
    rows = {split: sum(shard.rows for shard in manifest.shards if shard.split == split) for split in manifest.splits}
    splits = ", ".join(f"{split} ({counted(count, 'rows')})" for split, count in rows.items())
    megabytes = sum(shard.nbytes for shard in manifest.shards) / 1e6
    lines = [
        repr(table),
        f"splits: {splits}",
        f"shards: {counted(len(manifest.shards), 'files')}, {megabytes:,.1f} MB, HEALPix nside {manifest.nside} NESTED",
        *([f"store: {stored}"] if (stored := disk_use(table)) else []),
        f"sources: {outcome or 'not recorded'}",
        f"options: {options or 'defaults'}",
        *(_about(addition, table) for addition in manifest.additions),
    ]
    return "\n".join(lines)


def _about(addition: Addition, table: Table) -> str:
    count = len(table) - table._data.columns.file.lacking(ADDED_ROW + addition.name)
    origin = f"{addition.table} (sha256 {addition.table_sha256[:12]}…)"
    columns = f"{counted(len(addition.columns), 'columns')} of {origin}, matched by {addition.match}"
    return f"addition {addition.name}: {count:,} of {counted(len(table), 'rows')}, {columns}"
