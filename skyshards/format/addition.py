"""Columns put beside a built dataset later, in a file of their own and in the catalogue; shards do not know them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skyshards.format import missing
from skyshards.format.columns import ColumnSpec
from skyshards.format.layout import ADDED_ROW, CRC32, SIZE, SOURCE, START, addition_path, scalars_path
from skyshards.format.parquet_parts import Parts

if TYPE_CHECKING:
    from skyshards.format.manifest import Manifest

KEY = ("object_id", SOURCE)
"""Columns that identify a row, also in the file of an addition."""


@dataclass(frozen=True)
class Addition:
    """Columns that come from a table.

    Attributes
    ----------
    name : str
    columns : tuple of ColumnSpec
        All of them have a value for rows without one.
    table, table_sha256, table_rows : str, str, int
        The table's file name, digest and number of rows.
    match : str
        How its rows were matched, in words.
    rows, nbytes, sha256 : int, int, str
        Of the file: its number of rows, which are those of the dataset with values; its size; its digest.
    """

    name: str
    columns: tuple[ColumnSpec, ...]
    table: str
    table_sha256: str
    table_rows: int
    match: str
    rows: int
    nbytes: int
    sha256: str

    @property
    def path(self) -> str:
        """Path of the file below the dataset's folder."""
        return addition_path(self.name)

    @property
    def specs(self) -> dict[str, ColumnSpec]:
        return {spec.path: spec for spec in self.columns}


def catalog_columns(addition: Addition) -> list[str]:
    """Return the columns of the catalogue that belong to an addition."""
    names = [ADDED_ROW + addition.name]
    for spec in addition.columns:
        names += [what + spec.path for what in (START, SIZE, CRC32)] if spec.heavy else [spec.path]
    return names


def beside(parts: Parts, added: Callable[[Sequence[str]], pa.Table], manifest: Manifest) -> Parts:
    """Return a catalogue with the additions of another, which may have other rows in another order.

    Rows are matched by their keys: those of both, and the other's additions, are in memory.

    Parameters
    ----------
    parts : callable
        A catalogue without additions, in parts.
    added : callable
        Gives columns of the other one.
    manifest : Manifest
        With the additions.
    """
    if not manifest.additions:
        return parts
    specs = {name: addition.specs.get(name) for addition in manifest.additions for name in catalog_columns(addition)}
    other = added([*KEY, *specs])
    rows = pc.index_in(pa.chunked_array([_keys(part) for part in parts()], pa.string()), _keys(other))

    def both() -> Iterator[pa.Table]:
        first = 0
        for part in parts():
            here = rows.slice(first, len(part))
            first += len(part)
            for name, spec in specs.items():
                part = part.append_column(name, without_null_lists(other[name].take(here), spec))
            yield part

    return both


def without_null_lists(column: pa.Array | pa.ChunkedArray, spec: ColumnSpec | None) -> pa.Array | pa.ChunkedArray:
    """Replace nulls in a column of lists of a fixed length by lists of the fill value, which catalogues have there."""
    if spec is None or not spec.shape or spec.heavy or not column.null_count:
        return column
    values = np.full((len(column), *spec.shape), missing.fill(spec), spec.dtype)
    there = pc.is_valid(column).to_numpy(zero_copy_only=False)
    known = column.drop_null()
    known = known.combine_chunks() if isinstance(known, pa.ChunkedArray) else known
    values[there] = known.flatten().to_numpy(zero_copy_only=False).reshape(-1, *spec.shape)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), spec.shape[0])


def _keys(table: pa.Table) -> pa.Array:
    keys = pc.binary_join_element_wise(*(table[name].cast(pa.string()) for name in KEY), "\0")
    return keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys


def without(table: pa.Table, addition: Addition) -> np.ndarray:
    """Return which rows have no values of an addition, as a mask."""
    return pc.is_null(table[ADDED_ROW + addition.name]).to_numpy()


def scalars_files(manifest: Manifest) -> dict[str, str]:
    """Return the path by split of the files with all scalars; none unless a scalar was added."""
    if not any(spec.scalar for addition in manifest.additions for spec in addition.columns):
        return {}
    rows = {shard.split for shard in manifest.shards}
    return {split: scalars_path(split) for split in manifest.splits if split in rows}


def with_additions(manifest: Manifest, additions: tuple[Addition, ...]) -> Manifest:
    """Return the manifest with other additions; each has a config of its name, with its columns and the key."""
    configs = {name: paths for name, paths in manifest.configs.items() if name not in manifest.added}
    configs |= {each.name: (*KEY, *each.specs) for each in additions}
    return replace(manifest, additions=additions, configs=configs)
