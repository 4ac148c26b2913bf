"""What a kind of column says of itself: the questions that each entry of the table answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    import h5py
    import numpy as np
    import pyarrow as pa

    from skyshards.format.columns import ColumnSpec

LARGE_BYTES = 256
"""A column whose rows take more bytes than this, or have two dimensions, is stored a chunk per row and read by byte
range; the catalogue holds the values of all the others."""

Json = Any
"""A value of a small column between source and shard: what JSON can hold."""
Demand = tuple[Any, str, Any]
"""What must be true, what was expected, and what was found instead."""


class Declared(NamedTuple):
    """What a `datasets` feature declares, in the words of `ColumnSpec`."""

    kind: str
    dtype: str
    shape: tuple[int, ...] = ()
    classes: tuple[str, ...] | None = None


class Kind(ABC):
    """A kind of column: what it is as a feature, in NumPy, HDF5, Arrow, card and Croissant.

    Methods under "Small" are asked of columns that the catalogue holds, those under "Large" of columns that are stored
    a value at a time; a kind of which there are only small or only large columns lacks the others.
    """

    name: ClassVar[str]
    """In manifests."""
    features: ClassVar[str]
    """The `datasets` features that are of this kind, for messages."""
    varies: ClassVar[bool] = False
    """Whether values take differing numbers of bytes: HDF5 then has them with variable length, a batch as a list."""
    format_notes: ClassVar[str] = ""
    """What a card says of such a `{column}` in the formats of `datasets`."""

    @abstractmethod
    def declared(self, feature: Any) -> Declared | None:
        """What a feature declares; None if it is not of this kind."""

    @abstractmethod
    def feature(self, spec: ColumnSpec) -> Any:
        """The feature that declares such a column. Raises `ValueError` or `AttributeError` if `datasets` has none."""

    @abstractmethod
    def demands(self, spec: ColumnSpec) -> Iterator[Demand]:
        """What must be true of the spec that a manifest has."""

    @abstractmethod
    def nbytes(self, spec: ColumnSpec) -> int:
        """Bytes that a value takes in memory (0 where that varies)."""

    @abstractmethod
    def is_large(self, spec: ColumnSpec) -> bool:
        """Whether rows are stored one to a chunk and read by byte range."""

    @abstractmethod
    def words(self, spec: ColumnSpec) -> str:
        """The type of values as a table shows it, such as `float32`."""

    def card_words(self, spec: ColumnSpec) -> str:
        """The type of values as a card names it."""
        return self.words(spec)

    def stock_feature(self, feature: Any) -> Any:
        """The feature that stock `datasets` gives a column, by the card."""
        return feature

    @abstractmethod
    def croissant_type(self, spec: ColumnSpec) -> str:
        """The `dataType` of Croissant."""

    @abstractmethod
    def encode(self, value: Any, spec: ColumnSpec) -> Json | bytes:
        """A value as it is kept: the stored bytes if the column is large.

        Raises
        ------
        SourceError
            Naming the column, what was expected and what was found, if the column cannot hold it.
        """

    @abstractmethod
    def to_arrow(self, values: Any, feature: Any) -> pa.Array:
        """A column of a batch, as Arrow has a column of this feature."""

    # Small

    shares_memory: ClassVar[bool] = True
    """Whether NumPy can read the values where Arrow has them."""

    def arrow_type(self, spec: ColumnSpec) -> pa.DataType:
        """The Arrow type of the column in the catalogue."""
        raise NotImplementedError(f"{spec.path}: not in the catalogue")

    def from_arrow(self, column: pa.ChunkedArray, spec: ColumnSpec) -> np.ndarray:
        """Values of the catalogue as an array, where NumPy does not share Arrow's memory."""
        raise NotImplementedError(f"{spec.path}: read where Arrow has it, or not in the catalogue")

    def to_hdf5(self, values: Sequence[Any], spec: ColumnSpec) -> np.ndarray:
        """All values of a shard, in the dtype that HDF5 is to have."""
        raise NotImplementedError(f"{spec.path}: not stored as a whole")

    def from_hdf5(self, dataset: h5py.Dataset) -> np.ndarray:
        """All values of a shard."""
        return dataset[()]

    def expected_in_hdf5(self, dtype: np.dtype, spec: ColumnSpec) -> str | None:
        """What a dataset should be, if a shard has it with a wrong dtype."""
        return None

    # Large

    def decode(self, content: bytes, spec: ColumnSpec, out: np.ndarray | None = None) -> np.ndarray:
        """A stored value, in the array `out` if it fits. Raises `ValueError` if the bytes are damaged."""
        raise NotImplementedError(f"{spec.path}: not stored a value at a time")


def in_list(item: Any, shape: tuple[int, ...]) -> Any:
    """The feature of a list of this shape, of one dimension or none: the inverse of `element`."""
    import datasets  # slow, and whoever only reads has no features

    return datasets.Sequence(item, length=shape[0]) if shape else item


def element(feature: Any) -> tuple[Any, tuple[int, ...]]:
    """The feature of the values in a list, and the list's shape; those of any other feature are its own and ()."""
    if hasattr(feature, "feature") and feature.length != -1:  # List, or Sequence before datasets 4
        return feature.feature, (feature.length,)
    return feature, ()
