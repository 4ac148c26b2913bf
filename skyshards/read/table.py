"""Random access to a built dataset: `skyshards.open(folder)` returns a table indexed like an array."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skyshards.errors import FolderError
from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds.base import Allocate
from skyshards.format.layout import CRC32, SIZE, SPLIT, START
from skyshards.format.moments import ChannelStatistics, of_shards
from skyshards.format.provenance import Origin
from skyshards.read.opened import OpenedFolder
from skyshards.read.padding import Padding
from skyshards.read.random_access import Batch, RandomAccess
from skyshards.read.shared_memory import recycler
from skyshards.read.shown import html
from skyshards.read.store import store_at
from skyshards.text import counted

if TYPE_CHECKING:
    from skyshards.pictures.drawing import Drawing


def open_table(
    folder: str | os.PathLike,
    split: str | None = None,
    *,
    threads: int | None = None,
    decode: bool = True,
    storage_options: dict[str, Any] | None = None,
) -> Table:
    """Open a built dataset for random access.

    Parameters
    ----------
    folder : path or URL
        A folder on disk (`~` is expanded), or an fsspec URL, such as `https://…`, `hf://…` or `s3://…`.
    split : str, optional
        Select the rows of this split.
    threads : int, optional
        Number of threads that read and decode a batch; default: the usable cores, or one in a worker process of a
        PyTorch `DataLoader`.
    decode : bool
        Decode image files to uint8 arrays, or return their bytes.
    storage_options : dict, optional
        Options for the file system of a URL.

    Returns
    -------
    Table

    Raises
    ------
    FolderError
        If the folder is not a built dataset, or has no such split.

    Examples
    --------
    >>> import skyshards
    >>> table = skyshards.open("data/gz3d")
    >>> row = table[0]
    >>> row["image"].shape
    (525, 525, 3)
    """
    data = OpenedFolder(store_at(folder, storage_options), threads, decode)
    table = Table(data, tuple(data.manifest.specs))
    if split is None:
        return table
    if split not in data.manifest.splits:
        raise FolderError(f"{os.fspath(folder)}: no split {split!r}; available: {', '.join(data.manifest.splits)}")
    return table.select(data.columns.array(SPLIT) == data.manifest.splits.index(split))


class FolderFormat(NamedTuple):
    """The format version of a folder, and the program that wrote it."""

    version: int
    written_by: str


class Table(RandomAccess):
    """Random access to the rows of a built dataset, in the same order as stock `load_dataset`.

    `table[i]` is one row, a nested dict of NumPy values; `table[a:b]`, `table[[3, 1, 4]]` and `table[array]` are
    batches, with a first dimension for the rows. Dtypes are those of the shards. Selections (`select_columns`,
    `select`, `find`, `cone`, `where`) return tables and read nothing.

    A table can be forked and pickled, as data loaders do; a pickle holds the dataset's location, not its data. Loading
    it raises `FolderError` if the dataset was built further since, as its row numbers may have changed.
    """

    def __init__(
        self,
        data: OpenedFolder,
        columns: tuple[str, ...],
        index: np.ndarray | None = None,
        padding: Padding | None = None,
    ):
        super().__init__(columns, index, padding)
        self._data = data

    def __reduce__(self):
        return Table, (self._data, self._columns, self._index, self._padding)

    @property
    def _height(self) -> int:
        return len(self._data.columns)

    @property
    def _leaves(self) -> Mapping[str, ColumnSpec]:
        return self._data.manifest.specs

    def _view(self, columns: tuple[str, ...], index: np.ndarray | None, padding: Padding | None) -> Table:
        return Table(self._data, columns, index, padding)

    @property
    def _naming(self) -> str:
        return "object_id"

    @property
    def _title(self) -> str:
        return f"Table of {self.name}{', simulated' if self.simulated else ''}: {counted(len(self), 'rows')}"

    def __repr__(self) -> str:
        columns = "\n".join(f"  {column}" for column in self.schema.values())
        return f"{self._title} at {self._data.reader.store}\n{columns}"

    def _repr_html_(self) -> str:
        return html(self, self._title, f"at {self._data.reader.store}")

    def _start(self, rows: np.ndarray, ahead: bool, empty: Allocate | None) -> Callable[[], dict[str, Batch]]:
        specs, memory = self._data.manifest.specs, empty or recycler(self._data.memory).empty
        heavy = (specs[path] for path in self._columns if specs[path].heavy)
        requests = self._data.requests(heavy, rows, self._padding, memory)
        finish = self._data.reader.start(list(requests.values()), ahead)

        def values() -> dict[str, Batch]:
            light = {
                path: self._data.light(specs[path], rows, memory) for path in self._columns if path not in requests
            }
            finish()
            heavy = {path: self._data.stack(request, memory) for path, request in requests.items()}
            return {path: light[path] if path in light else heavy[path] for path in self._columns}

        return values

    @property
    def catalog(self) -> pa.Table:
        """The light columns by dotted name, and each row's `_split`, `_shard` and `_row`.

        It shares the table's memory. NumPy views of it are read-only; `torch.from_numpy` warns about that and would
        write to it, so pass it a copy.
        """
        return self._data.columns.table(self._askable, self._index)

    @property
    def _askable(self) -> list[str]:
        return [name for name in self._data.columns.file.schema.names if not name.startswith((START, SIZE, CRC32))]

    def _asked(self, name: str) -> pa.ChunkedArray:
        return self._data.columns.arrow(name, self._index)

    @property
    def _description(self) -> str:
        return self._data.manifest.to_json()

    @property
    def name(self) -> str:
        """The name of the dataset."""
        return self._data.manifest.name

    @property
    def simulated(self) -> bool:
        """Whether the dataset contains simulated galaxies only."""
        return self._data.manifest.simulated

    @property
    def drawing(self) -> Drawing:
        from skyshards.pictures.drawing import drawing  # not needed for reading

        return drawing(self.name, self.schema)

    @property
    def format(self) -> FolderFormat:
        """The format version of the folder, and the program that wrote it.

        Examples
        --------
        >>> table.format
        FolderFormat(version=2, written_by='skyshards 0.1.0')
        """
        return FolderFormat(self._data.manifest.format, self._data.manifest.written_by)

    def source(self, row: int) -> Origin:
        """Return the source of a row; the table of sources is read once.

        Parameters
        ----------
        row : int
            Position in this table; negative integers count from the end.

        Raises
        ------
        IndexError
            If the row is out of range.
        FolderError
            If `sources.parquet` is missing or damaged.

        Examples
        --------
        >>> table.source(0).url  # doctest: +SKIP
        'https://data.sdss.org/sas/dr17/env/MANGA_MORPHOLOGY/galaxyzoo3d/v4_0_0/gz3d_1-100010_61_14708995.fits.gz'
        """
        return self._data.origin(int(self._positions([row])[0]))

    @property
    def splits(self) -> tuple[str, ...]:
        """All splits of the dataset, even those without rows in this table."""
        return self._data.manifest.splits

    @property
    def statistics(self) -> dict[str, ChannelStatistics]:
        """Mean and standard deviation of each channel of the image columns, over all rows of the folder.

        Whatever is selected, they are those of the whole folder. Empty for folders of earlier versions.

        Examples
        --------
        >>> mean, std = table.statistics["image"]
        >>> mean.shape
        (3,)
        """
        return of_shards(self._data.manifest.in_shards, self._data.manifest.shards)

    @property
    def row_nbytes(self) -> int:
        """Approximate size of a row in memory, in bytes; image files count as stored."""
        total = 0.0
        for spec in (self._data.manifest.specs[path] for path in self._columns):
            sizes = self._data.columns.array(SIZE + spec.path) if spec.varies else ()
            total += float(np.mean(sizes)) if len(sizes) else spec.nbytes
        return round(total)

    def _matching(self, condition: str | pc.Expression) -> np.ndarray:
        if isinstance(condition, str):
            return self._data.matching(condition, self._askable, self._index)
        return super()._matching(condition)

    def _folds(self) -> np.ndarray:
        return self._data.folds if self._index is None else self._data.folds[self._index]

    def _in_cone(self, centre: tuple[float, float], radius: float) -> np.ndarray:
        rows = self._data.in_cone(centre, radius)
        if self._index is None:
            return rows
        inside = np.zeros(self._height, bool)
        inside[rows] = True
        return np.flatnonzero(inside[self._index])
