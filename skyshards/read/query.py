"""Find rows of a catalogue by a condition or by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skyshards.errors import UsageError
from skyshards.format import arrow_arrays
from skyshards.format.columns import unknown_column
from skyshards.format.kinds.text import is_long
from skyshards.read.expression import evaluate
from skyshards.text import counted

NAMED = 10
"""Maximum number of missing names listed in an error."""


def matching(condition: Any, names: Sequence[str], column: Callable[[str], pa.ChunkedArray]) -> np.ndarray:
    """Evaluate a condition for each row: bool [rows].

    Parameters
    ----------
    condition : str or pyarrow.compute.Expression
    names : sequence of str
        The columns it may use.
    column : callable
        Returns one of them, for the rows in question. A condition in text is false for rows where it is null.

    Raises
    ------
    KeyError
        If it uses another column.
    TypeError
        If it is neither text nor an expression.
    UsageError
        If it cannot be evaluated, or is not boolean.
    """
    if isinstance(condition, str):
        present: list[np.ndarray] = []

        def values(name: str) -> np.ndarray:
            if name not in names:
                raise unknown_column(name, names)
            found, there = with_mask(column(name))
            if not there.all():
                present.append(there)
            return found

        return np.logical_and.reduce([evaluate(condition, values), *present])
    if isinstance(condition, pc.Expression):
        return _by_arrow(condition, names, column)
    kind = type(condition).__name__
    advice = "masks and positions are for `table.select`"
    raise TypeError(f"expected text ('dec > 0') or a pyarrow expression (pc.field('dec') > 0), found {kind}; {advice}")


def _by_arrow(condition: pc.Expression, names: Sequence[str], column: Callable[[str], pa.ChunkedArray]) -> np.ndarray:
    import pyarrow.dataset  # slow to import, as it imports pandas, and needed only here

    text = str(condition)
    columns = {name: column(name) for name in names if name in text} or {names[0]: column(names[0])}
    if "divide" in text:  # Arrow's integer division would drop the fraction
        columns = {name: _as_float(values) for name, values in columns.items()}
    try:
        found = pyarrow.dataset.dataset(pa.table(columns)).to_table(columns={"found": condition})["found"]
    except (pa.ArrowException, TypeError, ValueError) as error:
        if unknown := re.search(r"No match for FieldRef\.Name\((.*?)\) in ", str(error)):
            raise unknown_column(unknown[1], names) from error
        advice = "; exclude those rows first, or write the condition as text, which gives inf and NaN as in NumPy"
        raise UsageError(f"{text:.200}: {error}{advice if 'divide by zero' in str(error) else ''}") from error
    if not pa.types.is_boolean(found.type):
        raise UsageError(
            f"{text:.200}: expected a condition, such as pc.field('dec') > 0, found values of {found.type}"
        )
    answers, there = with_mask(found)
    return answers & there


def _as_float(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert integers to float64 if all of them fit exactly."""
    if not pa.types.is_integer(column.type):
        return column
    try:
        return column.cast(pa.float64())
    except pa.ArrowInvalid:
        return column


def with_mask(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Convert a column of the catalogue to an array [rows, ...], and a mask of the rows with a value.

    The others have any value. Texts are `str`, or objects if some are long.
    """
    kind = column.type
    there = ~np.concatenate([np.zeros(0, bool), *map(arrow_arrays.is_null, column.chunks)])
    if pa.types.is_fixed_size_list(kind):
        size = kind.list_size
        rows = [values.values.slice(values.offset * size, len(values) * size) for values in column.chunks]
        values, _ = with_mask(pa.chunked_array(rows, kind.value_type))
        return values.reshape(-1, size), there
    if pa.types.is_dictionary(kind) and _is_text(kind.value_type):
        parts = [_decoded(chunk) for chunk in column.chunks]
        return np.concatenate([np.zeros(0, str), *parts]), there
    if _is_text(kind):
        texts = ["" if text is None else text for text in column.to_pylist()]
        return np.array(texts, dtype=object if is_long(column) else str), there
    if pa.types.is_dictionary(kind) or pa.types.is_null(kind):
        return with_mask(column.cast(kind.value_type if pa.types.is_dictionary(kind) else pa.float64()))
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        values = np.array(column.to_numpy())  # imports pandas; only catalogues from elsewhere have dates or decimals
        if there.any():
            values[~there] = values[there.argmax()]
        return values, there
    found = [arrow_arrays.values(chunk) for chunk in column.chunks or [pa.nulls(0, kind)]]
    values = found[0] if len(found) == 1 else np.concatenate(found)
    return (values if there.all() else np.where(there, values, values.dtype.type(0))), there


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)  # the latter from pandas


def _decoded(column: pa.DictionaryArray) -> np.ndarray:
    """Return the texts of a dictionary's codes."""
    texts = np.array([*column.dictionary.to_pylist(), ""], str)
    codes = arrow_arrays.values(column.indices)
    return texts[np.where(arrow_arrays.is_null(column), -1, codes) if column.null_count else codes]


def named(ids: Any, column: pa.ChunkedArray, by: str) -> np.ndarray:
    """Return the positions of all rows with these names or numbers, in the order of the names: int64.

    Raises
    ------
    KeyError
        If no row has one of the names.
    UsageError
        If the column has several values per row, or the names are of another type.
    """
    values, there = with_mask(column)
    if values.ndim > 1:
        raise UsageError(f"by={by!r}: expected a column of one value a row, found {values.shape[1]}")
    wanted, rows = _like(ids, values, by), np.flatnonzero(there)
    order, values = np.argsort(values[rows], kind="stable"), values[rows]
    first, last = (np.searchsorted(values, wanted, side, sorter=order) for side in ("left", "right"))
    if (absent := wanted[first == last]).size:
        more = f" and {absent.size - NAMED:,} more" if absent.size > NAMED else ""
        listed = ", ".join(repr(name) for name in absent[:NAMED].tolist())
        raise KeyError(f"no row has {by} {listed}{more}; searched {counted(len(values), 'rows')}")
    runs = [rows[order[start:stop]] for start, stop in zip(first.tolist(), last.tolist(), strict=True)]
    return np.concatenate([np.zeros(0, np.int64), *runs])


def _like(ids: Any, values: np.ndarray, by: str) -> np.ndarray:
    """Convert the names to the column's dtype."""
    several = not isinstance(ids, (str, bytes)) and np.ndim(ids) != 0 and isinstance(ids, Iterable)
    listed = [getattr(name, "as_py", lambda name=name: name)() for name in (ids if several else [ids])]
    listed = [name.decode() if isinstance(name, bytes) else name for name in listed]
    if values.dtype.kind in "UO":
        return np.array([str(name) for name in listed], dtype=values.dtype.type)
    try:
        wanted = np.array([values.dtype.type(name) for name in listed], values.dtype)
        if all(isinstance(name, str) or same == name for same, name in zip(wanted.tolist(), listed, strict=True)):
            return wanted
    except (TypeError, ValueError, OverflowError):
        pass
    raise UsageError(f"by={by!r}: expected values of {values.dtype}, found {ids!r:.60}")
