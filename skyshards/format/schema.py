"""Declare a dataset's columns; features, card, shards and catalogue are derived from the declaration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import datasets

from skyshards.errors import FolderError
from skyshards.format.columns import RESERVED_CONFIGS, ColumnSpec, nest, select
from skyshards.format.kinds import KINDS, declared


class Column(NamedTuple):
    """Declaration of a column: its `datasets` feature, description, and unit ("" for none).

    `deflate=False` stores a heavy column uncompressed, for values that hardly compress, such as float noise.
    """

    feature: Any
    description: str
    unit: str = ""
    deflate: bool = True


Columns = Mapping[str, "Column | Columns"]


def _spec(path: str, column: Column) -> ColumnSpec:
    feature, description, unit, deflate = column
    try:
        kind, dtype, shape, classes = declared(feature)
    except TypeError as error:
        raise TypeError(f"column {path!r}: {error}") from None
    return ColumnSpec(path, kind, dtype, shape, description, unit, deflate, classes)


def _feature(spec: ColumnSpec) -> Any:
    """Return the feature with which a built column was declared."""
    try:
        return KINDS[spec.kind].feature(spec)
    except (AttributeError, ValueError) as error:
        found = f"{spec.dtype} {list(spec.shape)}"
        raise FolderError(f"column {spec.path!r}: `datasets` has no feature for {found}; read other columns") from error


def _walk(columns: Columns, prefix: str = "") -> Iterator[tuple[str, Column]]:
    for name, column in columns.items():
        if isinstance(column, Column):
            yield prefix + name, column
        else:
            yield from _walk(column, f"{prefix}{name}.")


@dataclass(frozen=True)
class Schema:
    """Declaration of all columns of a dataset.

    Parameters
    ----------
    columns : nested dict of `Column`
        In display order. Must include `object_id` (string), `ra`, `dec` (float64, degrees), `healpix` (int64) and
        `source` (string); the build fills in `healpix` and `source` (the key of the row's source).
    configs : dict of name -> tuple of dotted column names
        Named selections of columns, in addition to "default" (all) and "catalog" (scalars only), which every dataset
        has. A group's name selects all its members.

    Examples
    --------
    >>> from datasets import Array2D, Value
    >>> from skyshards import Column, Schema
    >>> schema = Schema(
    ...     {
    ...         "object_id": Column(Value("string"), "name of the galaxy"),
    ...         "ra": Column(Value("float64"), "right ascension (ICRS)", "deg"),
    ...         "dec": Column(Value("float64"), "declination (ICRS)", "deg"),
    ...         "healpix": Column(Value("int64"), "HEALPix pixel of the position (NESTED)"),
    ...         "source": Column(Value("string"), "key of the source"),
    ...         "image": Column(Array2D((64, 64), "float32"), "r band", "mJy"),
    ...     }
    ... )
    >>> schema.config_columns("catalog")
    ('object_id', 'ra', 'dec', 'healpix', 'source')
    """

    columns: Columns
    configs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of_built(cls, specs: Iterable[ColumnSpec], configs: Mapping[str, tuple[str, ...]]) -> Schema:
        """Make the schema of a built folder from the columns in its manifest.

        Raises `FolderError` for a column without a matching `datasets` feature.
        """
        leaves = {spec.path: Column(_feature(spec), spec.description, spec.unit, spec.deflate) for spec in specs}
        return cls(nest(leaves), configs)

    @cached_property
    def specs(self) -> dict[str, ColumnSpec]:
        """The leaf columns by dotted name."""
        return {path: _spec(path, column) for path, column in _walk(self.columns)}

    @cached_property
    def features(self) -> datasets.Features:
        """The features of a row under the registered builder."""
        return self.features_of(self.specs)

    def features_of(self, paths) -> datasets.Features:
        """Return the features of a selection of leaf columns, in the order of declaration."""
        leaves = dict(_walk(self.columns))
        return datasets.Features(nest({path: leaves[path].feature for path in self.specs if path in set(paths)}))

    def config_columns(self, config: str) -> tuple[str, ...]:
        """Return the leaf columns of a config: "default", "catalog", or a declared one."""
        if config == "default":
            return tuple(self.specs)
        if config == "catalog":
            return tuple(path for path, spec in self.specs.items() if spec.scalar)
        return select(self.specs, self.configs[config])

    @property
    def config_names(self) -> tuple[str, ...]:
        everything, scalars = RESERVED_CONFIGS
        return (everything, *self.configs, scalars)
