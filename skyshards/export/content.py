"""The rows and columns of an export: those of a built dataset, or those of a join."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from skyshards.errors import UsageError
from skyshards.files import file_digest, is_url
from skyshards.format import layout
from skyshards.format.columns import ColumnSpec
from skyshards.format.layout import SIZE, SPLIT
from skyshards.format.manifest import Manifest
from skyshards.read import join_file
from skyshards.read.catalog_columns import CatalogColumns
from skyshards.read.joined import JoinedTable
from skyshards.read.store import LocalStore, RemoteStore
from skyshards.read.table import Table, open_table

IDENTITY = ("object_id", "ra", "dec")
"""Columns of the first dataset that keep their names in the export of a join."""


@dataclass(frozen=True)
class Part:
    """A dataset of an export.

    Attributes
    ----------
    table : Table
        All its rows.
    names : dict of str
        For each exported column, by dotted name, its name in the export.
    rows : int64 array
        For each exported row its row in this dataset, -1 for none.
    """

    table: Table
    names: Mapping[str, str]
    rows: np.ndarray

    @property
    def manifest(self) -> Manifest:
        return self.table._data.manifest

    @property
    def store(self) -> LocalStore | RemoteStore:
        return self.table._data.reader.store

    @property
    def catalog_sha256(self) -> str:
        if isinstance(self.store, LocalStore):
            return file_digest(self.store.root / layout.CATALOG)
        return hashlib.sha256(self.store.read_file(layout.CATALOG)).hexdigest()

    @cached_property
    def absent(self) -> np.ndarray | None:
        """The exported rows that this dataset lacks, as a mask; None if there are none."""
        absent = self.rows < 0
        return absent if absent.any() else None

    def values(self, path: str) -> pa.ChunkedArray:
        """Return a light column for the exported rows, null where this dataset lacks one."""
        return self.table._data.columns.arrow(path, self.rows)

    @property
    def nbytes(self) -> np.ndarray:
        """The approximate bytes of each exported row: its size in the shards."""
        specs, columns = self.manifest.specs, self.table._data.columns
        found = np.sum([_nbytes(specs[path], columns) for path in self.names], axis=0)[self.rows]
        return found if self.absent is None else np.where(self.absent, 0, found)


def _nbytes(spec: ColumnSpec, columns: CatalogColumns) -> np.ndarray:
    if spec.heavy and (spec.varies or spec.deflate):
        return columns.array(SIZE + spec.path).astype(np.int64)
    return np.full(len(columns), spec.nbytes or 16 * int(np.prod(spec.shape)), np.int64)


@dataclass(frozen=True)
class Content:
    """All rows and columns of an export.

    Attributes
    ----------
    name : str
        Name of the exported catalogue.
    parts : dict of Part
        The datasets by their names, the first with the positions.
    own : dict of (ColumnSpec, pyarrow.Array)
        Columns by name that belong to no dataset, such as the separation of joined rows.
    """

    name: str
    parts: Mapping[str, Part]
    own: Mapping[str, tuple[ColumnSpec, pa.Array]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.first.rows)

    @property
    def first(self) -> Part:
        return next(iter(self.parts.values()))

    @property
    def joined(self) -> bool:
        """Whether this is a join."""
        return len(self.parts) > 1

    @property
    def simulated(self) -> bool:
        return any(part.manifest.simulated for part in self.parts.values())

    @property
    def splits(self) -> tuple[str, ...]:
        """All splits of the first dataset, whose splits are those of the export."""
        return self.first.manifest.splits

    @cached_property
    def specs(self) -> dict[str, ColumnSpec]:
        """All columns, by their names in the export."""
        found = {
            name: replace(part.manifest.specs[path], path=name)
            for part in self.parts.values()
            for path, name in part.names.items()
        }
        return found | {name: spec for name, (spec, _) in self.own.items()}

    def light(self) -> Iterator[tuple[str, pa.ChunkedArray]]:
        """Yield the name and values of each column of the catalogue, in order."""
        for part in self.parts.values():
            for path, name in part.names.items():
                if not self.specs[name].heavy:
                    yield name, part.values(path)
        for name, (_, values) in self.own.items():
            yield name, pa.chunked_array([values])

    @property
    def state(self) -> dict[str, Any]:
        """What identifies the exported rows: digests of the catalogues and of the join."""
        catalogues = {name: part.catalog_sha256 for name, part in self.parts.items()}
        if not self.joined:
            return {"dataset": self.name, "catalog_sha256": catalogues[self.name]}
        digest = hashlib.sha256(json.dumps(list(self.specs)).encode())
        for part in self.parts.values():
            digest.update(part.rows.astype("<i8").tobytes())
        for _, values in self.own.values():
            digest.update(json.dumps(values.to_pylist()).encode())
        return {"dataset": self.name, "catalog_sha256": catalogues, "join_sha256": digest.hexdigest()}


def content_of(source: str | os.PathLike | Table | JoinedTable) -> Content:
    """Return the content of a built dataset (its folder, URL or table), a saved join's file, or a join.

    Raises
    ------
    FolderError
        If the folder is not a built dataset, or the file not a join.
    UsageError
        If a table is a selection, or columns would have the same name.
    """
    if isinstance(source, JoinedTable):
        return _of_join(source)
    if not isinstance(source, Table):
        if not is_url(source) and (path := Path(source).expanduser()).is_file():
            return _of_join(JoinedTable.of(join_file.read(path, {}, decode=False)))
        source = open_table(source, decode=False)
    if len(source) != len(source._data.columns) or set(source.column_names) != set(source._data.manifest.specs):
        raise UsageError(f"{source.name}: expected a table of all rows and columns to export, found a selection")
    names = {name: name for name in source.column_names}
    return Content(source.name, {source.name: Part(source, names, np.arange(len(source)))})


def _of_join(table: JoinedTable) -> Content:
    """Prefix columns with the names of their datasets: `gz3d.image` becomes `gz3d_image`."""
    matches, chosen = table._matches, set(table.column_names)
    parts, own = {}, {}
    for name, part in matches.parts.items():
        kept = IDENTITY if name == matches.first else ()
        names = {
            path: path if path in kept else f"{name}_{path}"
            for path in part._data.manifest.specs
            if path in kept or f"{name}.{path}" in chosen
        }
        parts[name] = Part(part, names, table._rows_of(name))
        if len(part.splits) > 1 and name != matches.first:
            spec = ColumnSpec(f"{name}_{SPLIT}", "string", "str", (), f"split of {name} that the row belongs to", "")
            own[spec.path] = spec, parts[name].values(SPLIT).cast(pa.string()).combine_chunks()
    for path in matches.own:
        if path in chosen:
            spec = replace(matches.specs[path], path=path.replace(".", "_"))
            own[spec.path] = spec, pa.array(table._asked(path).to_numpy(), from_pandas=True)  # NaN becomes null
    content = Content("_x_".join(parts), parts, own)
    _check_names(content)
    return content


def _check_names(content: Content) -> None:
    """Raise `UsageError` if two columns, or a column and a group, have the same name in the export."""
    origins = {(name.partition(".")[0], "") for name in content.own}
    for which, part in content.parts.items():
        origins |= {(name.partition(".")[0], f"{which}.{path.partition('.')[0]}") for path, name in part.names.items()}
    name, count = Counter(name for name, _ in origins).most_common(1)[0]
    if count > 1:
        where = " and ".join(sorted(origin for found, origin in origins if found == name and origin))
        raise UsageError(f"two columns would be called {name} ({where}); name the tables otherwise when you join them")
