"""What a page sorts and filters by: the scalar columns of the catalogue, and the elements of its short vectors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skyshards.format.column_info import ColumnInfo
from skyshards.format.layout import HEALPIX, SPLIT

MAX_ELEMENTS = 8
"""Longest vectors whose elements are fields; longer ones are shown, but not sorted or filtered by."""
MAX_CHOICES = 20
"""Maximum number of different texts that are counted and offered one by one."""
MAX_CHOICE_LENGTH = 100
"""Maximum number of characters of such a text."""
MAX_WHOLE_CHOICES = 6
"""The same for integers, such as 0 and 1 for no and yes; with more, they have a histogram."""

IDENTIFIER = re.compile(r"(id|plate|healpix)$", re.IGNORECASE)
"""Ends of the names of columns whose whole numbers identify (`objid`, `nsa_id`, `TILEID`), and measure nothing."""

NUMBER, FLAG, CLASS, CHOICE, TEXT = "number", "flag", "class", "choice", "text"
"""Roles of fields. A choice is a text, or an integer, with few different values."""


@dataclass(frozen=True)
class Field:
    """A value that every row has. `element` is the place in a vector, None for a scalar column."""

    name: str
    column: str
    element: int | None
    role: str

    def of(self, catalog: pa.Table) -> pa.ChunkedArray:
        """Return the values of all rows, null where missing."""
        column = catalog[self.column]
        return column if self.element is None else pc.list_element(column, self.element)

    def identifies(self, catalog: pa.Table) -> bool:
        """Whether the values are numbers of things, whose distribution says little."""
        if self.role != NUMBER or not IDENTIFIER.search(self.column):
            return False
        values = numbers(self.of(catalog))
        finite = values[np.isfinite(values)]
        return bool((finite == np.rint(finite)).all())


def fields(catalog: pa.Table, columns: Mapping[str, ColumnInfo], several_splits: bool) -> list[Field]:
    """Return the fields of a dataset, in the order of its columns; with several splits, the split is the first."""
    found = [Field(SPLIT, SPLIT, None, CHOICE)] if several_splits else []
    for name, column in columns.items():
        if name not in catalog.column_names or not all(0 < length <= MAX_ELEMENTS for length in column.shape):
            continue
        for element in range(column.shape[0]) if column.shape else (None,):
            path = name if element is None else f"{name}[{element}]"
            field = Field(path, name, element, TEXT)
            found.append(Field(path, name, element, _role(field.of(catalog), column)))
    return found


def _role(values: pa.ChunkedArray, column: ColumnInfo) -> str:
    if column.classes:
        return CLASS
    if column.name == HEALPIX:
        return NUMBER
    if pa.types.is_boolean(values.type):
        return FLAG
    other, most = (TEXT, MAX_CHOICES) if pa.types.is_string(values.type) else (NUMBER, MAX_WHOLE_CHOICES)
    if pa.types.is_floating(values.type):
        return other
    if other == TEXT and (pc.max(pc.utf8_length(values)).as_py() or 0) > MAX_CHOICE_LENGTH:
        return TEXT
    different = pc.count_distinct(values).as_py()
    return CHOICE if different <= most and 2 * different <= len(values) else other


def numbers(values: pa.ChunkedArray) -> np.ndarray:
    """Return the values of a numeric field as float64."""
    return values.to_numpy().astype(np.float64)


def counts(field: Field, values: pa.ChunkedArray, column: ColumnInfo | None) -> list[tuple[str | int, int]]:
    """Count the rows of each class, flag or choice: (name, rows).

    Classes and integers are in order, texts by frequency. Labels without a class are counted together, as "other";
    nulls are not counted.
    """
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    found = {entry["values"].as_py(): entry["counts"].as_py() for entry in pc.value_counts(values.drop_null())}
    if field.role == FLAG:
        return [("yes", found.get(True, 0)), ("no", found.get(False, 0))]
    if field.role == CLASS and column is not None and column.classes:
        counted = [(name, found.pop(label, 0)) for label, name in enumerate(column.classes)]
        return counted + ([("other", sum(found.values()))] if found else [])
    in_order = pa.types.is_integer(values.type)
    return sorted(found.items(), key=lambda entry: (0 if in_order else -entry[1], entry[0]))
