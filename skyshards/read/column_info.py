"""What a table says of its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, NamedTuple, TypeVar

from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS

T = TypeVar("T")


class ColumnInfo(NamedTuple):
    """What a column of a table is.

    Attributes
    ----------
    name : str
        Dotted, as in "segmentation.array".
    dtype : str
        NumPy's name of it, "str" for text, or "image file": uint8 arrays, or with `decode=False` the file's bytes.
    shape : tuple of int
        The shape of one row's value, () for a scalar. Images have each their own.
    unit : str
        A VOUnit, "" for none.
    description : str
        What the values are.
    classes : tuple of str or None
        The names that the labels 0, 1, … stand for; None for what is no label.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    unit: str
    description: str
    classes: tuple[str, ...] | None

    @classmethod
    def of(cls, name: str, spec: ColumnSpec) -> ColumnInfo:
        """What is known of a column."""
        return cls(name, KINDS[spec.kind].words(spec), spec.shape, spec.unit, spec.description, spec.classes)

    def __str__(self) -> str:
        kind = f"{self.dtype} {list(self.shape)}" if self.shape else self.dtype
        names = ", ".join(f"{label} {name}" for label, name in enumerate(self.classes or ()))
        return f"{self.name}: {kind}" + (f" ({self.unit or names})" if self.unit or names else "")


class TableSchema(Mapping[str, ColumnInfo]):
    """The columns of a table by dotted name, in their order; it prints as a line for each."""

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


class ColumnNames(list[str], Generic[T]):
    """The names of a table's columns. Called with some of them, it gives the table that `select_columns` gives."""

    def __init__(self, names: Iterable[str], select: Callable[[Iterable[str]], T]):
        super().__init__(names)
        self._select = select

    def __call__(self, names: Iterable[str]) -> T:
        return self._select(names)
