"""Plan an export before writing: its tiles, their files and the rows in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from skyshards.errors import FolderError
from skyshards.export.columns import INDEX
from skyshards.export.content import Content
from skyshards.export.tiles import ORDER, Tile, margin_order, margins, tiles
from skyshards.export.write import RowFile
from skyshards.format import healpix
from skyshards.format.layout import SPLIT

MARGIN_ARCSEC = 10.0
"""Default width of the margin cache; without a cache, it still limits how small tiles get."""

THUMBNAIL, THUMBNAIL_BYTES = "data_thumbnail.parquet", 64 << 20
"""A file with a row of each tile, and its approximate maximum size: readers load it at once."""


@dataclass(frozen=True)
class Plan:
    """The files of an export. Rows are sorted by `_healpix_29`; `first` is the position of the first row."""

    content: Content
    order: np.ndarray
    index: np.ndarray
    nbytes: np.ndarray
    ids: pa.Array
    splits: np.ndarray
    tiles: list[Tile]
    margins: dict[Tile, np.ndarray]
    margin_arcsec: float
    first: dict[str, float]

    @cached_property
    def split_names(self) -> tuple[str, ...]:
        """The splits that have rows."""
        there = set(np.unique(self.splits).tolist())
        return tuple(name for name in self.content.splits if name in there)

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
        return self.content.name

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
        found = [(f"{self.margin_name}/{tile.path}.parquet", rows) for tile, rows in self.margins.items()]
        found.append((f"{self.name}/{THUMBNAIL}", self._thumbnail()))
        for tile in self.tiles:
            rows = np.arange(tile.start, tile.stop)
            if not self.several:
                found.append((f"{self.name}/{tile.path}.parquet", rows))
                continue
            for split in self.split_names:
                of_split = rows[self.splits[rows] == split]
                if len(of_split):
                    found.append((f"{self.name}/{tile.path}/{split}.parquet", of_split))
        for name, rows in sorted(found, key=lambda file: (-self.nbytes[file[1]].sum(), file[0])):
            yield self._file(name, rows)

    def _thumbnail(self) -> np.ndarray:
        """Return the first row of each tile, or of every n-th if that would be too much."""
        firsts = np.array([tile.start for tile in self.tiles])
        total = self.nbytes[firsts].sum()
        return firsts[:: max(1, -(-int(total) // THUMBNAIL_BYTES))]

    def _file(self, name: str, rows: np.ndarray) -> RowFile:
        positions = self.order[rows]
        added = {path: values.take(pa.array(positions)) for path, (_, values) in self.content.own.items()}
        added[INDEX] = pa.array(self.index[rows])
        if self.several:
            added[SPLIT] = pa.array(self.splits[rows].tolist(), pa.string())
        parts = {part: of.rows[positions] for part, of in self.content.parts.items()}
        return RowFile(name, parts, self.nbytes[rows], pa.table(added))


def make_plan(content: Content, tile_mb: float, margin_arcsec: float) -> Plan:
    """Plan an export; raises `FolderError` if there are no rows."""
    if not len(content):
        found = "no rows of the datasets match" if content.joined else "the dataset has no rows"
        raise FolderError(f"{content.name}: {found}; there is nothing to export")
    position = {name: content.first.values(name).to_numpy() for name in ("ra", "dec")}
    where = healpix.pixel_of(position["ra"], position["dec"], 1 << ORDER)
    order = np.argsort(where, kind="stable")
    index = where[order]
    nbytes = np.sum([part.nbytes for part in content.parts.values()], axis=0)[order]
    finest = margin_order(margin_arcsec or MARGIN_ARCSEC)
    tiled = tiles(index, nbytes, tile_mb * 1e6, finest)
    return Plan(
        content,
        order,
        index,
        nbytes,
        content.first.values("object_id").combine_chunks().take(pa.array(order)),
        np.array(content.first.values(SPLIT).to_pylist())[order],
        tiled,
        margins(index, tiled, finest) if margin_arcsec else {},
        margin_arcsec,
        {name: float(values[order[0]]) for name, values in position.items()},
    )
