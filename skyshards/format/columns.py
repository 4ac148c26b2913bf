"""Columns in terms of NumPy: what shards, catalogue and table know of a dataset. Names of nested ones are dotted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from skyshards.format.kinds import KINDS

RESERVED_CONFIGS = ("default", "catalog")
"""Selections of columns that every dataset has: all of them, and the scalars."""


@dataclass(frozen=True)
class ColumnSpec:
    """One leaf column in terms of NumPy, light enough to send to a worker process.

    `path` is dotted ("segmentation.array"). `kind` names an entry of `KINDS`: "number" (any fixed shape, `()` for a
    scalar), "string" (likewise), or "bytes" (an image file, as a variable number of uint8 a row). `dtype` is a NumPy
    name, "str" for strings. `classes` are the names that the labels 0, 1, … stand for, None for what is no label.
    """

    path: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    description: str
    unit: str
    deflate: bool = True
    classes: tuple[str, ...] | None = None

    @cached_property
    def nbytes(self) -> int:
        """Bytes that one row takes (0 where that varies)."""
        return KINDS[self.kind].nbytes(self)

    @cached_property
    def heavy(self) -> bool:
        """Whether rows are stored one to a chunk and read by byte range."""
        return KINDS[self.kind].is_large(self)

    @property
    def varies(self) -> bool:
        """Whether rows take differing numbers of bytes, so that a batch of them is no array as it is stored."""
        return KINDS[self.kind].varies

    @property
    def scalar(self) -> bool:
        """Whether a row has one number or text."""
        return not self.heavy and not self.shape


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts to one dict with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """One dict with dotted names to nested dicts: the inverse of `flatten`."""
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        *groups, name = path.split(".")
        inner = nested
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[name] = value
    return nested


def select(columns: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """Those of the leaf columns that the names stand for, in their own order; a group's name stands for its members.

    Raises `KeyError`, naming the columns there are, for a name that is not among them, `TypeError` for a string.
    """
    if isinstance(names, str):
        raise TypeError(f"expected a list of column names, found the string {names!r}; write [{names!r}]")
    columns, chosen = tuple(columns), set()
    for name in names:
        found = [path for path in columns if path == name or path.startswith(f"{name}.")]
        if not found:
            raise unknown_column(name, columns)
        chosen.update(found)
    return tuple(path for path in columns if path in chosen)


def unknown_column(name: str, names: Iterable[str]) -> KeyError:
    """The error for a column that is not there, naming those that are."""
    return KeyError(f"no column {name!r}; there are {', '.join(names)}")
