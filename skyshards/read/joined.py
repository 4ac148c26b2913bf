"""Random access to rows of several datasets that are the same objects: what `skyshards.join` gives."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skyshards.format import healpix as sky
from skyshards.format.columns import ColumnSpec, unknown_column
from skyshards.format.provenance import Origin
from skyshards.read import angles, join_file, query
from skyshards.read.matches import Matches
from skyshards.read.memory import Recycler
from skyshards.read.random_access import RandomAccess
from skyshards.read.table import Table

_memory = Recycler()


class JoinedTable(RandomAccess):
    """Rows of several datasets that are the same objects, as a random-access table like those that are joined.

    A row is `{"gz3d": {...}, "gz_decals": {...}, "separation": ...}`, read from the shards of each dataset; columns are
    named `gz3d.image`. `separation` is in arcsec; of more than two tables, it holds one value for each but the first.

    A left join has rows that lack a table. `matched` is then False, and the values are NaN, -1 (unsigned integers and
    images: 0), False and "", in `catalog` null. A condition in text is false for rows that lack a table whose columns
    it uses; one of pyarrow sees nulls.

    A pickle holds where the datasets are and which rows match, not what is in them. It raises `FolderError` when it is
    loaded after one of the datasets was built further.

    Examples
    --------
    >>> both = skyshards.join(skyshards.open("data/gz3d"), skyshards.open("data/gz_decals"))  # doctest: +SKIP
    >>> both[[3, 1]]["gz3d"]["image"].shape  # doctest: +SKIP
    (2, 525, 525, 3)
    >>> both.select_columns(["gz3d.image", "separation"]).where("separation < 0.5")  # doctest: +SKIP
    """

    def __init__(self, matches: Matches, columns: tuple[str, ...], index: np.ndarray | None):
        super().__init__(columns, index)
        self._matches = matches
        chosen: dict[str, list[str]] = {}
        for path in columns:
            if name := matches.part_of(path):
                chosen.setdefault(name, []).append(path.partition(".")[2])
        self._parts = {name: matches.parts[name].select_columns(paths) for name, paths in chosen.items()}

    @classmethod
    def of(cls, matches: Matches) -> JoinedTable:
        """All rows and columns of a join."""
        return cls(matches, tuple(matches.specs), None)

    def __reduce__(self):
        return JoinedTable, (self._matches, self._columns, self._index)

    def __repr__(self) -> str:
        columns = "\n".join(f"  {column}" for column in self.schema.values())
        return f"Join of {self.name}: {len(self):,} rows\n{columns}"

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
        """The names of the tables that are joined."""
        return ", ".join(self._matches.parts)

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

    def save(self, path: str | os.PathLike) -> None:
        """Write which rows are joined, and where the datasets are, to a Parquet file that `skyshards.open_join` opens.

        Columns are not chosen by it: whoever opens it can read all of them. The file holds the `object_id` and the
        number of each row too, for other programs.

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
        parts = {part for name in names if (part := self._matches.part_of(name)) is not None}
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
