"""Random access to rows of several datasets that are the same objects: what `skyshards.join` gives."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skyshards.errors import UsageError
from skyshards.format import healpix as sky
from skyshards.format.columns import ColumnSpec, unknown_column
from skyshards.format.provenance import Origin
from skyshards.read import angles, query
from skyshards.read.memory import Recycler
from skyshards.read.random_access import RandomAccess
from skyshards.read.table import Table

SEPARATION, MATCHED = "separation", "matched"
"""The columns that a join adds, or groups of columns if more than two tables are joined."""

_memory = Recycler()


@dataclass(frozen=True)
class Matches:
    """Which rows of which tables belong together; all selections of a join share it.

    Attributes
    ----------
    parts : dict of Table
        The tables by name, each with all rows of its dataset.
    rows : dict of int64 array
        By name the row of each match, -1 for none.
    own : dict of array
        The columns of the join itself, by dotted name.
    """

    parts: Mapping[str, Table]
    rows: Mapping[str, np.ndarray]
    own: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, tables: Mapping[str, Table], rows: Sequence[np.ndarray], apart: Sequence[np.ndarray], left: bool):
        """Matches from positions in the tables (-1 for none), and separations from the first table, in arcsec."""
        first, *others = tables
        parts = {name: table._narrowed(table._columns, None) for name, table in tables.items()}
        found = {}
        for (name, table), positions in zip(tables.items(), rows, strict=True):
            found[name] = np.full(len(positions), -1)
            found[name][positions >= 0] = table._positions(positions[positions >= 0])
        suffixes = {name: f".{name}" if len(others) > 1 else "" for name in others}
        own = {f"{SEPARATION}{suffixes[name]}": values for name, values in zip(others, apart, strict=True)}
        if left:
            own |= {f"{MATCHED}{suffix}": found[name] >= 0 for name, suffix in suffixes.items()}
        return cls(parts, found, own)

    def __len__(self) -> int:
        return len(self.rows[self.first])

    @property
    def first(self) -> str:
        """The name of the first table, of which every row of the join has a row."""
        return next(iter(self.parts))

    @functools.cached_property
    def specs(self) -> dict[str, ColumnSpec]:
        """All columns, by dotted name."""
        specs = {
            f"{name}.{path}": replace(part._data.manifest.specs[path], path=f"{name}.{path}")
            for name, part in self.parts.items()
            for path in part.column_names
        }
        for path, values in self.own.items():
            is_matched = path.startswith(MATCHED)
            words = "whether there is such a row" if is_matched else "angle between the positions"
            specs[path] = ColumnSpec(path, "number", str(values.dtype), (), words, "" if is_matched else "arcsec")
        return specs

    def part_of(self, path: str) -> str | None:
        """The name of the table that a column is of; None for the join's own."""
        return None if path in self.own else path.partition(".")[0]


