"""The declaration of a dataset's columns, from which features, card, shards and catalogue all follow."""

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
    """One column as a dataset declares it: its `datasets` feature, what it is, and its unit ("" for none).

    `deflate=False` stores a large column as it is: for values that hardly compress, such as float noise.
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
    """The feature that a built column was declared with."""
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
    """All that a dataset declares of its columns.

    Parameters
    ----------
    columns : nested dict of `Column`
        In the order in which they are shown. `object_id` (string), `ra`, `dec` (float64, degrees), `healpix` (int64)
        and `source` (string) must be among them; the build fills in `healpix`, and in `source` the key of the row's
        source.
    configs : dict of name -> tuple of dotted column names
        Named selections over the same files, beside "default" (everything) and "catalog" (scalars only), which every
        dataset has. A group's name stands for all in it.
    """

    columns: Columns
    configs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of_built(cls, specs: Iterable[ColumnSpec], configs: Mapping[str, tuple[str, ...]]) -> Schema:
        """The schema of a built folder, from what its manifest says of its columns.

        Raises `FolderError` for a column that `datasets` has no feature for.
        """
        leaves = {spec.path: Column(_feature(spec), spec.description, spec.unit, spec.deflate) for spec in specs}
        return cls(nest(leaves), configs)

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

    def config_columns(self, config: str) -> tuple[str, ...]:
        """Leaf columns of a config: "default", "catalog", or one that the dataset declares."""
        if config == "default":
            return tuple(self.specs)
        if config == "catalog":
            return tuple(path for path, spec in self.specs.items() if spec.scalar)
        return select(self.specs, self.configs[config])

    @property
    def config_names(self) -> tuple[str, ...]:
        everything, scalars = RESERVED_CONFIGS
        return (everything, *self.configs, scalars)
