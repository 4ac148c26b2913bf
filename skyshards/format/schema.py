"""Declare a dataset's columns; features, card, shards and catalogue are derived from the declaration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import datasets

from skyshards.errors import FolderError, UsageError
from skyshards.format.columns import RESERVED_CONFIGS, ColumnSpec, nest, select
from skyshards.format.kinds import KINDS, declared
from skyshards.format.kinds.advice import advice
from skyshards.format.layout import FOLD, HEALPIX, SOURCE
from skyshards.format.missing import check as check_missing


class Column(NamedTuple):
    """Declaration of a column: its `datasets` feature, description, and unit ("" for none).

    `deflate=False` stores a heavy column uncompressed, for values that hardly compress, such as float noise.

    `missing` is the value of rows without one: NaN or another number, "" or another text, [] for lists of any length,
    -1 for a ClassLabel. A row that lacks the column, or has None or a masked value there, gets it, and a null in the
    catalogue. By default, every row must have a value.

    `Sequence({"flux": Value("float32"), "ivar": Value("float32")})` declares a group of lists of any length, which have
    equal lengths in each row.
    """

    feature: Any
    description: str
    unit: str = ""
    deflate: bool = True
    missing: Any = None


Columns = Mapping[str, "Column | Columns"]


STANDARD = {
    "object_id": Column(datasets.Value("string"), "name of the object"),
    "ra": Column(datasets.Value("float64"), "right ascension (ICRS)", "deg"),
    "dec": Column(datasets.Value("float64"), "declination (ICRS)", "deg"),
    HEALPIX: Column(datasets.Value("int64"), "HEALPix pixel of the position (NESTED)"),
    FOLD: Column(datasets.Value("int8"), "part of the sky, 0 to 9, the same in all datasets; -1 near its border"),
    SOURCE: Column(datasets.Value("string"), "key of the source that the row was read from"),
}
"""Columns that every dataset has."""


def _completed(columns: Columns) -> Columns:
    """Add the standard columns that are not declared: name and position in front, pixel and fold after the position."""
    place = ("object_id", "ra", "dec")
    first = {} if set(place) <= set(columns) else {name: columns.get(name, STANDARD[name]) for name in place}
    found: dict[str, Column | Columns] = {}
    for name, column in (first | {name: column for name, column in columns.items() if name not in first}).items():
        found[name] = column
        if name == "dec":
            found |= {name: STANDARD[name] for name in (HEALPIX, FOLD) if name not in columns}
    return found if SOURCE in found else found | {SOURCE: STANDARD[SOURCE]}


class _Aligned(Column):
    """A list of any length in a group of lists of equal lengths."""

    __slots__ = ()


def _spec(path: str, column: Column) -> ColumnSpec:
    feature, description, unit, deflate, missing = column
    try:
        kind, dtype, shape, classes = declared(feature)
        aligned = isinstance(column, _Aligned)
        spec = ColumnSpec(path, kind, dtype, shape, description, unit, deflate, classes, aligned=aligned)
        return spec if missing is None else replace(spec, missing=check_missing(spec, missing))
    except TypeError as error:
        raise TypeError(f"column {path!r}: {error}") from None


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
            yield from _leaves(f"{prefix}{name}", column)
        elif isinstance(column, Mapping):
            yield from _walk(column, f"{prefix}{name}.")
        else:
            expected = "expected Column(feature, description), or a dict of these"
            raise TypeError(f"column {f'{prefix}{name}'!r}: {expected}, found {column!r:.80}")


def _leaves(path: str, column: Column) -> Iterator[tuple[str, Column]]:
    """Yield a column, or the lists of `Sequence({...})`: a dict of lists since `datasets` 4, itself before."""
    feature = column.feature
    if type(feature) is datasets.Sequence and isinstance(feature.feature, Mapping) and feature.length == -1:
        feature = {name: datasets.Sequence(item) for name, item in feature.feature.items()}
    if not isinstance(feature, Mapping):
        yield path, column
        return
    for name, item in feature.items():
        if getattr(item, "length", None) != -1 or isinstance(item.feature, Mapping):
            expected = "lists of any length in a dict of features"
            raise TypeError(
                f"column {path!r}: expected {expected}, found {name!r}: {item!r}; declare {advice(feature)}"
            )
        if column.unit:
            raise TypeError(f"column {path!r}: expected a unit for each list, found {column.unit!r}; {advice(feature)}")
        yield f"{path}.{name}", _Aligned(item, f"{column.description}: {name}", "", column.deflate, column.missing)


@dataclass(frozen=True)
class Schema:
    """Declaration of all columns of a dataset.

    Parameters
    ----------
    columns : nested dict of `Column`
        In display order. Every dataset has `object_id` (string), `ra`, `dec` (float64, degrees), `healpix` (int64),
        `fold` (int8) and `source` (string), and the build fills in the last three. Those that are not declared are
        added with a standard description; declare them to say more, such as what a source is.
    configs : dict of name -> tuple of dotted column names
        Named selections of columns, in addition to "default" (all) and "catalog" (scalars only), which every dataset
        has. A group's name selects all its members.

    Examples
    --------
    >>> from datasets import Array2D, Value
    >>> from skyshards import Column, Schema
    >>> schema = Schema(
    ...     {
    ...         "image": Column(Array2D((64, 64), "float32"), "r band", "mJy"),
    ...         "source": Column(Value("string"), "name of the FITS file"),
    ...     }
    ... )
    >>> schema.config_columns("catalog")
    ('object_id', 'ra', 'dec', 'healpix', 'fold', 'source')
    """

    columns: Columns
    configs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", _completed(self.columns))
        fold = self.columns[FOLD]
        if not isinstance(fold, Column) or declared(fold.feature) != declared(STANDARD[FOLD].feature):
            expected = "the engine's own, int8, with the fold of the sky"
            raise UsageError(f"column {FOLD!r}: expected {expected}, found another; give yours another name")

    @classmethod
    def of_built(cls, specs: Iterable[ColumnSpec], configs: Mapping[str, tuple[str, ...]]) -> Schema:
        """Make the schema of a built folder from the columns in its manifest.

        Raises `FolderError` for a column without a matching `datasets` feature.
        """
        leaves = {
            spec.path: Column(_feature(spec), spec.description, spec.unit, spec.deflate, spec.missing) for spec in specs
        }
        return _BuiltSchema(nest(leaves), configs)

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


class _BuiltSchema(Schema):
    """The schema of a built folder, with the columns that it has."""

    def __post_init__(self) -> None:
        pass
