"""Write an addition's file and the files that tell of it, and put them in place in one step."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from skyshards.additions.columns import NewColumn
from skyshards.additions.matching import Match
from skyshards.additions.values import AddedRows, large_column, small_columns
from skyshards.errors import BuildError
from skyshards.files import TEMPORARY_PREFIX, file_digest, is_read_only, sync
from skyshards.format import card, catalog, hashes, scalars
from skyshards.format import shard as hdf5
from skyshards.format.addition import KEY, Addition, without_null_lists
from skyshards.format.catalog_file import CatalogFile
from skyshards.format.catalog_schema import stored_schema
from skyshards.format.columns import ColumnSpec
from skyshards.format.layout import (
    ADDED_ROW,
    CATALOG,
    CITATION,
    CRC32,
    FAILURES,
    SIZE,
    SOURCES,
    START,
    WORKSPACE,
    addition_path,
    scalars_path,
)
from skyshards.format.manifest import Manifest
from skyshards.format.missing import without_nulls
from skyshards.input_tables.table_file import TableFile
from skyshards.pipeline import spool
from skyshards.pipeline.workspace import hold, publish

STAGED = "staged"


@dataclass(frozen=True)
class Spread:
    """A new column of the catalogue, of which only the values that rows have are in memory.

    Attributes
    ----------
    values : pyarrow.Array
    places : pyarrow.Array
        For each row, the place of its value in `values`, or null.
    spec : ColumnSpec or None
        None for the places of values in the addition's file.
    """

    values: pa.Array
    places: pa.Array
    spec: ColumnSpec | None

    def rows(self, first: int, count: int) -> pa.Array:
        """Return the values of some rows, null where they have none."""
        return without_null_lists(self.values.take(self.places.slice(first, count)), self.spec)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[tuple[Path, CatalogFile]]:
    """Lock a built dataset; yield its workspace and catalogue. What is staged is removed on errors.

    Raises
    ------
    FolderError
        If the folder is not a built dataset.
    BuildError
        If it cannot be written to, another process is building it, or a build of it has not ended.
    """
    if not (folder / CATALOG).is_file() and not (folder / WORKSPACE).is_dir():
        raise catalog.not_built(folder)
    if is_read_only(folder):
        raise BuildError(f"{folder}: cannot be written to; make it writable, or copy it first")
    with hold(folder, WORKSPACE, otherwise="") as workspace:
        if (workspace / spool.JOURNAL).is_file():
            raise BuildError(f"{folder}: a build has not ended; complete it first, as `skyshards info` says")
        try:
            yield workspace, catalog.open_catalog(folder)
        finally:
            shutil.rmtree(workspace / STAGED, ignore_errors=True)
            for path in workspace.glob(f"{TEMPORARY_PREFIX}*"):
                path.unlink()


def written(
    workspace: Path,
    name: str,
    file: TableFile,
    columns: Sequence[NewColumn],
    match: Match,
    before: CatalogFile,
    manifest: Manifest,
) -> tuple[Addition, dict[str, Spread]]:
    """Write the file of an addition to the workspace.

    Parameters
    ----------
    workspace : Path
    name : str
    file : TableFile
    columns : sequence of NewColumn
    match : Match
    before : CatalogFile
        The catalogue of the dataset.
    manifest : Manifest

    Returns
    -------
    Addition, dict of Spread
        The addition, and its columns of the catalogue.
    """
    there = np.flatnonzero(match.rows >= 0)
    wanted, numbers = np.unique(match.rows[there], return_inverse=True)
    light = [column for column in columns if not column.spec.heavy]
    heavy = [column for column in columns if column.spec.heavy]
    small = small_columns(file, light, wanted)
    keys = before.table(KEY).take(pa.array(there)).combine_chunks()
    specs = {path: manifest.in_shards[path] for path in KEY} | {column.spec.path: column.spec for column in columns}

    def column(path: str) -> Any:
        return keys[path].to_pylist() if path in KEY else _values(small[path].take(pa.array(numbers)), specs[path])

    path = workspace / STAGED / addition_path(name)
    path.parent.mkdir(parents=True)
    attributes = scalars.attributes(manifest) | {"addition": name}
    with contextlib.ExitStack() as stack:
        large = {}
        for number, new in enumerate(heavy):
            one = large_column(file, new, wanted, workspace / f"{TEMPORARY_PREFIX}values-{number}")
            large[new.spec.path] = stack.enter_context(contextlib.closing(one))
        ranges = hdf5.write(path, specs, AddedRows(keys, numbers, large), attributes, column)
    sync(path)
    addition = Addition(
        name,
        tuple(column.spec for column in columns),
        Path(file.origin).name,
        file_digest(Path(file.origin)),
        match.height,
        match.words,
        len(there),
        path.stat().st_size,
        file_digest(path),
    )
    places = {ADDED_ROW + name: pa.array(np.arange(len(there), dtype=np.int32))}
    for heavy_path, ends in ranges.items():
        for what, number, kind in ((START, 0, np.int64), (SIZE, 1, np.int32), (CRC32, 2, np.uint32)):
            places[what + heavy_path] = pa.array(ends[:, number].astype(kind))
    in_file, in_small = (_at(there, each, len(before)) for each in (np.arange(len(there)), numbers))
    spread = {path: Spread(values, in_file, None) for path, values in places.items()}
    spread |= {path: Spread(values, in_small, specs[path]) for path, values in small.items()}
    return addition, spread


def _values(column: pa.Array, spec: ColumnSpec) -> Any:
    """Return a small column as HDF5 is to have it."""
    column = without_null_lists(without_nulls(column, spec), spec)
    if spec.dtype == "str":
        return column.to_pylist()
    flat = column.flatten() if spec.shape else column
    return flat.to_numpy(zero_copy_only=False).reshape(len(column), *spec.shape)


def _at(there: np.ndarray, places: np.ndarray, length: int) -> pa.Array:
    """Return the places of the rows that are there among all rows; the others have null."""
    at, absent = np.zeros(length, np.int64), np.ones(length, bool)
    at[there], absent[there] = places, False
    return pa.array(at, mask=absent)


def put_in_place(workspace: Path, before: CatalogFile, manifest: Manifest, new: Mapping[str, Spread]) -> None:
    """Write the files of the folder that tell of its additions, and publish them with the new file, if any.

    Parameters
    ----------
    workspace : Path
    before : CatalogFile
        The catalogue of the dataset.
    manifest : Manifest
        With the additions that it is to have.
    new : mapping of Spread
        Columns that its catalogue does not have, or has with other values.
    """
    kept = [name for name in stored_schema(manifest.specs, manifest.additions).names if name not in new]

    def parts() -> Iterator[pa.Table]:
        for first, part in zip(before.bounds.tolist(), before.parts(kept), strict=False):  # and their number
            for name, column in new.items():
                part = part.append_column(name, column.rows(first, len(part)))
            yield part

    folder, staged = workspace.parent, workspace / STAGED
    for place in (staged / addition_path("x")).parent, (staged / scalars_path("x")).parent:
        place.mkdir(parents=True, exist_ok=True)  # also where nothing is left, so that old files are removed
    for name in (CITATION, SOURCES, FAILURES):
        if (folder / name).is_file():
            shutil.copy2(folder / name, staged / name)
    written = catalog.write_parts(staged, manifest, parts)
    scalars.write(staged, manifest, written)
    card.amend(staged, folder, manifest, written)
    hashes.write(staged, manifest.digests)
    publish(workspace)
