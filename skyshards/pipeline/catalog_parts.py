"""The catalogue of a build in parts: the rows of each new shard in a file of their own, and those that a folder has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from skyshards.errors import FolderError
from skyshards.format import missing
from skyshards.format.catalog_file import CatalogFile
from skyshards.format.catalog_schema import stored_schema
from skyshards.format.columns import ColumnSpec
from skyshards.format.layout import CATALOG, ROW, SHARD
from skyshards.format.manifest import Shard

ROWS = "rows"
"""Folder in the workspace with the catalogue rows of new shards."""


def part_path(shard: Shard) -> str:
    """Return the path of the file with a shard's catalogue rows, below the folder of the shards or `ROWS`."""
    return f"{shard.path}.arrow"


def save(folder: Path, shard: Shard, rows: pa.Table) -> None:
    """Write the catalogue rows of a shard."""
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    path = str(folder / part_path(shard))
    with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, rows.schema, options=options) as writer:
        writer.write_table(rows)


def load(folder: Path, shard: Shard) -> pa.Table:
    """Read the catalogue rows of a shard."""
    with pa.OSFile(str(folder / part_path(shard))) as file, pa.ipc.open_stream(file) as reader:
        return reader.read_all()


class OldCatalog:
    """The catalogue rows that a folder has, a row group of which is in memory at a time.

    Parameters
    ----------
    file : CatalogFile or None
        None for a new folder.
    specs : mapping of str to ColumnSpec
        Columns as the build declares them, which says what is null; those of additions are left out.
    shards : sequence of Shard, optional
        The shards in question; default: all.

    Raises
    ------
    FolderError
        If the file is damaged, or its rows are not in the order of its shards.
    """

    def __init__(
        self, file: CatalogFile | None, specs: Mapping[str, ColumnSpec], shards: Sequence[Shard] | None = None
    ):
        self.file, self._specs = file, specs
        every = () if file is None else file.manifest.shards
        self._firsts = np.cumsum([0, *(shard.rows for shard in every)])
        self._numbers = {shard.path: number for number, shard in enumerate(every)}
        self.shards = every if shards is None else shards
        if shards is None and file is not None:
            self._check(file)

    def _check(self, file: CatalogFile) -> None:
        for first, part in zip(file.bounds.tolist(), file.parts(), strict=False):
            rows = np.arange(first, first + len(part))
            numbers = np.searchsorted(self._firsts, rows, side="right") - 1
            codes = part[SHARD].combine_chunks().indices.to_numpy()
            if (codes != numbers).any() or (part[ROW].to_numpy() != rows - self._firsts[numbers]).any():
                raise FolderError(f"{CATALOG}: its rows are not in the order of its shards")
        if len(file) != self._firsts[-1]:
            raise FolderError(f"{CATALOG}: has {len(file)} rows, its shards {self._firsts[-1]}")

    def without(self, lost: Iterable[str]) -> OldCatalog:
        """Return it without the rows of some shards."""
        gone = set(lost)
        return OldCatalog(self.file, self._specs, [shard for shard in self.shards if shard.path not in gone])

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Read columns of all rows, those of additions too."""
        assert self.file is not None  # has additions
        return self.file.table(names)

    def __len__(self) -> int:
        return sum(shard.rows for shard in self.shards)

    def tables(self, names: Sequence[str] | None = None, shards: Iterable[Shard] | None = None) -> Iterator[pa.Table]:
        """Yield the rows of each shard, with these columns or all; shards are best given in order."""
        shards = self.shards if shards is None else shards
        declared = stored_schema(self._specs)
        names = declared.names if names is None else names
        schema = pa.schema([declared.field(name) for name in names])
        start, group = 0, schema.empty_table()
        for shard in shards:
            number = self._numbers[shard.path]
            first, last = self._firsts[number : number + 2].tolist()
            pieces = [schema.empty_table()]
            while first < last:
                if not start <= first < start + len(group):
                    start, group = self._group(first, names, schema)
                piece = group.slice(first - start, last - first)
                pieces.append(piece)
                first += len(piece)
            yield pa.concat_tables(pieces)

    def _group(self, row: int, names: Sequence[str], schema: pa.Schema) -> tuple[int, pa.Table]:
        """Read the row group with a row; return its first row, and columns as declared."""
        assert self.file is not None  # has rows
        number = int(np.searchsorted(self.file.bounds, row, side="right")) - 1
        group = self.file.part(number, names)
        renewed = missing.renewed(
            group, self.file.manifest.specs, {name: self._specs[name] for name in names if name in self._specs}
        )
        return int(self.file.bounds[number]), renewed.cast(schema)

    def with_new(self, rows: Path, shards: Iterable[Shard]) -> Iterator[pa.Table]:
        """Yield the rows of each shard: those in the folder `rows`, or else the ones that were there before."""
        shards = list(shards)
        yield stored_schema(self._specs).empty_table()
        is_new = [(rows / part_path(shard)).exists() for shard in shards]
        kept = self.tables(shards=[shard for shard, new in zip(shards, is_new, strict=True) if not new])
        for shard, new in zip(shards, is_new, strict=True):
            yield load(rows, shard) if new else next(kept)
