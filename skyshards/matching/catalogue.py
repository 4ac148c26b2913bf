"""Catalogues of any format, of which positions and names are read a part at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from skyshards.errors import UsageError
from skyshards.input_tables import positions
from skyshards.matching.crossmatch import TABLE_ID_COLUMNS
from skyshards.read.table import Table

POSITION = ("ra", "dec")

Batches = Iterator[dict[str, Any]]
"""Columns of some rows by name, as Arrow arrays."""


@dataclass(frozen=True)
class Part:
    """Rows of a catalogue that are read together.

    Attributes
    ----------
    first : int
        Number of the first row.
    batches : callable
        Reads the rows, a batch at a time.
    pixels : (int, int64 array) or None
        An order, and the HEALPix pixels of it that hold all rows.
    """

    first: int
    batches: Callable[[], Batches]
    pixels: tuple[int, np.ndarray] | None = None


@dataclass(frozen=True)
class Chosen:
    """Columns of a catalogue for a crossmatch: positions, which may be missing, and an identifier, if there is one."""

    position: tuple[str, str] | None
    identity: str | None

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys([*(self.position or ()), *([self.identity] if self.identity else [])]))


@dataclass(frozen=True)
class Catalogue:
    """An open catalogue.

    Attributes
    ----------
    location : str
    names : sequence of str
        Its columns.
    parts : callable
        Returns the parts in which the named columns are read, in the order of their rows.
    shared : bool
        Whether other processes can read the parts: they are pickled, and read from files.
    position : (str, str) or None
        The columns of right ascension and declination, if the catalogue declares them.
    numbered : bool
        Whether row numbers can serve as identifiers.
    table : Table or None
        The table, for a built dataset.
    """

    location: str
    names: Sequence[str]
    parts: Callable[[Sequence[str]], list[Part]]
    shared: bool
    position: tuple[str, str] | None = None
    numbered: bool = True
    table: Table | None = None

    def read(self, names: Sequence[str]) -> dict[str, pa.ChunkedArray]:
        """Read all rows of the named columns."""
        batches = [batch for part in self.parts(names) for batch in part.batches()]
        found = {name: [chunk for batch in batches for chunk in _chunks(batch[name])] for name in names}
        return {name: pa.chunked_array(chunks) if chunks else _NOTHING for name, chunks in found.items()}

    def chosen(self, which: str, position: tuple[str, str] | None, identity: str | None, needed: bool) -> Chosen:
        """Choose the columns of positions and the identifier; `which` is "a" or "b", for messages.

        Raises
        ------
        UsageError
            If `identity` is missing, or the positions, which are `needed`.
        """
        there = ", ".join(self.names)
        found = self._position(position)
        if found is None and needed:
            wanted = " and ".join(position or POSITION)
            raise UsageError(f"{self.location}: no columns {wanted} among {there}; name them with `position_{which}`")
        ids = [self._there(identity)] if identity else [name for name in TABLE_ID_COLUMNS if name in self.names][:1]
        if not ids and not self.numbered:
            raise UsageError(
                f"{self.location}: no identifier column found; choose one with `id_{which}`, available: {there}"
            )
        return Chosen(found, ids[0] if ids else None)

    def columns(
        self, which: str, on: str, *, position: tuple[str, str] | None = None, identity: str | None = None
    ) -> pa.Table:
        """Read the columns to match by equal values of `on`, with positions `ra` and `dec` in degrees if there are any.

        An identifier that is given is called `object_id`.

        Raises
        ------
        UsageError
            If one of these columns is missing.
        """
        chosen = self.chosen(which, position, identity, False)
        found = self.read(list(dict.fromkeys([*chosen.names, self._there(on)])))
        columns: dict[str, Any] = {on: found[on]}
        if chosen.identity:
            columns = {"object_id" if identity else chosen.identity: found[chosen.identity]} | columns
        for role, name in zip(POSITION, chosen.position or (), strict=False):
            columns[role] = degrees(self.location, name, found[name], role)
        return pa.table(columns)

    def _position(self, given: tuple[str, str] | None) -> tuple[str, str] | None:
        """Choose the position columns: those given, those the catalogue declares, or `ra` and `dec` in any case."""
        wanted = given or self.position or POSITION
        if set(wanted) <= set(self.names):
            return wanted
        lower = {name.lower(): name for name in reversed(self.names)}
        ra, dec = (lower.get(name.lower()) for name in wanted)
        return (ra, dec) if ra and dec else None

    def _there(self, name: str) -> str:
        if name not in self.names:
            raise UsageError(f"{self.location}: no column {name!r}; available: {', '.join(self.names)}")
        return name


_NOTHING = pa.chunked_array([pa.nulls(0)])


def degrees(location: str, name: str, values: Any, role: str) -> np.ndarray:
    """Convert a column of a catalogue, right ascension or declination by `role`, to degrees (NaN where missing)."""
    try:
        return positions.degrees(values, role)
    except (ValueError, pa.ArrowException) as error:
        raise UsageError(f"{location}: column {name}: {error}") from error


def plain(column: Any) -> Any:
    """Convert texts of any type to strings."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.string()) if pa.types.is_large_string(column.type) else column


def _chunks(column: Any) -> list[pa.Array]:
    return column.chunks if isinstance(column, pa.ChunkedArray) else [column]
