"""Plan an export before writing: its tiles, their files and the rows in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from skyshards.errors import FolderError
from skyshards.export.documentation import text_lengths
from skyshards.export.tiles import ORDER, Tile, margin_order, margins, tiles
from skyshards.export.write import RowFile
from skyshards.format import catalog, healpix
from skyshards.format.columns import ColumnSpec
from skyshards.format.layout import SIZE, SPLIT
from skyshards.format.manifest import Manifest

MARGIN_ARCSEC = 10.0
"""Default width of the margin cache; without a cache, it still limits how small tiles get."""


@dataclass(frozen=True)
class Plan:
    """The contents of an export. Rows are sorted by `_healpix_29`; `first` is the position of the first row."""

    manifest: Manifest
    order: np.ndarray
    index: np.ndarray
    nbytes: np.ndarray
    ids: pa.Array
    splits: np.ndarray
    tiles: list[Tile]
    margins: dict[Tile, np.ndarray]
    margin_arcsec: float
    first: dict[str, float]
    text_lengths: dict[str, int]

    @cached_property
    def split_names(self) -> tuple[str, ...]:
        """The splits that have rows."""
        there = set(np.unique(self.splits).tolist())
        return tuple(name for name in self.manifest.splits if name in there)

    @property
    def split_rows(self) -> dict[str, int]:
        """The number of rows by split."""
        return {name: int(np.count_nonzero(self.splits == name)) for name in self.split_names}

    @property
    def split_nbytes(self) -> dict[str, int]:
        """The approximate bytes by split."""
        return {name: int(self.nbytes[self.splits == name].sum()) for name in self.split_names}

    @property
    def several(self) -> bool:
        return len(self.split_names) > 1

    @property
    def suffix(self) -> str:
        """The end of a tile's path. `datasets` finds splits by files, so with several splits a tile is a folder."""
        return "/" if self.several else ".parquet"

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def margin_name(self) -> str:
        return f"{self.name}_{self.margin_arcsec:g}arcs"

    @property
    def index_name(self) -> str:
        return f"{self.name}_object_id_index"

    @property
    def margin_rows(self) -> int:
        return sum(map(len, self.margins.values()))

    def files(self) -> Iterator[RowFile]:
        """Yield the Parquet files of rows, largest first, to balance the processes."""
        found = [self._file(f"{self.margin_name}/{tile.path}.parquet", rows) for tile, rows in self.margins.items()]
        for tile in self.tiles:
            rows = np.arange(tile.start, tile.stop)
            if not self.several:
                found.append(self._file(f"{self.name}/{tile.path}.parquet", rows))
                continue
            for split in self.split_names:
                of_split = rows[self.splits[rows] == split]
                if len(of_split):
                    found.append(self._file(f"{self.name}/{tile.path}/{split}.parquet", of_split))
        yield from sorted(found, key=lambda file: (-file.nbytes.sum(), file.name))

    def _file(self, name: str, rows: np.ndarray) -> RowFile:
        splits = self.splits[rows] if self.several else None
        return RowFile(name, self.order[rows], self.index[rows], self.nbytes[rows], splits)


def make_plan(folder: Path, tile_mb: float, margin_arcsec: float) -> Plan:
    """Plan the export of a built dataset; raises `FolderError` if it has no rows."""
    rows, manifest = catalog.open_folder(folder)
    if not len(rows):
        raise FolderError(f"{folder}: the dataset has no rows; there is nothing to export")
    where = healpix.pixel_of(rows["ra"].to_numpy(), rows["dec"].to_numpy(), 1 << ORDER)
    order = np.argsort(where, kind="stable")
    index = where[order]
    nbytes = np.sum([_nbytes(spec, rows) for spec in manifest.columns], axis=0)[order]
    finest = margin_order(margin_arcsec or MARGIN_ARCSEC)
    tiled = tiles(index, nbytes, tile_mb * 1e6, finest)
    return Plan(
        manifest,
        order,
        index,
        nbytes,
        rows["object_id"].combine_chunks().take(pa.array(order)),
        np.array(rows[SPLIT].to_pylist())[order],
        tiled,
        margins(index, tiled, finest) if margin_arcsec else {},
        margin_arcsec,
        {name: rows[name][int(order[0])].as_py() for name in ("ra", "dec")},
        text_lengths(manifest.specs, rows),
    )


def _nbytes(spec: ColumnSpec, rows: pa.Table) -> np.ndarray:
    """Return the approximate bytes of each row's value: its size in the shards."""
    if spec.heavy and (spec.varies or spec.deflate):
        return rows[SIZE + spec.path].to_numpy().astype(np.int64)
    return np.full(len(rows), spec.nbytes or 16 * int(np.prod(spec.shape)), np.int64)
