"""The interface of column kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import h5py
    import pyarrow as pa

    from skyshards.format.columns import ColumnSpec

LARGE_BYTES = 256
"""Columns with more bytes per row than this, or with two or more dimensions, are stored one chunk per row and read by
byte range; the catalogue holds the values of all others."""

Json = Any
"""A value of a light column between source and shard, in a type of JSON."""
Demand = tuple[Any, str, Any]
"""A condition, what was expected, and what was found."""
Allocate = Callable[[tuple[int, ...], str], "np.ndarray"]
"""Returns a new array of a shape and dtype, with arbitrary content."""


class Declared(NamedTuple):
    """What a `datasets` feature declares, in terms of `ColumnSpec`."""

    kind: str
    dtype: str
    shape: tuple[int, ...] = ()
    classes: tuple[str, ...] | None = None


class Kind(ABC):
    """A kind of column: its form as a feature, in NumPy, HDF5, Arrow, card and Croissant.

    Methods under "Small" are for columns in the catalogue, those under "Large" for columns stored one value per chunk;
    a kind that is always small or always large lacks the others.
    """

    name: ClassVar[str]
    """The name in manifests."""
    features: ClassVar[str]
    """The `datasets` features of this kind, for error messages."""
    varies: ClassVar[bool] = False
    """Whether values differ in length; they are then variable-length in HDF5."""
    format_notes: ClassVar[str] = ""
    """Notes for the card on such a `{column}` in the formats of `datasets`."""

    @abstractmethod
    def declared(self, feature: Any) -> Declared | None:
        """Return what a feature declares; None if it is not of this kind."""

    @abstractmethod
    def feature(self, spec: ColumnSpec) -> Any:
        """Return the feature for a column. Raises `ValueError` or `AttributeError` if `datasets` has none."""

    @abstractmethod
    def demands(self, spec: ColumnSpec) -> Iterator[Demand]:
        """Yield the conditions that a manifest's spec must meet."""

    @abstractmethod
    def nbytes(self, spec: ColumnSpec) -> int:
        """Return the bytes of a value in memory (0 if that varies)."""

    @abstractmethod
    def is_large(self, spec: ColumnSpec) -> bool:
        """Whether values are stored one per chunk and read by byte range."""

    @abstractmethod
    def words(self, spec: ColumnSpec) -> str:
        """Return the type as shown in a table, such as `float32`."""

    def is_list(self, spec: ColumnSpec) -> bool:
        """Whether a value is several numbers or strings."""
        return bool(spec.shape)

    def is_image(self, spec: ColumnSpec) -> bool:
        """Whether values are images: files, colours [H, W, 3 or 4], or floats [H, W]; no masks."""
        return False

    def absent(self, spec: ColumnSpec) -> Any:
        """Return the usual fill value of rows without one, as declared with `missing`; None if there is none."""
        return None

    def card_words(self, spec: ColumnSpec) -> str:
        """Return the type as shown in a card."""
        return self.words(spec)

    def stock_feature(self, feature: Any) -> Any:
        """Return the feature of a column under stock `datasets`, as declared in the card."""
        return feature

    @abstractmethod
    def croissant_type(self, spec: ColumnSpec) -> str:
        """Return the `dataType` in Croissant."""

    @abstractmethod
    def encode(self, value: Any, spec: ColumnSpec) -> Json | bytes:
        """Encode a value for storage; for a large column, as bytes.

        Raises
        ------
        SourceError
            If the column cannot hold the value; names the column, what was expected and what was found.
        """

    def missing(self, value: Any, spec: ColumnSpec) -> Json:
        """Return a declared fill value in its form for manifests.

        Raises `TypeError` or `ValueError` if it cannot stand for a missing value.
        """
        raise TypeError("a column of this kind has no value for missing ones; leave such rows out")

    def fill(self, spec: ColumnSpec) -> Any:
        """Return the value of a row without one, in a type of JSON."""
        return [spec.missing] * spec.shape[0] if spec.shape else spec.missing

    def encode_image(self, value: Any, spec: ColumnSpec) -> tuple[bytes, np.ndarray]:
        """Encode a value of a large column that has images; also return its pixels. Raises as `encode`."""
        raise NotImplementedError(f"{spec.path}: no images")

    def expected_in_hdf5(self, dtype: np.dtype, spec: ColumnSpec) -> str | None:
        """Return the expected dtype in words if the dtype in a shard is wrong, else None.

        By default, for values that vary.
        """
        import h5py  # not needed for reading

        return None if h5py.check_vlen_dtype(dtype) == np.dtype(spec.dtype) else f"{spec.dtype} of any length"

    @abstractmethod
    def to_arrow(self, values: Any, feature: Any) -> pa.Array:
        """Convert a column of a batch to the Arrow type of this feature."""

    # Small

    shares_memory: ClassVar[bool] = True
    """Whether NumPy can use Arrow's memory directly."""

    def arrow_type(self, spec: ColumnSpec) -> pa.DataType:
        """Return the Arrow type of the column in the catalogue, or in an export."""
        raise NotImplementedError(f"{spec.path}: not in the catalogue")

    def from_arrow(self, column: pa.ChunkedArray, spec: ColumnSpec, objects: bool) -> np.ndarray:
        """Convert values of the catalogue to an array, of objects if told, where NumPy cannot share Arrow's memory."""
        raise NotImplementedError(f"{spec.path}: read where Arrow has it, or not in the catalogue")

    def to_hdf5(self, values: Sequence[Any], spec: ColumnSpec) -> np.ndarray:
        """Convert all values of a shard to the dtype in HDF5."""
        raise NotImplementedError(f"{spec.path}: not stored as a whole")

    def from_hdf5(self, dataset: h5py.Dataset) -> np.ndarray:
        """Read all values of a shard."""
        return dataset[()]

    # Large

    def is_raw(self, spec: ColumnSpec) -> bool:
        """Whether values are stored as they lie in a batch's memory."""
        return False

    def allocate(self, spec: ColumnSpec, sizes: np.ndarray, empty: Allocate) -> tuple[Any, Any]:
        """Return a batch to be filled, and the place of each of its values, which `decode` takes as `out`.

        `sizes` are the bytes of the stored values. A batch of None cannot be allocated before its values are decoded;
        these then go to the places, a list.
        """
        raise NotImplementedError(f"{spec.path}: not stored a value at a time")

    def decode(self, content: bytes, spec: ColumnSpec, out: np.ndarray | None = None) -> np.ndarray:
        """Decode a stored value, into the array `out` if it fits. Raises `ValueError` if the bytes are damaged."""
        raise NotImplementedError(f"{spec.path}: not stored a value at a time")


def in_list(item: Any, shape: tuple[int, ...]) -> Any:
    """Return the feature of a list of this shape (at most one dimension), the inverse of `element`."""
    import datasets  # slow, and not needed for reading

    return datasets.Sequence(item, length=shape[0]) if shape else item


def element(feature: Any) -> tuple[Any, tuple[int, ...]]:
    """Return the feature of a list's values and the list's shape; for any other feature, itself and ()."""
    if hasattr(feature, "feature") and feature.length != -1:  # List, or Sequence before datasets 4
        return feature.feature, (feature.length,)
    return feature, ()
