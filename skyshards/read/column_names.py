"""The names of a table's columns, which can be called."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class ColumnNames(list[str], Generic[T]):
    """A list of column names; calling it with names is `select_columns`."""

    def __init__(self, names: Iterable[str], select: Callable[[Iterable[str]], T]):
        super().__init__(names)
        self._select = select

    def __call__(self, names: Iterable[str]) -> T:
        return self._select(names)
