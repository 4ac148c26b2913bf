"""Lists whose length differs from row to row, such as spectra: of numbers, bools or labels."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from skyshards.errors import SourceError
from skyshards.format.arrow_arrays import numbers
from skyshards.format.kinds.base import Allocate, Declared, Demand, Json, Kind
from skyshards.format.kinds.number import Number, is_dtype

if TYPE_CHECKING:
    from skyshards.format.columns import ColumnSpec

_NUMBER = Number()


class Ragged(NamedTuple):
    """A batch of lists of different lengths: `values, lengths = batch["flux"]`.

    PyTorch's `DataLoader` and JAX convert both arrays like any others, since this is a named tuple. `skyshards.pad`
    makes a dense array of it.

    Attributes
    ----------
    values : numpy.ndarray [total]
        The values of all rows, one row after the other.
    lengths : numpy.ndarray, int64 [rows]
        The number of values of each row.
    """

    values: np.ndarray
    lengths: np.ndarray

    @property
    def offsets(self) -> np.ndarray:
        """Where each row starts in `values`, and where the last one ends: int64 [rows + 1]."""
        return np.concatenate([[0], np.cumsum(self.lengths)])

    def rows(self) -> list[np.ndarray]:
        """Return the values of each row, as views."""
        ends = self.offsets.tolist()
        return [self.values[start:end] for start, end in zip(ends, ends[1:], strict=False)]


class Places(Sequence):
    """The values of each row of a batch of lists, as views that are made when they are asked for."""

    def __init__(self, batch: Ragged):
        self._batch = batch

    @functools.cached_property
    def _offsets(self) -> np.ndarray:
        return self._batch.offsets

    def __len__(self) -> int:
        return len(self._batch.lengths)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        return self._batch.values[self._offsets[place] : self._offsets[place + 1]]


class RaggedList(Kind):
    name = "ragged"
    features = "List of any length of numbers, bools or ClassLabel"
    varies = True

    def declared(self, feature: Any) -> Declared | None:
        import datasets  # slow, and not needed for reading

        if getattr(feature, "length", None) != -1:  # of List, or Sequence before datasets 4
            return None
        item = feature.feature
        if isinstance(item, datasets.ClassLabel):
            return Declared(self.name, "int64", (), tuple(item.names))
        return Declared(self.name, item.dtype) if isinstance(item, datasets.Value) and is_dtype(item.dtype) else None

    def feature(self, spec: ColumnSpec) -> Any:
        import datasets

        return datasets.Sequence(_NUMBER.feature(spec))

    def demands(self, spec: ColumnSpec) -> Iterator[Demand]:
        yield is_dtype(spec.dtype), f"a dtype of {spec.path!r}", spec.dtype
        yield not spec.shape, f"no shape of {spec.path!r}, a list of any length", spec.shape

    def nbytes(self, spec: ColumnSpec) -> int:
        return 0

    def absent(self, spec: ColumnSpec) -> Any:
        return ()

    def is_large(self, spec: ColumnSpec) -> bool:
        return True

    def is_list(self, spec: ColumnSpec) -> bool:
        return True

    def words(self, spec: ColumnSpec) -> str:
        return f"list of {spec.dtype}"

    def croissant_type(self, spec: ColumnSpec) -> str:
        return _NUMBER.croissant_type(spec)

    def encode(self, value: Any, spec: ColumnSpec) -> bytes:
        shape = np.shape(value)
        if len(shape) != 1:
            found = f"shape {shape}" if shape else f"{type(value).__name__} {value!r:.40}"
            raise SourceError(f"column {spec.path!r}: expected a list of {spec.dtype}, found {found}")
        return _NUMBER.checked(value, replace(spec, shape=shape, missing=None)).tobytes() if shape[0] else b""

    def missing(self, value: Any, spec: ColumnSpec) -> Json:
        if not isinstance(value, (list, tuple)) or len(value):
            raise TypeError("expected [], an empty list")
        return ()

    def to_arrow(self, values: Ragged, feature: Any) -> pa.Array:
        offsets = np.zeros(len(values.lengths) + 1, np.int32)
        np.cumsum(values.lengths, dtype=np.int32, out=offsets[1:])
        return pa.ListArray.from_arrays(numbers(offsets), numbers(values.values))

    def arrow_type(self, spec: ColumnSpec) -> pa.DataType:
        return pa.list_(_NUMBER.arrow_type(spec))

    def is_raw(self, spec: ColumnSpec) -> bool:
        return True

    def allocate(self, spec: ColumnSpec, sizes: np.ndarray, empty: Allocate) -> tuple[Ragged, Places]:
        lengths = empty((len(sizes),), "int64")
        np.floor_divide(sizes, np.dtype(spec.dtype).itemsize, out=lengths)
        batch = Ragged(empty((int(lengths.sum()),), spec.dtype), lengths)
        return batch, Places(batch)

    def decode(self, content: bytes, spec: ColumnSpec, out: np.ndarray | None = None) -> np.ndarray:
        values = np.frombuffer(content, spec.dtype)
        if out is None:
            return values
        out[...] = values
        return out
