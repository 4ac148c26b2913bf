"""Matching rows of several datasets."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from skyshards.errors import UsageError
from skyshards.format.columns import ColumnSpec
from skyshards.read.table import Table

SEPARATION, MATCHED = "separation", "matched"
"""Columns added by a join; with more than two tables, groups of columns."""


@dataclass(frozen=True)
class Matches:
    """The matching rows of several tables, shared by all selections of a join.

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
        """Make matches from positions in the tables (-1 for none) and separations from the first table in arcsec."""
        first, *others = tables
        parts = {name: table._view(table._columns, None, None) for name, table in tables.items()}
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
        """The name of the first table, which every joined row has."""
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
        """Return the table of a column; None for the join's own columns."""
        return None if path in self.own else path.partition(".")[0]

    def flag_of(self, name: str) -> str | None:
        """Return the column that tells which rows have this table; None if all have it."""
        flag = f"{MATCHED}.{name}" if len(self.parts) > 2 else MATCHED
        return flag if name != self.first and flag in self.own else None


def part_names(tables: Sequence[Table], names: Sequence[str] | None) -> list[str]:
    """Return the names of the tables in a join; default: the names of their datasets.

    Raises `UsageError` if a name is invalid or used twice.
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
            raise UsageError(f"{name!r} is not a valid name for a table; {advice}")
    if len(set(found)) < len(found):
        raise UsageError(f"two tables have the same name ({', '.join(found)}); {advice}")
    return found
