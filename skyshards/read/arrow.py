"""Convert between NumPy batches and Arrow tables of `datasets` features, without a Python loop over rows."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from skyshards.format.kinds import kind_of
from skyshards.format.kinds.ragged import Ragged
from skyshards.format.kinds.text import is_long
from skyshards.read.memory import Recycler
from skyshards.read.shared_memory import recycler

if TYPE_CHECKING:
    import datasets

_memory = Recycler()


class ToArrow:
    """Converts batches, such as `table[[...]]`, to Arrow tables of some features; arrays share the batch's memory.

    Image columns must hold the bytes of image files (`decode=False`). Keep it for many batches: `datasets` takes
    milliseconds to describe features.
    """

    def __init__(self, features: datasets.Features):
        self._schema = features.arrow_schema
        self._conversions = _conversions(features)

    def __call__(self, batch: Mapping[str, Any]) -> pa.Table:
        arrays = {name: _array(batch[name], conversion) for name, conversion in self._conversions.items()}
        return pa.table(arrays, schema=self._schema)


def _conversions(features: Mapping[str, Any]) -> dict[str, Any]:
    """Return what converts the values of each feature, nested as they are."""
    return {
        name: _conversions(feature)
        if isinstance(feature, Mapping)
        else functools.partial(kind_of(feature).to_arrow, feature=feature)
        for name, feature in features.items()
    }


def _array(values: Any, conversion: Any) -> pa.Array:
    if not isinstance(conversion, dict):
        return conversion(values)
    arrays = [_array(values[name], inner) for name, inner in conversion.items()]
    return pa.StructArray.from_arrays(arrays, list(conversion))


def as_numpy(table: pa.Table) -> dict[str, Any]:
    """Convert an Arrow batch, such as from `ds.with_format("arrow").iter(64)`, to nested dicts of NumPy arrays.

    Dtypes and shapes are kept; the first dimension is the rows. Text becomes `str` arrays, or arrays of objects where a
    text is longer than 256 bytes, image files become arrays of `bytes` objects, b"" for none, lists of any length
    become `Ragged`. All arrays are copies: Arrow's memory may be a read-only file mapping, and writing to that crashes
    the process.

    Parameters
    ----------
    table : pyarrow.Table or pyarrow.RecordBatch

    Returns
    -------
    dict
        Arrays by column name; a struct column is a dict.

    Raises
    ------
    ValueError
        If a column has nulls, or lists of anything but numbers and bools.

    Examples
    --------
    >>> import datasets, skyshards
    >>> ds = datasets.load_dataset("skyshards", data_dir="data/gz3d", split="train", streaming=True, columns=["image"])
    >>> batch = next(iter(ds.with_format("arrow").iter(batch_size=4)))
    >>> skyshards.as_numpy(batch)["image"].shape
    (4, 525, 525, 3)
    """
    table = table if isinstance(table, pa.Table) else pa.Table.from_batches([table])
    return {name: _values(name, column) for name, column in zip(table.column_names, table.columns, strict=True)}


def _values(path: str, array: pa.Array | pa.ChunkedArray) -> Any:
    if isinstance(array, pa.ChunkedArray):
        chunks = array.chunks or [pa.array([], array.type)]
        return _joined([_values(path, chunk) for chunk in chunks])
    if pa.types.is_struct(array.type):
        parts = dict(zip((field.name for field in array.type), array.flatten(), strict=True))
        if set(parts) == {"bytes", "path"}:  # datasets' form of an image
            return _values(path, parts["bytes"].fill_null(b""))
        return {name: _values(f"{path}.{name}", part) for name, part in parts.items()}
    if array.null_count:
        raise ValueError(f"column {path!r} has {array.null_count} nulls, which no array can hold")
    rows = len(array)
    shape: tuple[int, ...] = ()
    if isinstance(array, pa.ExtensionArray):
        shape, array = tuple(array.type.shape), array.storage
        for _ in shape:
            array = array.flatten()
    elif pa.types.is_fixed_size_list(array.type):
        shape, array = (array.type.list_size,), array.flatten()
    elif pa.types.is_list(array.type):
        values = _values(path, array.flatten())
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
            raise ValueError(f"column {path!r} has lists of {array.type.value_type}, which no array can hold")
        return Ragged(values, np.diff(array.offsets.to_numpy()).astype(np.int64))
    values = array.to_numpy(zero_copy_only=False)
    if pa.types.is_string(array.type) and not is_long(array):
        values = values.astype(str)
    return values.reshape(rows, *shape)


def _joined(parts: list[Any]) -> Any:
    """Concatenate parts of a batch into a copy."""
    if isinstance(parts[0], dict):
        return {name: _joined([part[name] for part in parts]) for name in parts[0]}
    if isinstance(parts[0], Ragged):
        return Ragged(_joined([part.values for part in parts]), np.concatenate([part.lengths for part in parts]))
    if parts[0].dtype.kind in "OU":
        return np.concatenate(parts)
    out = recycler(_memory).empty((sum(len(part) for part in parts), *parts[0].shape[1:]), parts[0].dtype)
    return np.concatenate(parts, out=out)
