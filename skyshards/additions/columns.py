"""The columns of a table, as columns of a dataset: names, types and words."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from skyshards.errors import BuildError, UsageError
from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS
from skyshards.format.missing import check as check_missing
from skyshards.input_tables.formats import Csv
from skyshards.input_tables.table_file import InputColumn, TableFile
from skyshards.input_tables.words import Words

VECTOR = "representation"
"""Name of the vector that the numbered columns make."""
_COMPONENT = re.compile(r"feat_(\d+)(_pred)?")
"""Columns `feat_0`, `feat_1`, … of `skyshards embed` and of the files published for Galaxy Zoo: they are one vector."""
_INDEX = re.compile(r"__index_level_\d+__")
"""The index of a filtered pandas table."""


@dataclass(frozen=True)
class NewColumn:
    """A column to add, and the columns of the table that its values are in: several for a vector of numbered ones."""

    spec: ColumnSpec
    inputs: tuple[InputColumn, ...]


def chosen(
    file: TableFile,
    names: Sequence[str] | None,
    used: Collection[str],
    prefix: str,
    fills: Mapping[str, Any],
) -> tuple[list[NewColumn], list[str]]:
    """Return the columns to add, and notes on columns that are left out.

    Parameters
    ----------
    file : TableFile
    names : sequence of str, optional
        Names of columns, as published; default: all but those in `used`.
    used : collection of str
        Columns that served to match rows.
    prefix : str
        Put before each name.
    fills : mapping of str to value
        By published name, the value of rows without one.

    Raises
    ------
    UsageError
        If there is no such column, or it cannot be stored.
    """
    there = list(file.names)
    components = _components(there)
    available = [name for name in there if name not in components] + ([VECTOR] if components else [])
    if wrong := [name for name in (*(names or ()), *fills) if name not in available]:
        raise UsageError(f"columns: {file.origin} has no column {wrong[0]!r}, but {', '.join(available)}")
    asked = list(dict.fromkeys(names)) if names else [name for name in dict.fromkeys(available) if name not in used]
    found: list[NewColumn] = []
    notes: list[str] = []
    for name in asked:
        if not names and _INDEX.fullmatch(name):
            continue
        if name == VECTOR and components:
            found.append(_vector(file, components, prefix))
            continue
        column = _column(file, name, prefix)
        if isinstance(column, NewColumn):
            found.append(column)
        elif names:
            raise UsageError(f"columns: {file.origin}: column {name!r} cannot be added: {column}")
        else:
            notes.append(f"{name} is left out: {column}")
    if not found:
        raise UsageError("; ".join([f"{file.origin}: has no column to add, only {', '.join(there)}", *notes]))
    return [_with_fill(column, file, fills) for column in found], notes


def _components(names: Sequence[str]) -> dict[str, int]:
    """Return the numbered columns of a vector, by name, in order."""
    numbered = {name: int(match[1]) for name in names if (match := _COMPONENT.fullmatch(name))}
    found = dict(sorted(numbered.items(), key=lambda item: item[1]))
    return found if len(found) > 1 else {}


def _vector(file: TableFile, components: Mapping[str, int], prefix: str) -> NewColumn:
    if list(components.values()) != list(range(len(components))):
        raise BuildError(
            f"{file.origin}: expected feat_0 to feat_{len(components) - 1} once each; some are missing or stand twice"
        )
    columns = file.look([file.names.index(name) for name in components])
    odd = next((column for column in columns if column.note not in ("", "empty")), None)
    if odd is not None:
        raise BuildError(f"{file.origin}: column {odd.name}: expected numbers, found {odd.note}")
    words = "image embedding from a neural network"
    shape = (len(columns),)
    return NewColumn(ColumnSpec(prefix + VECTOR, "number", "float32", shape, words, "", deflate=False), tuple(columns))


def _column(file: TableFile, name: str, prefix: str) -> NewColumn | str:
    """Return a column to add, or why it cannot be stored."""
    if file.names.count(name) > 1:
        return "there are several of that name"
    place = file.names.index(name)
    words = file.raw.words.get(place, Words())
    described = words.description or f"of {_base(file.origin)}"
    described += f" (UCD {words.ucd})" if words.ucd else ""
    kind = file.raw.types[place]
    if is_list(kind):
        return _list(file, InputColumn(name, place, kind), prefix, described, words.unit)
    is_text = not isinstance(file.raw, Csv) and _is_text(kind)
    [column] = file.look([place], text=[place] if is_text else [])
    if column.type is None:
        return "it has no value" if column.note == "empty" else column.note
    if pa.types.is_string(column.type):
        return NewColumn(ColumnSpec(prefix + name, "string", "str", (), described, words.unit), (column,))
    dtype = kind if pa.types.is_integer(kind) else column.type
    spec = ColumnSpec(prefix + name, "number", dtype_name(dtype), (), described, words.unit)
    return NewColumn(spec, (column,))


def _base(origin: str) -> str:
    return origin.replace("\\", "/").rpartition("/")[2]


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def is_list(kind: pa.DataType) -> bool:
    """Whether values are lists."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def dtype_name(kind: pa.DataType) -> str:
    """Return NumPy's name of the dtype in which values are stored: bools, which have no value to spare, as int8."""
    return "int8" if pa.types.is_boolean(kind) else np.dtype(kind.to_pandas_dtype()).name


