"""What every random-access table can do: rows and batches by position, and selections of rows and columns."""

from __future__ import annotations

import abc
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skyshards.format.columns import ColumnSpec, nest, select, unknown_column
from skyshards.read import query
from skyshards.read.column_info import ColumnInfo, ColumnNames, TableSchema


class RandomAccess(abc.ABC):
    """Rows that are indexed like an array, as nested dicts of NumPy values.

    A subclass says how many rows there are, which columns, what its catalogue holds and how rows are read. Of these
    rows a table has those of `index`, all of them if that is None.
    """

    def __init__(self, columns: tuple[str, ...], index: np.ndarray | None):
        self._columns = columns
        self._index = index

    @property
    @abc.abstractmethod
    def _height(self) -> int:
        """How many rows there are before any selection."""

    @property
    @abc.abstractmethod
    def _leaves(self) -> Mapping[str, ColumnSpec]:
        """All columns that could be read, by dotted name."""

    @property
    @abc.abstractmethod
    def _askable(self) -> Sequence[str]:
        """The columns of `catalog`."""

    @property
    @abc.abstractmethod
    def _description(self) -> str:
        """What tells this table, before any selection, from all others."""

    @abc.abstractmethod
    def _asked(self, name: str) -> pa.ChunkedArray:
        """A column of `catalog`, for these rows."""

    @abc.abstractmethod
    def _narrowed(self, columns: tuple[str, ...], index: np.ndarray | None) -> Self:
        """The same table with other columns and rows."""

    @abc.abstractmethod
    def _start(self, rows: np.ndarray, ahead: bool) -> Callable[[], dict[str, np.ndarray]]:
        """Begin to read rows, counted before any selection; the function that is returned waits for them, by dotted
        name.

        `ahead` says that it will be called only after other work.
        """

    def __len__(self) -> int:
        return self._height if self._index is None else len(self._index)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[position] for position in range(len(self)))

    def __getitem__(self, key: Any) -> dict[str, Any]:
        """Read a row (integer) or a batch (slice, list, array of integers, mask); negative integers count from the end.

        Raises
        ------
        IndexError
            If a row is out of range.
        ShardCorrupted
            If what a shard holds is not what the catalogue says, naming the shard, row and column.

        Examples
        --------
        >>> table[0]["image"].shape
        (525, 525, 3)
        >>> table[[3, 1, 4]]["segmentation"]["array"].shape
        (3, 4, 525, 525)
        """
        position = _integer(key)
        if position is None:
            return nest(self._start(self._positions(key), ahead=False)())
        values = self._start(self._positions([position]), ahead=False)()
        return nest({path: value[0] for path, value in values.items()})

    def __getitems__(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """Rows read as one batch, for PyTorch's `DataLoader(table, batch_size=...)`, which asks for them by this name.

        Its `default_collate` takes no arrays of text: a text column of several values a row comes as lists.
        """
        batch = self._start(self._positions(list(positions)), ahead=False)()
        values = {
            path: array.tolist() if array.dtype.kind == "U" and array.ndim > 1 else array
            for path, array in batch.items()
        }
        return [nest({path: value[number] for path, value in values.items()}) for number in range(len(positions))]

    def _positions(self, key: Any) -> np.ndarray:
        """Positions in this table, as rows of the catalogue."""
        length = len(self)
        if isinstance(key, slice):
            positions = np.arange(*key.indices(length))
        else:
            positions = np.asarray(key)
            if positions.dtype == bool:
                if positions.shape != (length,):
                    raise IndexError(f"a mask of shape {positions.shape} for a table of {length} rows")
                positions = np.flatnonzero(positions)
            elif positions.ndim != 1 or (positions.size and positions.dtype.kind not in "iu"):
                raise TypeError(f"a table is indexed by integers, slices and 1-D arrays of integers, found {key!r:.60}")
            outside = (positions < -length) | (positions >= length)
            if outside.any():
                raise IndexError(f"row {positions[outside][0]} is out of range for a table of {length} rows")
            positions = positions.astype(np.int64)
            positions = np.where(positions < 0, positions + length, positions)
        return positions if self._index is None else self._index[positions]

    def batches(self, keys: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """The batches `table[key]` of some keys, in turn; each is read while the one before it is in use.

        With one thread, as in a worker process of a PyTorch `DataLoader`, each is read when it is asked for.

        Examples
        --------
        >>> for batch in table.batches([[0, 3], [1, 2]]):
        ...     print(batch["image"].shape)
        (2, 525, 525, 3)
        (2, 525, 525, 3)
        """
        ready = None
        for key in keys:
            following = self._start(self._positions(key), ahead=True)
            if ready is not None:
                yield nest(ready())
            ready = following
        if ready is not None:
            yield nest(ready())

    @property
    def schema(self) -> TableSchema:
        """What each column is: name, dtype, shape, unit, description and names of classes, by dotted name.

        Examples
        --------
        >>> table.schema["segmentation.array"].shape
        (4, 525, 525)
        >>> table.schema["scale"].unit
        'deg'
        """
        return TableSchema(ColumnInfo.of(name, self._leaves[name]) for name in self._columns)

    @property
    def column_names(self) -> list[str]:
        """The leaf columns that are read, by dotted name."""
        return list(self._columns)

    @property
    def columns(self) -> ColumnNames[Self]:
        """The same as `column_names`. Called, it is `select_columns`: `table.columns(["image", "ra"])`."""
        return ColumnNames(self._columns, self.select_columns)

    def select_columns(self, names: Iterable[str]) -> Self:
        """The same rows with only these columns, in their own order.

        Parameters
        ----------
        names : list of str
            Dotted names; a group's name stands for all in it.

        Raises
        ------
        KeyError
            For a name that there is not.
        TypeError
            For a string in place of a list.

        Examples
        --------
        >>> table.select_columns(["image", "segmentation"])[[3, 1, 4]]["image"].shape
        (3, 525, 525, 3)
        """
        return self._narrowed(select(self._leaves, names), self._index)

    def select(self, rows: Any) -> Self:
        """The rows at these positions (or where this mask is true), in this order.

        Examples
        --------
        >>> table.select([2, 0])[:]["ra"].shape
        (2,)
        """
        return self._narrowed(self._columns, self._positions(rows))

    def find(self, ids: Any, by: str = "object_id") -> Self:
        """The rows with these names or numbers, in the order given; all of them where several rows share a name.

        Parameters
        ----------
        ids : str, int or sequence of these
        by : str
            The column to look in.

        Raises
        ------
        KeyError
            If some are absent, naming them, or there is no such column.

        Examples
        --------
        >>> table.find(["1-100024", "1-100038"]).catalog["object_id"].to_pylist()
        ['1-100024', '1-100038']
        """
        if by not in self._askable:
            raise unknown_column(by, self._askable)
        return self.select(query.named(ids, self._asked(by), by))

    def where(self, condition: str | pc.Expression) -> Self:
        """The rows for which a condition on the catalogue holds.

        Parameters
        ----------
        condition : str or pyarrow.compute.Expression
            Comparisons, arithmetic as in NumPy, `and`, `or`, `not` and `in`, or a pyarrow expression such as
            `pc.field("total_classifications") >= 20`. In both, integers divide as in NumPy: 1 / 2 is 0.5.

        Raises
        ------
        KeyError
            If it uses a column that is not in the catalogue.
        TypeError, UsageError
            If it is not a condition.

        Examples
        --------
        >>> barred = table.where("gz_bar_votes > 0.5 * total_classifications")
        >>> sure = table.where("segmentation.vote_fraction[3] >= 0.8 and not total_classifications < 20")
        >>> len(sure) <= len(barred) < len(table)
        True
        """
        return self.select(query.matching(condition, self._askable, self._asked))


def _integer(key: Any) -> int | None:
    """A key that stands for one row."""
    if getattr(key, "ndim", 0):  # a tensor of one integer would pass for an integer
        return None
    try:
        return operator.index(key)
    except TypeError:
        return None
