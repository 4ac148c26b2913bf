"""What the footer of a catalogue says about the values in each row group."""

from __future__ import annotations

from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skyshards.format.arrow_arrays import is_null, values


class Extent(NamedTuple):
    """Statistics of a column in a row group.

    Attributes
    ----------
    low, high : bool, int, float or str; None if unknown
        Between which all values lie but nulls and NaN; they need not occur, as long texts may be cut.
    is_empty : bool
        Whether all values are null.
    """

    low: Any = None
    high: Any = None
    is_empty: bool = False


def extent(chunk: pq.ColumnChunkMetaData) -> Extent:
    """Return the statistics of a column of numbers or text in a row group, as far as they are there."""
    found = chunk.statistics
    if found is None:
        return Extent()
    if found.has_null_count and found.null_count == chunk.num_values > 0:
        return Extent(is_empty=True)
    if not found.has_min_max:
        return Extent()
    try:
        low, high = found.min, found.max
    except ValueError:  # a text cut in the middle of a character
        return Extent()
    is_usable = type(low) is type(high) and isinstance(low, (bool, int, float, str)) and low <= high  # not NaN
    return Extent(low, high) if is_usable else Extent()


def is_within(column: pa.Array, stated: Extent) -> bool:
    """Whether the values of a row group are as its statistics say."""
    if stated.is_empty:
        return column.null_count == len(column)
    if stated.low is None:
        return True
    if pa.types.is_dictionary(column.type):
        column = column.dictionary.take(column.indices.unique())
    if pa.types.is_string(column.type):
        found = pc.min_max(column).as_py()
        return found["min"] is None or (stated.low <= found["min"] and found["max"] <= stated.high)
    numbers = values(column)[~is_null(column)]
    return not ((numbers < stated.low) | (numbers > stated.high)).any()
