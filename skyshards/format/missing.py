"""Missing values: a fill value in rows and shards, a null in the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS


def is_missing(value: Any, spec: ColumnSpec) -> bool:
    """Whether a row has no value: None, `pandas.NA`, a masked one; NaN where the column is not of floats."""
    if value is None or value is np.ma.masked or type(value).__name__ == "NAType":
        return True
    if isinstance(value, (float, np.floating)):
        return bool(np.isnan(value)) and not spec.dtype.startswith("float")
    mask = getattr(value, "mask", None)  # of NumPy's masked arrays, and astropy's masked quantities
    return mask is not None and np.shape(value) == () and np.shape(mask) == () and bool(mask)


def fill(spec: ColumnSpec) -> Any:
    """Return the value of a row without one, as `Recipe.read` might give it."""
    return KINDS[spec.kind].fill(spec)


def in_words(spec: ColumnSpec) -> str:
    """Return the fill value in words: `-1`, `NaN`, `""`; "" for a column without."""
    if spec.missing is None:
        return ""
    words = {"nan": "NaN", "": '""', (): "an empty list"} if isinstance(spec.missing, (str, tuple)) else {}
    return words.get(spec.missing, str(spec.missing))


def has_nulls(spec: ColumnSpec) -> bool:
    """Whether missing values of a column are nulls in the catalogue; there, lists of a fixed length keep their values.

    astropy and others cannot read null lists as an array [rows, length].
    """
    return spec.missing is not None and spec.scalar


def with_nulls(column: pa.Array | pa.ChunkedArray, spec: ColumnSpec) -> pa.Array | pa.ChunkedArray:
    """Replace fill values of a column of the catalogue by nulls."""
    if not has_nulls(spec):
        return column
    value = fill(spec)
    if value != value:
        filled = pc.is_nan(column)
    else:
        values = column.cast(pa.float32()) if pa.types.is_float16(column.type) else column  # which Arrow cannot compare
        filled = pc.equal(values, pa.scalar(value, values.type))
    return pc.if_else(filled, pa.scalar(None, column.type), column)


def without_nulls(column: pa.Array | pa.ChunkedArray, spec: ColumnSpec) -> pa.Array | pa.ChunkedArray:
    """Replace nulls of a column of the catalogue by its fill value."""
    if not has_nulls(spec) or not column.null_count:
        return column
    return pc.fill_null(column, pa.scalar(fill(spec), column.type))


def renewed(table: pa.Table, before: Mapping[str, ColumnSpec], now: Mapping[str, ColumnSpec]) -> pa.Table:
    """Return the rows of a catalogue with nulls as other declarations of the same columns have them."""
    for path, spec in now.items():
        old = before.get(path)
        if old is not None and old.missing != spec.missing and (has_nulls(old) or has_nulls(spec)):
            place = table.schema.get_field_index(path)
            column = with_nulls(without_nulls(table[path], old), spec)
            table = table.set_column(place, table.schema.field(place), column)
    return table


def check(spec: ColumnSpec, value: Any) -> Any:
    """Return a declared fill value in its form for the manifest. Raises `TypeError` if it cannot be one."""
    try:
        return KINDS[spec.kind].missing(value, spec)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"missing={value!r:.40}: {error}") from None


def attribute(spec: ColumnSpec) -> Any:
    """Return the fill value as an HDF5 attribute: a number of the column's dtype, or text."""
    return spec.missing if spec.dtype == "str" else np.dtype(spec.dtype).type(spec.missing)
