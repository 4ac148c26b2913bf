"""Text: one string per row, or a list of a fixed length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skyshards.errors import SourceError
from skyshards.format.kinds.base import LARGE_BYTES, Declared, Demand, Json, Kind, element, in_list

if TYPE_CHECKING:
    import h5py

    from skyshards.format.columns import ColumnSpec

MAX_TEXTS = 1 << 12
"""Maximum number of strings per row in a column."""
REFERENCE_BYTES = 32
"""Bytes that a text of its own length takes in HDF5, in addition to its own in units of 8: a reference to the global
heap, and the header there."""


class Text(Kind):
    name = "string"
    features = 'Value("string"), a list of it with a length'
    shares_memory = False

    def declared(self, feature: Any) -> Declared | None:
        import datasets  # slow, and not needed for reading

        item, shape = element(feature)
        is_text = isinstance(item, datasets.Value) and item.dtype == "string"
        return Declared(self.name, "str", shape) if is_text else None

    def feature(self, spec: ColumnSpec) -> Any:
        import datasets

        return in_list(datasets.Value("string"), spec.shape)

    def demands(self, spec: ColumnSpec) -> Iterator[Demand]:
        yield len(spec.shape) <= 1 and all(length <= MAX_TEXTS for length in spec.shape), "text", spec

    def nbytes(self, spec: ColumnSpec) -> int:
        return 0

    def absent(self, spec: ColumnSpec) -> Any:
        return ""

    def is_large(self, spec: ColumnSpec) -> bool:
        return False

    def words(self, spec: ColumnSpec) -> str:
        return "str"

    def card_words(self, spec: ColumnSpec) -> str:
        return "string"

    def croissant_type(self, spec: ColumnSpec) -> str:
        return "sc:Text"

    def encode(self, value: Any, spec: ColumnSpec) -> Json:
        if not spec.shape:
            return _checked(value, spec.path)
        is_list = isinstance(value, (list, tuple, np.ndarray))
        if not is_list or len(value) != spec.shape[0]:
            found = f"{len(value)}" if is_list else f"{value!r:.40}"
            raise SourceError(f"column {spec.path!r}: expected {spec.shape[0]} strings, found {found}")
        return [_checked(spec.missing if item is None else item, spec.path) for item in value]

    def missing(self, value: Any, spec: ColumnSpec) -> Json:
        if not isinstance(value, str):
            raise TypeError('expected a text, such as ""')
        return _checked(value, spec.path)

    def to_arrow(self, values: np.ndarray, feature: Any) -> pa.Array:
        flat = pa.array(values.reshape(-1).tolist(), pa.string())
        return pa.FixedSizeListArray.from_arrays(flat, feature.length) if hasattr(feature, "feature") else flat

    def arrow_type(self, spec: ColumnSpec) -> pa.DataType:
        return pa.list_(pa.string(), spec.shape[0]) if spec.shape else pa.string()

    def from_arrow(self, column: pa.ChunkedArray, spec: ColumnSpec, objects: bool) -> np.ndarray:
        return np.array(column.to_pylist(), dtype=object if objects else str).reshape(len(column), *spec.shape)

    def to_hdf5(self, values: Sequence[Any], spec: ColumnSpec) -> np.ndarray:
        """Make all texts as long as the longest, or, if that takes less, each as long as it is."""
        import h5py  # not needed for reading

        texts = [text for row in values for text in row] if spec.shape else values
        encoded = [text.encode() for text in texts]
        longest = max(map(len, encoded), default=1) or 1
        varying = sum(map(len, encoded)) + REFERENCE_BYTES * len(encoded)
        kind = h5py.string_dtype("utf-8", longest if longest * len(encoded) <= varying else None)
        return np.array(encoded, kind).reshape(len(values), *spec.shape)

    def from_hdf5(self, dataset: h5py.Dataset) -> np.ndarray:
        """Read all texts, as an array of objects."""
        encoded = dataset[()]
        texts = np.empty(encoded.size, object)
        texts[:] = [text.decode() for text in encoded.ravel().tolist()]
        return texts.reshape(encoded.shape)

    def expected_in_hdf5(self, dtype: np.dtype, spec: ColumnSpec) -> str | None:
        import h5py

        return "text" if h5py.check_string_dtype(dtype) is None else None


def is_long(column: pa.ChunkedArray) -> bool:
    """Whether arrays of a column's texts are of objects: NumPy's `str` arrays take 4 bytes times the longest a text."""
    values = pc.list_flatten(column) if pa.types.is_fixed_size_list(column.type) else column
    return (pc.max(pc.binary_length(values)).as_py() or 0) > LARGE_BYTES


def _checked(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise SourceError(f"column {path!r}: expected a string, found {type(value).__name__} {value!r}")
    if "\0" in value or not _is_utf8(value):
        raise SourceError(f"column {path!r}: expected text, found a NUL or a lone surrogate in {value!r}")
    return str(value)


def _is_utf8(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True
