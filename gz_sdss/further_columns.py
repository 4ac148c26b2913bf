"""Further columns of a catalogue, beyond those that every row has: which ones, and what the table says of them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from datasets import Value

from gz_sdss.gz_sdss import SCHEMA
from skyshards.errors import UsageError
from skyshards.format.schema import Column
from skyshards.input_tables.formats import Csv
from skyshards.input_tables.names import stored_names
from skyshards.input_tables.table_file import TableFile
from skyshards.input_tables.words import Words

EVERY = ("*",)
"""Pattern of all further columns."""
FURTHER = "further"
"""Key of a DataFrame's `attrs` that holds the further columns: the values of each `Further`, by name."""
_POSITION = re.compile(r"(ra|dec)[\W_]*\d?", re.IGNORECASE)
"""Names that a table's positions may have, of which there is one."""
_PANDAS = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}


class Further(NamedTuple):
    """A further column: NumPy's name of its dtype ("str" for text), description, unit and UCD."""

    dtype: str
    description: str = ""
    unit: str = ""
    ucd: str = ""

    @property
    def in_words(self) -> str:
        """Description with the UCD."""
        return (self.description or "as published") + (f" (UCD {self.ucd})" if self.ucd else "")


class FurtherColumn(NamedTuple):
    """A further column of a dataset: its name, what the table says of it, and the value of rows without one."""

    name: str
    about: Further
    missing: Any

    @property
    def column(self) -> Column:
        """Its declaration."""
        feature = Value("string" if self.about.dtype == "str" else self.about.dtype)
        return Column(feature, self.about.in_words, self.about.unit, missing=self.missing)


def find(
    table: TableFile,
    keep: Sequence[str],
    used: Mapping[str, int],
    only_for_cuts: Collection[str],
    known: Mapping[str, Further] | None = None,
) -> tuple[dict[str, tuple[int, Further]], list[str]]:
    """Find the further columns of a table, in its order.

    Parameters
    ----------
    table : TableFile
    keep : sequence of str
        Names, in any case, or patterns such as "t01_*". `EVERY` leaves out the columns that serve only for cuts.
    used : mapping of str to int
        Places of the columns that are read anyway, by name.
    only_for_cuts : collection of str
        Those of them that rows lack; they are further columns where they are asked for by name.
    known : mapping of str to Further, optional
        What is known of columns already, by the name in rows, where the table's format cannot say it.

    Returns
    -------
    found : dict of str to (int, Further)
        By the name in rows: the place of a column, and what the table says of it. A name that rows have already gets
        the prefix `published_`.
    notes : list of str
        Columns that rows cannot have, and why.

    Raises
    ------
    UsageError
        The table has no such column.
    """
    read_anyway = {place: name for name, place in used.items()}
    places: dict[int, str] = {}
    for pattern in keep:
        if pattern.lower() in {name.lower() for name in used} - {name.lower() for name in only_for_cuts}:
            continue  # rows have it already
        exact = [place for place, name in enumerate(table.names) if name.lower() == pattern.lower()]
        found = exact or [place for place, name in enumerate(table.names) if name and _fits(name, pattern)]
        if not found and pattern not in EVERY:
            raise UsageError(
                f"`keep_columns`: {table.origin} has no column {pattern!r}; it has {', '.join(table.names)}"
            )
        for place in found:
            if place not in read_anyway or (read_anyway[place] in only_for_cuts and pattern not in EVERY):
                places.setdefault(place, pattern if exact else read_anyway.get(place, table.names[place]))
    there = {name.lower() for name in SCHEMA.specs}
    clashing = {name for name in places.values() if name.lower() in there or _POSITION.fullmatch(name)}
    names = stored_names([places[place] for place in sorted(places)], SCHEMA.specs.keys() | clashing)
    chosen = dict(zip(sorted(places), names, strict=True))
    told = {place: known[name] for place, name in chosen.items() if name in known} if known else {}
    about = told | _about(table, [place for place in chosen if place not in told])
    notes = [f"{places[place]} ({about[place]})" for place in chosen if isinstance(about[place], str)]
    told_of = ((name, place, about[place]) for place, name in chosen.items())
    return {name: (place, words) for name, place, words in told_of if isinstance(words, Further)}, notes


def read(table: TableFile, columns: Mapping[str, tuple[int, Further]]) -> dict[str, pd.Series]:
    """Read further columns: floats in their precision, integers nullable, text with None for missing values."""
    places = [place for place, _ in columns.values()]
    text = [place for place, about in columns.values() if about.dtype == "str"]
    found = {}
    for (name, (_, about)), (_, values) in zip(columns.items(), table.read(places, text=text), strict=True):
        kind = pa.string() if about.dtype == "str" else pa.from_numpy_dtype(np.dtype(about.dtype))
        values = values.cast(kind)
        if pa.types.is_integer(kind):
            values = values.cast(pa.uint64() if about.dtype == "uint64" else pa.int64())
        found[name] = values.to_pandas(types_mapper=_PANDAS.get)
    return found


def declared(table: pd.DataFrame) -> tuple[FurtherColumn, ...]:
    """Declare a catalogue's further columns. Integers without a value are -1, or the least if some are negative."""
    columns = []
    for name, values in table.attrs.get(FURTHER, {}).items():
        about = Further(*values)
        missing: Any = {"s": "", "f": "nan"}.get(about.dtype[0])
        if missing is None:
            bounds = np.iinfo(about.dtype)
            is_signed = bounds.min < 0
            missing = bounds.max if not is_signed else bounds.min if (table[name] < 0).any() else -1
        columns.append(FurtherColumn(name, about, missing))
    return tuple(columns)


def _fits(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name.lower(), pattern.lower())


def _about(table: TableFile, places: Sequence[int]) -> dict[int, Further | str]:
    """What a table says of its columns, or why rows cannot have them."""
    kinds: dict[int, pa.DataType | None] = {place: table.raw.types[place] for place in places}
    if isinstance(table.raw, Csv):  # its values tell
        kinds = {column.place: column.type for column in table.look(places)}
    return {place: _of_type(kinds[place], table.raw.words.get(place, Words())) for place in places}


def _of_type(kind: pa.DataType | None, words: Words) -> Further | str:
    if kind is None:
        return "empty"
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Further("str", *words)
    if pa.types.is_boolean(kind):
        return Further("int8", *words)
    if pa.types.is_integer(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind):
        return Further(np.dtype(kind.to_pandas_dtype()).name, *words)
    return f"values of type {kind}"