class JoinedTable(RandomAccess):
    """Rows of several datasets that are the same objects, as a random-access table like those that are joined.

    A row is `{"gz3d": {...}, "gz_decals": {...}, "separation": ...}`, read from the shards of each dataset; columns are
    named `gz3d.image`. `separation` is in arcsec; of more than two tables, it holds one value for each but the first.

    A left join has rows that lack a table. `matched` is then False, and the values are NaN, -1 (unsigned integers and
    images: 0), False and "", in `catalog` null. A condition in text is false for rows that lack a table whose columns
    it uses; one of pyarrow sees nulls.

    A pickle holds where the datasets are and which rows match, not what is in them. It raises `FolderError` when it is
    loaded after one of the datasets was built further.
    """

    def __init__(self, matches: Matches, columns: tuple[str, ...], index: np.ndarray | None):
        super().__init__(columns, index)
        self._matches = matches
        chosen: dict[str, list[str]] = {}
        for path in columns:
            if name := matches.part_of(path):
                chosen.setdefault(name, []).append(path.partition(".")[2])
        self._parts = {name: matches.parts[name].select_columns(paths) for name, paths in chosen.items()}

    def __reduce__(self):
        return JoinedTable, (self._matches, self._columns, self._index)

    def __repr__(self) -> str:
        columns = "\n".join(f"  {column}" for column in self.schema.values())
        return f"Join of {', '.join(self._matches.parts)}: {len(self):,} rows\n{columns}"

    @property
    def _height(self) -> int:
        return len(self._matches)

    @property
    def _leaves(self) -> Mapping[str, ColumnSpec]:
        return self._matches.specs

    def _narrowed(self, columns: tuple[str, ...], index: np.ndarray | None) -> JoinedTable:
        return JoinedTable(self._matches, columns, index)

    def _rows_of(self, name: str) -> np.ndarray:
        """The rows of one table, -1 for none."""
        rows = self._matches.rows[name]
        return rows if self._index is None else rows[self._index]

    def _start(self, rows: np.ndarray, ahead: bool) -> Callable[[], dict[str, np.ndarray]]:
        finishes = {name: _start(part, self._matches.rows[name][rows], ahead) for name, part in self._parts.items()}

        def values() -> dict[str, np.ndarray]:
            found = {path: column[rows] for path, column in self._matches.own.items()}
            for name, finish in finishes.items():
                found |= {f"{name}.{path}": column for path, column in finish().items()}
            return {path: found[path] for path in self._columns}

        return values

    @property
    def catalog(self) -> pa.Table:
        """The light columns of these rows by dotted name, and each table's `_split`, `_shard` and `_row`; null where a
        row lacks a table.
        """
        columns = {name: self._asked(name) for name in self._askable}
        fields = [pa.field(name, column.type, metadata=self._documentation(name)) for name, column in columns.items()]
        return pa.table(list(columns.values()), schema=pa.schema(fields))

    def _documentation(self, name: str) -> Mapping[Any, Any]:
        part = self._matches.part_of(name)
        if part is None:
            spec = self._matches.specs[name]
            return {"description": spec.description} | ({"unit": spec.unit} if spec.unit else {})
        return self._matches.parts[part]._data.rows.field(name.partition(".")[2]).metadata or {}

    @property
    def _askable(self) -> list[str]:
        names = [f"{name}.{path}" for name, part in self._matches.parts.items() for path in part._askable]
        return [*names, *self._matches.own]

    def _asked(self, name: str) -> pa.ChunkedArray:
        part = self._matches.part_of(name)
        if part is None:
            values = self._matches.own[name]
            return pa.chunked_array([values if self._index is None else values[self._index]])
        rows = self._rows_of(part)
        absent = rows < 0
        column = self._matches.parts[part]._asked(name.partition(".")[2])
        return column.take(pa.array(rows, mask=absent if absent.any() else None))

    @property
    def simulated(self) -> bool:
        """Whether one of the datasets is made of simulated galaxies."""
        return any(part.simulated for part in self._matches.parts.values())

    def source(self, row: int) -> dict[str, Origin | None]:
        """Where a row came from, by the name of the table; None for one that the row lacks. See `Table.source`."""
        number = self._positions([row])[0]
        rows = {name: int(rows[number]) for name, rows in self._matches.rows.items()}
        return {name: self._matches.parts[name]._data.origin(at) if at >= 0 else None for name, at in rows.items()}

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the first dataset, whether or not rows of them are among these."""
        return self._matches.parts[self._matches.first].splits

    @property
    def row_nbytes(self) -> int:
        """About how many bytes a row of these columns takes in memory, image files as they are stored."""
        own = sum(self._matches.specs[path].nbytes for path in self._columns if path in self._matches.own)
        return own + sum(part.row_nbytes for part in self._parts.values())

    def find(self, ids: Any, by: str | None = None) -> JoinedTable:
        """The rows of these names or numbers, in their order; all of them where several rows have one name.

        `ids` is one or many, `by` the column that they are of: `object_id` of the first table unless given. Raises
        `KeyError`, naming them, if some are absent.
        """
        by = f"{self._matches.first}.object_id" if by is None else by
        if by not in self._askable:
            raise unknown_column(by, self._askable)
        return super(JoinedTable, self._with([by])).find(ids, by)

    def cone(self, ra: Any, dec: Any = None, radius: Any = None) -> JoinedTable:
        """The rows whose position in the first table is within a radius of another, the edge included: `cone(ra, dec,
        radius)`, numbers in degrees or Quantities, or `cone(SkyCoord, radius)`.
        """
        ra, dec, radius = angles.cone(ra, dec, radius)
        data, rows = self._matches.parts[self._matches.first]._data, self._rows_of(self._matches.first)
        return self.select(sky.in_cone(data.array("ra")[rows], data.array("dec")[rows], (ra, dec), radius))

    def where(self, condition: str | pc.Expression) -> JoinedTable:
        """The rows of which a condition on the catalogue is true; only the rows of this table are judged.

        Parameters
        ----------
        condition : str or pyarrow.compute.Expression
            As for `Table.where`, with the columns of `catalog`: `"gz3d.gz_bar_votes > 5 and separation < 0.5"`.

        Raises
        ------
        KeyError
            If it uses a column that is not in the catalogue.
        TypeError, UsageError
            If it is no condition.
        """
        if not isinstance(condition, str):
            return super().where(condition)
        used: list[str] = []
        nothing = self.select([])

        def column(name: str) -> pa.ChunkedArray:
            used.append(name)
            return nothing._asked(name)

        query.matching(condition, self._askable, column)
        return super(JoinedTable, self._with(used)).where(condition)

    def _with(self, names: Sequence[str]) -> JoinedTable:
        """The rows that have all the tables of which these are columns."""
        parts = {self._matches.part_of(name) for name in names} - {None}
        there = [self._rows_of(part) >= 0 for part in parts]
        return self.select(np.logical_and.reduce(there)) if there and not np.all(there) else self


def _start(part: Table, rows: np.ndarray, ahead: bool) -> Callable[[], dict[str, np.ndarray]]:
    """Begin to read rows of one table, -1 for none; the function that is returned waits for them."""
    there = rows >= 0
    if there.all():
        return part._start(rows, ahead)
    # If there is none at all, any row shows what shape an image has.
    finish = part._start(rows[there] if there.any() else np.arange(min(1, part._height)), ahead)
    return lambda: {path: _spread(values, there) for path, values in finish().items()}


def _spread(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Values in their places, and what stands for none in the others."""
    shape = (len(there), *values.shape[1:])
    if values.dtype.kind == "O":
        out = np.empty(shape, object)
        for place in np.flatnonzero(~there):
            out[place] = values[0][:0] if len(values) else b""
    else:
        out = np.empty(shape, values.dtype) if values.dtype.kind == "U" else _memory.empty(shape, values.dtype)
        out[~there] = {"f": np.nan, "i": -1, "U": ""}.get(values.dtype.kind, 0)
    out[there] = values[: there.sum()]
    return out


def part_names(tables: Sequence[Table], names: Sequence[str] | None) -> list[str]:
    """The names of the tables in a join: those of their datasets, unless given.

    Raises `UsageError` if they cannot be told apart.
    """
    found = [table._data.manifest.name for table in tables] if names is None else list(names)
    advice = 'name them, as in names=("first", "second")'
    if len(found) != len(tables):
        raise UsageError(f"names: expected one for each of {len(tables)} tables, found {found}")
    for name in found:
        if (
            not isinstance(name, str)
            or not name.isidentifier()
            or name.startswith("_")
            or name in (SEPARATION, MATCHED)
        ):
            raise UsageError(f"{name!r} cannot name a table of a join; {advice}")
    if len(set(found)) < len(found):
        raise UsageError(f"two tables are named alike ({', '.join(found)}); {advice}")
    return found
