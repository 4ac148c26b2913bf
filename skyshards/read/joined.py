"""Random access to joined rows of several datasets, as returned by `skyshards.join`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from skyshards.format.columns import ColumnSpec
from skyshards.format.folds import NO_FOLD
from skyshards.format.kinds.base import Allocate
from skyshards.format.kinds.ragged import Ragged
from skyshards.format.provenance import Origin
from skyshards.read import join_file
from skyshards.read.matches import Matches
from skyshards.read.memory import Recycler, taken
from skyshards.read.padding import Padded, Padding
from skyshards.read.random_access import Batch, RandomAccess
from skyshards.read.shared_memory import recycler
from skyshards.read.shown import html
from skyshards.read.table import Table
from skyshards.text import counted

if TYPE_CHECKING:
    from skyshards.pictures.drawing import Drawing

_memory = Recycler()


class JoinedTable(RandomAccess):
    """Random access to rows of several datasets that are the same objects.

    A row is `{"gz3d": {...}, "gz_decals": {...}, "separation": ...}`, read from the shards of each dataset; columns are
    named `gz3d.image`. `separation` is in arcsec; with more than two tables, it has one value for each but the first.

    In a left join, rows may lack a table. Then `matched` is False, and the values are those declared for missing ones;
    otherwise NaN, -1 (unsigned integers and images: 0), False and "". In `catalog` they are null. A text condition is
    false for rows that lack a table whose columns it uses; a pyarrow expression sees nulls.

    A pickle holds the locations of the datasets and the matching rows, not the data. Loading it raises `FolderError` if
    one of the datasets was built further since.

    Examples
    --------
    >>> both = skyshards.join(skyshards.open("data/gz3d"), skyshards.open("data/gz_decals"))  # doctest: +SKIP
    >>> both[[3, 1]]["gz3d"]["image"].shape  # doctest: +SKIP
    (2, 525, 525, 3)
    >>> both.select_columns(["gz3d.image", "separation"]).where("separation < 0.5")  # doctest: +SKIP
    """

    def __init__(
        self,
        matches: Matches,
        columns: tuple[str, ...],
        index: np.ndarray | None = None,
        padding: Padding | None = None,
    ):
        super().__init__(columns, index, padding)
        self._matches = matches
        chosen: dict[str, list[str]] = {}
        for path in columns:
            if name := matches.part_of(path):
                chosen.setdefault(name, []).append(path.partition(".")[2])
        self._parts = {name: matches.parts[name]._view(tuple(paths), None, padding) for name, paths in chosen.items()}

    @classmethod
    def of(cls, matches: Matches) -> JoinedTable:
        """Make the table of all rows and columns of a join."""
        return cls(matches, tuple(matches.specs))

    def __reduce__(self):
        return JoinedTable, (self._matches, self._columns, self._index, self._padding)

    @property
    def _naming(self) -> str:
        return f"{self._matches.first}.object_id"

    @property
    def _title(self) -> str:
        return f"Join of {self.name}: {counted(len(self), 'rows')}"

    def __repr__(self) -> str:
        columns = "\n".join(f"  {column}" for column in self.schema.values())
        return f"{self._title}\n{columns}"

    def _repr_html_(self) -> str:
        return html(self, f"{self._title}{', simulated' if self.simulated else ''}", "")

    @property
    def _height(self) -> int:
        return len(self._matches)

    @property
    def _description(self) -> str:
        values = (*self._matches.rows.values(), *self._matches.own.values())
        digests = [hashlib.sha256(array.tobytes()).hexdigest() for array in values]
        return repr([self.name, *(part._description for part in self._matches.parts.values()), *digests])

    @property
    def name(self) -> str:
        """The names of the joined tables."""
        return ", ".join(self._matches.parts)

    @property
    def _leaves(self) -> Mapping[str, ColumnSpec]:
        return self._matches.specs

    def _view(self, columns: tuple[str, ...], index: np.ndarray | None, padding: Padding | None) -> JoinedTable:
        return JoinedTable(self._matches, columns, index, padding)

    def _rows_of(self, name: str) -> np.ndarray:
        """Return the rows of one table, -1 for none."""
        rows = self._matches.rows[name]
        return rows if self._index is None else rows[self._index]

    def _start(self, rows: np.ndarray, ahead: bool, empty: Allocate | None) -> Callable[[], dict[str, Batch]]:
        finishes = {
            name: _start(part, self._matches.rows[name][rows], ahead, empty) for name, part in self._parts.items()
        }
        allocate = empty or recycler(_memory).empty

        def values() -> dict[str, Batch]:
            found: dict[str, Batch] = {
                path: taken(column, rows, column.dtype.name, allocate) for path, column in self._matches.own.items()
            }
            for name, finish in finishes.items():
                found |= {f"{name}.{path}": column for path, column in finish().items()}
            return {path: found[path] for path in self._columns}

        return values

    @property
    def catalog(self) -> pa.Table:
        """The light columns by dotted name, and each table's `_split`, `_shard` and `_row`; null where a row lacks a
        table.
        """
        columns = {name: self._asked(name) for name in self._askable}
        fields = [pa.field(name, column.type, metadata=self._documentation(name)) for name, column in columns.items()]
        return pa.table(list(columns.values()), schema=pa.schema(fields))

    def _documentation(self, name: str) -> Mapping[Any, Any]:
        part = self._matches.part_of(name)
        if part is None:
            spec = self._matches.specs[name]
            return {"description": spec.description} | ({"unit": spec.unit} if spec.unit else {})
        return self._matches.parts[part]._data.columns.file.schema.field(name.partition(".")[2]).metadata or {}

    @property
    def _askable(self) -> list[str]:
        names = [f"{name}.{path}" for name, part in self._matches.parts.items() for path in part._askable]
        return [*names, *self._matches.own]

    def _asked(self, name: str) -> pa.ChunkedArray:
        part = self._matches.part_of(name)
        if part is None:
            values = self._matches.own[name]
            return pa.chunked_array([values if self._index is None else values[self._index]])
        return self._matches.parts[part]._data.columns.arrow(name.partition(".")[2], self._rows_of(part))

    @property
    def drawing(self) -> Drawing:
        from skyshards.pictures.drawing import side_by_side  # not needed for reading

        flags = {name: flag for name in self._parts if (flag := self._matches.flag_of(name)) in self._columns}
        return side_by_side({name: part.drawing for name, part in self._parts.items()}, flags)

    @property
    def simulated(self) -> bool:
        """Whether any of the datasets contains simulated galaxies."""
        return any(part.simulated for part in self._matches.parts.values())

    def source(self, row: int) -> dict[str, Origin | None]:
        """Return the source of a row by table name; None for a table that the row lacks. See `Table.source`."""
        number = self._positions([row])[0]
        rows = {name: int(rows[number]) for name, rows in self._matches.rows.items()}
        return {name: self._matches.parts[name]._data.origin(at) if at >= 0 else None for name, at in rows.items()}

    def save(self, path: str | os.PathLike) -> None:
        """Save the joined rows and the locations of the datasets to a Parquet file for `skyshards.open_join`.

        A selection of columns is not saved. For other programs, the file also holds the `object_id` and row number of
        each row.

        Examples
        --------
        >>> skyshards.join(masks, votes).where("separation < 0.5").save("pairs.parquet")  # doctest: +SKIP
        """
        rows = {name: self._rows_of(name) for name in self._matches.parts}
        own = self._matches.own.items()
        picked = {path: values if self._index is None else values[self._index] for path, values in own}
        join_file.write(Matches(self._matches.parts, rows, picked), path)

    @property
    def splits(self) -> tuple[str, ...]:
        """All splits of the first dataset, even those without rows in this table."""
        return self._matches.parts[self._matches.first].splits

    @property
    def row_nbytes(self) -> int:
        """Approximate size of a row in memory, in bytes; image files count as stored."""
        own = sum(self._matches.specs[path].nbytes for path in self._columns if path in self._matches.own)
        return own + sum(part.row_nbytes for part in self._parts.values())

    def _in_cone(self, centre: tuple[float, float], radius: float) -> np.ndarray:
        first = self._matches.parts[self._matches.first]._data
        inside = np.zeros(len(first.columns), bool)
        inside[first.in_cone(centre, radius)] = True
        return np.flatnonzero(inside[self._rows_of(self._matches.first)])

    def _folds(self) -> np.ndarray:
        """Return the fold that all objects of a row have. Tables that a row lacks do not count."""
        common = self._matches.parts[self._matches.first]._data.folds[self._rows_of(self._matches.first)]
        for name, part in self._matches.parts.items():
            rows = self._rows_of(name)
            same = rows < 0
            same[~same] = part._data.folds[rows[~same]] == common[~same]
            common = np.where(same, common, NO_FOLD)
        return common


def _start(part: Table, rows: np.ndarray, ahead: bool, empty: Allocate | None) -> Callable[[], dict[str, Batch]]:
    """Start reading rows of one table, -1 for none; return a function that waits for them."""
    there = rows >= 0
    if there.all():
        return part._start(rows, ahead, empty)
    # If no row has a match, read any row to learn the shape of an image.
    finish = part._start(rows[there] if there.any() else np.arange(min(1, part._height)), ahead, empty)
    fill = 0 if part._padding is None else part._padding.fill
    allocate = empty or recycler(_memory).empty
    return lambda: {
        path: _spread(values, there, part._leaves[path], fill, allocate) for path, values in finish().items()
    }


def _spread(values: Batch, there: np.ndarray, spec: ColumnSpec, fill: float, empty: Allocate) -> Batch:
    """Put values in their places, and fill values in the others: empty lists if they are lists."""
    if isinstance(values, Padded):
        shape = (len(there), values.values.shape[1])
        dense = Padded(empty(shape, values.values.dtype.name), empty(shape, "bool"))
        for out, found, absent in zip(dense, values, (fill, False), strict=True):
            out[~there] = absent
            out[there] = found[: there.sum()]
        return dense
    if isinstance(values, Ragged):
        lengths = empty((len(there),), "int64")
        lengths[~there] = 0
        lengths[there] = values.lengths[: there.sum()]
        return Ragged(values.values[: lengths.sum()], lengths)
    shape = (len(there), *values.shape[1:])
    if spec.dtype == "str":
        texts = np.full(shape, spec.missing or "")
        out = texts.astype(np.result_type(values, texts))
    elif values.dtype.kind == "O":
        out = np.empty(shape, object)
        for place in np.flatnonzero(~there):
            out[place] = values[0][:0] if len(values) else b""
    else:
        out = empty(shape, values.dtype.name)
        out[~there] = {"f": np.nan, "i": -1}.get(values.dtype.kind, 0) if spec.missing is None else spec.missing
    out[there] = values[: there.sum()]
    return out