def _list(file: TableFile, column: InputColumn, prefix: str, described: str, unit: str) -> NewColumn | str:
    """Return an array if all lists have one shape, else a list of any length."""
    lengths, item = _lengths(batch for [batch] in file.raw.batches([column.place]))
    if not (pa.types.is_integer(item) or pa.types.is_floating(item) or pa.types.is_boolean(item)):
        return f"lists of {item}"
    if not lengths:
        return "it has no value"
    dtype, path = dtype_name(item), prefix + column.name
    if all(low == high > 0 for low, high in lengths):
        shape = tuple(high for _, high in lengths)
        if len(shape) > 4:
            return f"arrays of {len(shape)} dimensions, expected at most 4"
        deflate = np.dtype(dtype).kind != "f"
        return NewColumn(ColumnSpec(path, "number", dtype, shape, described, unit, deflate=deflate), (column,))
    if len(lengths) > 1:
        return "lists of lists of different lengths"
    return NewColumn(ColumnSpec(path, "ragged", dtype, (), described, unit), (column,))


def _lengths(batches: Iterator[pa.Array]) -> tuple[list[tuple[int, int]], pa.DataType]:
    """Return the shortest and longest list at each level of nesting, and the type of their values."""
    found: list[tuple[int, int]] = []
    item = pa.null()
    for batch in batches:
        level = 0
        while is_list(batch.type):
            lengths = _list_lengths(batch)
            if len(lengths):
                low, high = int(lengths.min()), int(lengths.max())
                before = found[level] if level < len(found) else (low, high)
                found[level : level + 1] = [(min(low, before[0]), max(high, before[1]))]
            batch, level = batch.flatten(), level + 1
        item = batch.type
    return found, item


def _list_lengths(lists: pa.Array) -> np.ndarray:
    import pyarrow.compute as pc

    return pc.list_value_length(lists).drop_null().to_numpy(zero_copy_only=False)


def _with_fill(column: NewColumn, file: TableFile, fills: Mapping[str, Any]) -> NewColumn:
    """Choose the value of rows without one: the one given, or NaN, "", -1, the largest unsigned integer, no list."""
    spec, name = column.spec, column.inputs[0].name
    given = fills.get(VECTOR if len(column.inputs) > 1 else name, KINDS[spec.kind].absent(spec))
    try:
        return replace(column, spec=replace(spec, missing=check_missing(spec, _parsed(given, spec))))
    except (TypeError, ValueError) as error:
        raise UsageError(f"missing: column {name!r}: {error}; found {given!r}") from error


def _parsed(value: Any, spec: ColumnSpec) -> Any:
    """Read a fill value as typed on the command line: a number for columns of numbers."""
    if not isinstance(value, str) or spec.dtype == "str":
        return value
    if value.lower() == "nan":
        return "nan"
    try:
        return int(value)
    except ValueError:
        return float(value)
