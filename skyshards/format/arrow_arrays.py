"""Arrow arrays from and to NumPy's.

`pyarrow.array` and `to_numpy` import pandas, which takes longer than opening a table.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def numbers(array: np.ndarray, lacking: np.ndarray | None = None, kind: pa.DataType | None = None) -> pa.Array:
    """Return an array of numbers or bools [rows], or of lists of them [rows, length], without a copy where possible.

    Parameters
    ----------
    array : numpy.ndarray
    lacking : numpy.ndarray, optional
        The rows that are null, as a mask.
    kind : pyarrow.DataType, optional
        Default: that of the dtype; of lists, the type must be given.
    """
    kind = pa.from_numpy_dtype(array.dtype) if kind is None else kind
    validity = None if lacking is None else _bits(~lacking)
    if pa.types.is_fixed_size_list(kind):
        return pa.Array.from_buffers(
            kind, len(array), [validity], children=[numbers(array.reshape(-1), kind=kind.value_type)]
        )
    data = _bits(array) if pa.types.is_boolean(kind) else pa.py_buffer(np.ascontiguousarray(array))
    return pa.Array.from_buffers(kind, len(array), [validity, data])


def texts(array: Sequence[str]) -> pa.Array:
    """Return an array of texts."""
    encoded = [text.encode() for text in array]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def values(array: pa.Array) -> np.ndarray:
    """Return the values of an array of numbers or bools, any for null."""
    here = slice(array.offset, array.offset + len(array))
    if not len(array):
        return np.zeros(0, _dtype(array.type))
    if pa.types.is_boolean(array.type):
        return _from_bits(array.buffers()[1])[here]
    return np.frombuffer(array.buffers()[1], _dtype(array.type))[here]


def is_null(array: pa.Array) -> np.ndarray:
    """Return which values of an array are null, as a mask."""
    if not array.null_count:
        return np.zeros(len(array), bool)
    return _from_bits(array.is_valid().buffers()[1])[: len(array)] == 0


def _dtype(kind: pa.DataType) -> np.dtype:
    return np.dtype({"halffloat": "float16", "float": "float32", "double": "float64"}.get(str(kind), str(kind)))


def _from_bits(buffer: pa.Buffer) -> np.ndarray:
    return np.unpackbits(np.frombuffer(buffer, np.uint8), bitorder="little").astype(bool)


def _bits(mask: np.ndarray) -> pa.Buffer:
    return pa.py_buffer(np.packbits(mask, bitorder="little"))
