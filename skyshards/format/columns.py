"""Column specifications in terms of NumPy, used by shards, catalogue and table. Nested names are dotted."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from skyshards.format.kinds import KINDS

RESERVED_CONFIGS = ("default", "catalog")
"""Configs that every dataset has: all columns, and the scalars."""


@dataclass(frozen=True)
class ColumnSpec:
    """One leaf column in terms of NumPy, cheap to send to a worker process.

    `path` is dotted ("segmentation.array"). `kind` is a key of `KINDS`: "number" (any fixed shape, `()` for a scalar),
    "string" (likewise), "bytes" (an image file, as a variable number of uint8 per row), or "ragged" (a list of numbers
    of any length). `dtype` is a NumPy name, "str" for strings. `classes` are the names of the labels 0, 1, …, None if
    the column is not a label. `missing` is the value of rows without one, "nan" for NaN, None if every row has one.
    `aligned` lists of a group have equal lengths in each row.
    """

    path: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    description: str
    unit: str
    deflate: bool = True
    classes: tuple[str, ...] | None = None
    missing: Any = None
    aligned: bool = False

    @cached_property
    def nbytes(self) -> int:
        """Bytes per row (0 if that varies)."""
        return KINDS[self.kind].nbytes(self)

    @cached_property
    def heavy(self) -> bool:
        """Whether values are stored one per chunk and read by byte range."""
        return KINDS[self.kind].is_large(self)

    @cached_property
    def is_image(self) -> bool:
        """Whether values are images, of which the card tells mean and deviation."""
        return KINDS[self.kind].is_image(self)

    @property
    def varies(self) -> bool:
        """Whether stored values differ in length."""
        return KINDS[self.kind].varies

    @property
    def labels(self) -> str:
        """The classes in words: "0 elliptical, 1 spiral"; "" for a column without."""
        return in_words(self.classes)

    @property
    def scalar(self) -> bool:
        """Whether a value is a single number or string."""
        return not self.heavy and not self.shape


def in_words(classes: Iterable[str] | None) -> str:
    """Number the names of classes: "0 elliptical, 1 spiral"; "" for none."""
    return ", ".join(f"{label} {name}" for label, name in enumerate(classes or ()))


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts to one dict with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a dict with dotted names into nested dicts, the inverse of `flatten`."""
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        *groups, name = path.split(".")
        inner = nested
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[name] = value
    return nested


def select(columns: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """Select leaf columns by name, in their own order; a group's name selects its members.

    Raises `KeyError`, listing the columns, for an unknown name, `TypeError` for a string.
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
    """Make the error for an unknown column, listing the known ones, and before them those of similar name."""
    names = tuple(names)
    inner = [path for path in names if path.endswith(f".{name}")]
    similar = dict.fromkeys([*inner, *difflib.get_close_matches(name, names, 3, 0.8)])
    hint = f" (similar: {', '.join(similar)})" if similar else ""
    return KeyError(f"no column {name!r}{hint}; available: {', '.join(names)}")
