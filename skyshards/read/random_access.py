"""Base of random-access tables: rows and batches by position, selections of rows and columns."""

from __future__ import annotations

import abc
import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skyshards.errors import UsageError
from skyshards.format.column_info import ColumnInfo, TableSchema
from skyshards.format.columns import ColumnSpec, nest, select, unknown_column
from skyshards.format.folds import checked
from skyshards.format.kinds.base import Allocate
from skyshards.format.kinds.ragged import Ragged
from skyshards.read import angles, query
from skyshards.read.column_names import ColumnNames
from skyshards.read.padding import Padded, Padding
from skyshards.read.shown import plot
from skyshards.text import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skyshards.pictures.drawing import Drawing

Batch = np.ndarray | Ragged | Padded
"""The values of a column for several rows."""


class RandomAccess(abc.ABC):
    """A table indexed like an array; rows are nested dicts of NumPy values.

    A subclass defines the number of rows, the columns, the catalogue and how rows are read. `index` holds the selected
    rows, None for all; `padding` says how lists are padded, None for not at all.
    """

    def __init__(self, columns: tuple[str, ...], index: np.ndarray | None, padding: Padding | None):
        self._columns = columns
        self._index = index
        self._padding = padding

    @property
    @abc.abstractmethod
    def _height(self) -> int:
        """The number of rows before any selection."""

    @property
    @abc.abstractmethod
    def _leaves(self) -> Mapping[str, ColumnSpec]:
        """All readable columns by dotted name."""

    @property
    @abc.abstractmethod
    def _askable(self) -> Sequence[str]:
        """The columns of `catalog`."""

    @property
    @abc.abstractmethod
    def _description(self) -> str:
        """A text that identifies this table, before any selection."""

    @property
    @abc.abstractmethod
    def _naming(self) -> str:
        """The column of `catalog` that names rows."""

    @abc.abstractmethod
    def _asked(self, name: str) -> pa.ChunkedArray:
        """Return a column of `catalog` for the selected rows."""

    @abc.abstractmethod
    def _view(self, columns: tuple[str, ...], index: np.ndarray | None, padding: Padding | None) -> Self:
        """Return the same table with other columns, rows and padding."""

    @abc.abstractmethod
    def _start(self, rows: np.ndarray, ahead: bool, empty: Allocate | None) -> Callable[[], dict[str, Batch]]:
        """Start reading rows (numbered before any selection); return a function that waits for their values.

        The values are by dotted name. With `ahead`, the caller does other work before calling the function. `empty`
        allocates numeric arrays; None for the table's own memory.
        """

    def __len__(self) -> int:
        return self._height if self._index is None else len(self._index)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[position] for position in range(len(self)))

    def __getitem__(self, key: Any) -> dict[str, Any]:
        """Read a row (integer) or a batch (slice, list, array of integers, mask); negative integers count from the end.

        A batch of lists of any length is a `Ragged`, or after `with_padding` a `Padded`.

        Raises
        ------
        IndexError
            If a row is out of range.
        ShardCorrupted
            If a shard does not match the catalogue; names the shard, row and column.

        Examples
        --------
        >>> table[0]["image"].shape
        (525, 525, 3)
        >>> table[[3, 1, 4]]["segmentation"]["array"].shape
        (3, 4, 525, 525)
        """
        position = _integer(key)
        if position is None:
            return nest(self._start(self._positions(key), ahead=False, empty=None)())
        values = self._start(self._positions([position]), ahead=False, empty=None)()
        return nest({path: _rows(value)[0] for path, value in values.items()})

    def __getitems__(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """Read rows as one batch; PyTorch's `DataLoader(table, batch_size=...)` calls this method.

        For `default_collate`, several texts of a row come as a list, and unsigned 64-bit integers as arrays.
        """
        batch = self._start(self._positions(list(positions)), ahead=False, empty=None)()
        values = {path: _collatable(_rows(value)) for path, value in batch.items()}
        return [nest({path: value[number] for path, value in values.items()}) for number in range(len(positions))]

    def _positions(self, key: Any) -> np.ndarray:
        """Convert positions in this table to rows of the catalogue."""
        length = len(self)
        if isinstance(key, slice):
            positions = np.arange(*key.indices(length))
        else:
            positions = np.asarray(key)
            if positions.dtype == bool:
                if positions.shape != (length,):
                    raise IndexError(f"expected a mask of shape ({length},), found {positions.shape}")
                positions = np.flatnonzero(positions)
            elif positions.ndim != 1 or (positions.size and positions.dtype.kind not in "iu"):
                hint = f"; see select_columns([{key!r}]) and find({key!r})" if isinstance(key, str) else ""
                expected = "a table is indexed by integers, slices and 1-D arrays of integers"
                raise TypeError(f"{expected}, found {key!r:.60}{hint:.200}")
            lowest, highest = (int(positions.min()), int(positions.max())) if positions.size else (0, -1)
            if lowest < -length or highest >= length:
                first = next(row for row in positions.tolist() if not -length <= row < length)
                raise IndexError(f"row {first} is out of range for a table of {counted(length, 'rows')}")
            positions = positions.astype(np.int64)
            if lowest < 0:
                positions[positions < 0] += length
        return positions if self._index is None else self._index[positions]

    def batches(
        self, keys: Iterable[Any], empty: Callable[[tuple[int, ...], str], np.ndarray] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Iterate over the batches `table[key]` for each key; each is read while the one before it is in use.

        With one thread, as in a worker process of a PyTorch `DataLoader`, batches are read on demand.

        Parameters
        ----------
        keys : iterable
            Slices, lists, arrays of integers or masks.
        empty : callable, optional
            Allocates all numeric arrays of a batch, called as `numpy.empty(shape, dtype)` with the name of a dtype. In
            pinned memory, such as that of `cupyx.empty_pinned`, a batch can be copied to a GPU while the next one is
            read. By default, the memory of dropped batches is used again.

        Raises
        ------
        UsageError
            If `empty` returns something else than an array of that shape and dtype in C order.

        Examples
        --------
        >>> for batch in table.batches([[0, 3], [1, 2]]):
        ...     print(batch["image"].shape)
        (2, 525, 525, 3)
        (2, 525, 525, 3)
        """
        allocate = None if empty is None else functools.partial(_allocated, empty)
        ready = None
        for key in keys:
            following = self._start(self._positions(key), ahead=True, empty=allocate)
            if ready is not None:
                yield nest(ready())
            ready = following
        if ready is not None:
            yield nest(ready())

    @property
    def schema(self) -> TableSchema:
        """Descriptions of the columns by dotted name: dtype, shape, unit, description and class names.

        Examples
        --------
        >>> table.schema["segmentation.array"].shape
        (4, 525, 525)
        >>> table.schema["scale"].unit
        'deg'
        """
        return TableSchema(ColumnInfo.of(name, self._leaves[name]) for name in self._columns)

    @property
    @abc.abstractmethod
    def drawing(self) -> Drawing:
        """How a row is drawn as a picture, from which of the table's columns.

        Examples
        --------
        >>> drawn = table.select_columns(table.drawing.columns)
        >>> table.drawing.picture(drawn[0], size=160).shape
        (160, 160, 3)
        """

    def plot(self, rows: Any = None) -> Figure:
        """Draw rows with matplotlib: a panel each, with its `object_id` and labels.

        Parameters
        ----------
        rows : int, str, or sequence of these, optional
            Integers are positions in this table, text is an `object_id`; default: the first rows.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        IndexError
            If a position is out of range.
        KeyError
            If no row has an `object_id`; the message lists similar ones.
        UsageError
            If matplotlib is not installed, no column has images, or there are more than 100 rows.
        ShardCorrupted
            If a row is damaged.

        Examples
        --------
        >>> table.plot([0, 3]).savefig("galaxies.png")  # doctest: +SKIP
        >>> table.plot("1-100031")  # doctest: +SKIP
        """
        return plot(self, rows)

    @property
    def column_names(self) -> list[str]:
        """The dotted names of the columns that are read."""
        return list(self._columns)

    @property
    def columns(self) -> ColumnNames[Self]:
        """Same as `column_names`; calling it is `select_columns`: `table.columns(["image", "ra"])`."""
        return ColumnNames(self._columns, self.select_columns)

    def select_columns(self, names: Iterable[str]) -> Self:
        """Select columns; they keep their order in the table.

        Parameters
        ----------
        names : list of str
            Dotted names; a group's name selects all its members.

        Raises
        ------
        KeyError
            If there is no such column.
        TypeError
            If `names` is a string.

        Examples
        --------
        >>> table.select_columns(["image", "segmentation"])[[3, 1, 4]]["image"].shape
        (3, 525, 525, 3)
        """
        return self._view(select(self._leaves, names), self._index, self._padding)

    def with_padding(self, length: int | None = None, fill: float = 0) -> Self:
        """Read lists of any length into dense arrays: a row's and a batch's are `Padded`, the values and a mask.

        Faster than `skyshards.pad`, which copies the values again. PyTorch's `DataLoader` collates such rows by itself.

        Parameters
        ----------
        length : int, optional
            Length of the dense arrays; longer lists are cut. By default, that of the longest list of each batch.
        fill : number
            Value after the end of each list.

        Raises
        ------
        UsageError
            If `length` is negative.

        Examples
        --------
        >>> table = skyshards.open("data/sdss_spectra").with_padding()  # doctest: +SKIP
        >>> flux, mask = table[[3, 1, 4]]["spectrum"]["flux"]  # doctest: +SKIP
        >>> flux.shape  # doctest: +SKIP
        (3, 3849)
        """
        return self._view(self._columns, self._index, Padding.checked(length, fill))

    def select(self, rows: Any) -> Self:
        """Select rows by position, in the order given, or by a mask.

        Examples
        --------
        >>> table.select([2, 0])[:]["ra"].shape
        (2,)
        """
        return self._view(self._columns, self._positions(rows), self._padding)

    def find(self, ids: Any, by: str | None = None) -> Self:
        """Select rows by name or number, in the order given; all of them where several rows share a name.

        Parameters
        ----------
        ids : str, int or sequence of these
        by : str, optional
            The column to look in; default: `object_id`, in a join that of the first table.

        Raises
        ------
        KeyError
            If no row has some of the names (the message lists them), or there is no such column.

        Examples
        --------
        >>> table.find(["1-100024", "1-100038"]).catalog["object_id"].to_pylist()
        ['1-100024', '1-100038']
        """
        by = self._naming if by is None else by
        if by not in self._askable:
            raise unknown_column(by, self._askable)
        return self.select(query.named(ids, self._asked(by), by))

    def folds(self, folds: int | Iterable[int]) -> Self:
        """Select the rows in some folds: parts of the sky, 0 to 9, that are the same in every dataset.

        A galaxy has the same fold in all datasets, so that a model trained on some folds of one is not tested on its
        own training galaxies in another. Rows near a border (1.3 %) are in no fold. Of a join, rows are in a fold if
        all their objects are.

        Parameters
        ----------
        folds : int or sequence of int

        Raises
        ------
        UsageError
            If they are not numbers from 0 to 9.

        Examples
        --------
        >>> train, test = table.folds(range(8)), table.folds([8, 9])
        >>> len(train) + len(test) <= len(table)
        True
        """
        return self.select(np.isin(self._folds(), checked(folds)))

    @abc.abstractmethod
    def _folds(self) -> np.ndarray:
        """Return the fold of each selected row, -1 for none."""

    def cone(self, ra: Any, dec: Any = None, radius: Any = None) -> Self:
        """Select the rows within a radius of a position, edge included; in a join, by position in the first table.

        Call it as `cone(ra, dec, radius)`, with numbers in degrees or Quantities, or as `cone(SkyCoord, radius)`.

        Raises
        ------
        UsageError
            If the cone is invalid.

        Examples
        --------
        >>> near = table.cone(ra=180.0, dec=30.0, radius=10.0)
        >>> import astropy.units as u
        >>> from astropy.coordinates import SkyCoord
        >>> len(table.cone(SkyCoord("12h00m +30d00m"), 600 * u.arcmin)) == len(near)
        True
        """
        ra, dec, radius = angles.cone(ra, dec, radius)
        return self.select(self._in_cone((ra, dec), radius))

    @abc.abstractmethod
    def _in_cone(self, centre: tuple[float, float], radius: float) -> np.ndarray:
        """Return the positions of the selected rows within `radius` of `centre` (ra, dec), all in degrees."""

    def where(self, condition: str | pc.Expression) -> Self:
        """Select the rows for which a condition on the catalogue is true.

        Parameters
        ----------
        condition : str or pyarrow.compute.Expression
            Comparisons, arithmetic as in NumPy, `and`, `or`, `not` and `in`, or a pyarrow expression such as
            `pc.field("total_classifications") >= 20`. In both, integers divide as in NumPy: 1 / 2 is 0.5. A text
            condition is false for rows that lack a value of a column that it uses; an expression sees nulls there, and
            `pc.field("nsa_id").is_null()` selects them. A join has the columns of `catalog`: `"gz3d.nsa_id > 0"`.

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
        return self.select(self._matching(condition))

    def _matching(self, condition: str | pc.Expression) -> np.ndarray:
        """Return the selected rows for which a condition is true, as a mask."""
        return query.matching(condition, self._askable, self._asked)


def _allocated(empty: Callable[[tuple[int, ...], str], Any], shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Return what a user's `empty` allocates. Raises `UsageError` unless values can be read into it."""
    found = empty(shape, dtype)
    fits = isinstance(found, np.ndarray) and (found.shape, found.dtype) == (shape, np.dtype(dtype))
    if not fits or not found.flags.carray:
        words = f"{found.dtype} {list(found.shape)}" if isinstance(found, np.ndarray) else f"a {type(found).__name__}"
        raise UsageError(f"empty: expected a writable array in C order, {dtype} {list(shape)}, found {words}")
    return found


def _rows(values: Batch) -> Any:
    """Return the value of each row of a batch."""
    if isinstance(values, Padded):
        return [Padded(*row) for row in zip(*values, strict=True)]
    return values.rows() if isinstance(values, Ragged) else values


def _collatable(values: Any) -> Any:
    """Return the values of rows in types that PyTorch's `default_collate` takes: no arrays of text, no numpy.uint64."""
    if not isinstance(values, np.ndarray):
        return values
    if values.dtype.kind in "UO" and values.ndim > 1:
        return values.tolist()
    return [np.asarray(value) for value in values] if values.dtype == np.uint64 and values.ndim == 1 else values


def _integer(key: Any) -> int | None:
    """Return the key as an integer if it selects one row."""
    if getattr(key, "ndim", 0):  # a tensor of one integer would pass for an integer
        return None
    try:
        return operator.index(key)
    except TypeError:
        return None
