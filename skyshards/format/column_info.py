"""Descriptions of a table's columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from skyshards.format.columns import ColumnSpec, in_words
from skyshards.format.kinds import KINDS


class ColumnInfo(NamedTuple):
    """The description of a column.

    Attributes
    ----------
    name : str
        Dotted, as in "segmentation.array".
    dtype : str
        NumPy's name, "str" for text, or "image file" (uint8 arrays, or the file's bytes with `decode=False`).
    shape : tuple of int
        Shape of one row's value, () for a scalar and for image files, whose shapes may differ.
    unit : str
        A VOUnit, "" for none.
    description : str
        What the values are.
    classes : tuple of str or None
        Names of the labels 0, 1, …; None if the column is not a label.
    missing : int, float, str, tuple or None
        The value of rows without one: in `catalog`, it is null. None if every row has a value.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    unit: str
    description: str
    classes: tuple[str, ...] | None
    missing: Any = None

    @classmethod
    def of(cls, name: str, spec: ColumnSpec) -> ColumnInfo:
        """Describe a column."""
        is_nan = spec.missing == "nan" and spec.dtype != "str"
        missing = math.nan if is_nan else spec.missing
        words = KINDS[spec.kind].words(spec)
        return cls(name, words, spec.shape, spec.unit, spec.description, spec.classes, missing)

    @property
    def type_in_words(self) -> str:
        """The dtype and shape: "uint8 [525, 525, 3]"."""
        return f"{self.dtype} {list(self.shape)}" if self.shape else self.dtype

    def __str__(self) -> str:
        names = in_words(self.classes)
        return f"{self.name}: {self.type_in_words}" + (f" ({self.unit or names})" if self.unit or names else "")


class TableSchema(Mapping[str, ColumnInfo]):
    """The columns of a table by dotted name, in order; prints one line for each."""

    def __init__(self, columns: Iterable[ColumnInfo]):
        self._columns = {column.name: column for column in columns}

    def __getitem__(self, name: str) -> ColumnInfo:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return "\n".join(f"{column}: {column.description}" for column in self._columns.values())
