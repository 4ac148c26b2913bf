"""The declaration of a data set's columns, from which features, card, shards and catalogue all follow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import datasets
import numpy as np

HEAVY_BYTES = 256
"""A column whose rows take more bytes than this is stored a chunk per row and read by byte range; the catalogue
holds the values of all the others."""


class Column(NamedTuple):
    """One column as a data set declares it: its `datasets` feature, what it is, and its unit ("" for none)."""

    feature: Any
    description: str
    unit: str = ""


Columns = Mapping[str, "Column | Columns"]


@dataclass(frozen=True)
class ColumnSpec:
    """One leaf column in terms of NumPy, light enough to send to a worker process.

    `path` is dotted ("segmentation.array"). `kind` is "number" (any fixed shape, `()` for a scalar), "string" (likewise),
    or "bytes" (a variable number of uint8 a row, such as a JPEG file). `dtype` is a NumPy name, "str" for strings.
    `decoded` is set where a "bytes" column is shown as an image: the (height, width, channels) it decodes to,
    None in a dimension that varies.
    """

    path: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    description: str
    unit: str

    @property
    def nbytes(self) -> int:
        """Bytes that one row takes (0 where that varies)."""
        return 0 if self.kind != "number" else math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def heavy(self) -> bool:
        """Whether rows are stored one to a chunk and read by byte range."""
        return self.kind == "bytes" or self.nbytes > HEAVY_BYTES

    @property
    def scalar(self) -> bool:
        return self.kind != "bytes" and not self.shape


def _spec(path: str, column: Column) -> ColumnSpec:
    feature, description, unit = column
    shape: tuple[int, ...] = ()
    if isinstance(feature, (datasets.Array2D, datasets.Array3D, datasets.Array4D)):
        return ColumnSpec(path, "number", feature.dtype, tuple(feature.shape), description, unit)
    if isinstance(feature, datasets.Image):
        return ColumnSpec(path, "bytes", "uint8", (), description, unit)
    if isinstance(feature, datasets.ClassLabel):
        return ColumnSpec(path, "number", "int64", (), description, unit)
    if hasattr(feature, "feature"):  # List (Sequence before datasets 4)
        feature, shape = feature.feature, (feature.length,)
        if shape == (-1,):
            raise TypeError(f"column {path!r}: a list needs a fixed length; found {column.feature!r}")
    if feature.dtype == "string":
        return ColumnSpec(path, "string", "str", shape, description, unit)
    return ColumnSpec(path, "number", feature.dtype, shape, description, unit)


def _walk(columns: Columns, prefix: str = "") -> Iterator[tuple[str, Column]]:
    for name, column in columns.items():
        if isinstance(column, Column):
            yield prefix + name, column
        else:
            yield from _walk(column, f"{prefix}{name}.")


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


@dataclass(frozen=True)
class Schema:
    """All that a data set declares of its columns.

    Parameters
    ----------
    columns : nested dict of `Column`
        In the order in which they are shown. `object_id` (string), `ra`, `dec` (float64, degrees) and `healpix` (int64) must
        be among them; the build fills in `healpix`.
    configs : dict of name -> tuple of dotted column names
        Named selections over the same files, beside "default" (everything) and "catalog" (scalars only), which every
        data set has. A group's name stands for all in it.
    """

    columns: Columns
    configs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def specs(self) -> dict[str, ColumnSpec]:
        """The leaf columns by dotted name."""
        return {path: _spec(path, column) for path, column in _walk(self.columns)}

    @cached_property
    def features(self) -> datasets.Features:
        """The features of a row, as the registered builder gives them."""
        return self.features_of(self.specs)

    def features_of(self, paths) -> datasets.Features:
        """The features of a selection of leaf columns, in the order of declaration."""
        leaves = dict(_walk(self.columns))
        return datasets.Features(nest({path: leaves[path].feature for path in self.specs if path in set(paths)}))

    def select(self, names) -> tuple[str, ...]:
        """Leaf columns that the names stand for, in the order of declaration; a group's name stands for its members.

        Raises `KeyError`, naming the columns there are, for a name that is not among them.
        """
        chosen = set()
        for name in names:
            found = [path for path in self.specs if path == name or path.startswith(f"{name}.")]
            if not found:
                raise KeyError(f"no column {name!r}; there are {', '.join(self.specs)}")
            chosen.update(found)
        return tuple(path for path in self.specs if path in chosen)

    def config_columns(self, config: str) -> tuple[str, ...]:
        """Leaf columns of a config: "default", "catalog", or one that the data set declares."""
        if config == "default":
            return tuple(self.specs)
        if config == "catalog":
            return tuple(path for path, spec in self.specs.items() if spec.scalar)
        return self.select(self.configs[config])

    @property
    def config_names(self) -> tuple[str, ...]:
        return ("default", *self.configs, "catalog")
