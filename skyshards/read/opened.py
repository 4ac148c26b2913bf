"""An opened folder, shared by all its selections."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import numpy as np
import pyarrow as pa

from skyshards.errors import FolderError
from skyshards.format import missing
from skyshards.format.addition import Addition
from skyshards.format.columns import ColumnSpec
from skyshards.format.folds import fold_of, is_fold
from skyshards.format.kinds import KINDS
from skyshards.format.kinds.base import Allocate
from skyshards.format.kinds.ragged import Ragged
from skyshards.format.kinds.text import is_long
from skyshards.format.layout import ADDED_ROW, CRC32, FOLD, ROW, SHARD, SIZE, SOURCES, START
from skyshards.format.provenance import Origin, origin
from skyshards.read.batches import ColumnRequest, Reader
from skyshards.read.memory import Recycler, taken
from skyshards.read.padding import Padded, Padding, allocate, cut
from skyshards.read.store import LocalStore, RemoteStore


class OpenedFolder:
    """The catalogue of a built dataset, and the reader of its shards. Pickled by location.

    Thread-safe: two threads may compute the same cached value at once, with the same result.
    """

    def __init__(self, store: LocalStore | RemoteStore, threads: int | None, decode: bool):
        rows, self.manifest = store.read_catalog()
        self.rows: pa.Table = rows.combine_chunks()
        self.reader = Reader(store, threads, decode)
        self.memory = Recycler()
        self._shards = self.rows[SHARD].chunk(0).dictionary.to_pylist() if len(rows) else []
        store.sizes = self.manifest.lengths
        self._added = {path: each for each in self.manifest.additions for path in each.specs}
        self._arrays: dict[str, np.ndarray] = {}
        self._long: dict[str, bool] = {}
        self._image_shapes: dict[str, tuple[int, ...]] = {}

    def __reduce__(self):
        return _opened_again, (self.reader.store, self.reader.threads, self.reader.decode_images, self.state)

    @functools.cached_property
    def state(self) -> str:
        """A digest of the shards; while it is unchanged, row numbers stay valid."""
        return hashlib.sha256(repr(self.manifest.shards).encode()).hexdigest()

    @functools.cached_property
    def sources(self) -> pa.Table:
        """The table of sources and their outcomes."""
        return self.reader.store.read_sources()

    def origin(self, row: int) -> Origin:
        """Return the source of a row of the catalogue. Raises `FolderError` if it is not recorded."""
        key = self.rows["source"][row].as_py()
        found = origin(self.sources, key)
        if found is None:
            raise FolderError(f"{self.reader.store}: {SOURCES} has no source {key!r}; build the folder again")
        return found

    def array(self, name: str) -> np.ndarray:
        """Return a numeric column of the catalogue as an array, without a copy where Arrow allows it."""
        if name not in self._arrays:
            column = self.rows[name]
            if name.startswith(CRC32):
                column = column.cast(pa.int64()).fill_null(-1)
            elif name.startswith((START, SIZE, ADDED_ROW)):
                column = column.fill_null(-1 if name.startswith(ADDED_ROW) else 0)  # no value of an addition
            elif name in self.manifest.specs:
                column = missing.without_nulls(column, self.manifest.specs[name])
            column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
            if pa.types.is_dictionary(column.type):
                array = column.indices.to_numpy()
            elif pa.types.is_fixed_size_list(column.type):
                array = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)
            else:
                array = column.to_numpy(zero_copy_only=False)
            self._arrays[name] = array
        return self._arrays[name]

    @functools.cached_property
    def folds(self) -> np.ndarray:
        """The fold of every row; computed from the positions if the folder was built without them."""
        if is_fold(self.manifest.specs.get(FOLD)):
            return self.array(FOLD)
        return fold_of(self.array("ra"), self.array("dec"))

    def light(self, spec: ColumnSpec, rows: np.ndarray, empty: Allocate) -> np.ndarray:
        """Return a copy of values of a light column."""
        kind = KINDS[spec.kind]
        if kind.shares_memory:
            return taken(self.array(spec.path), rows, empty)
        if spec.path not in self._long:
            self._long[spec.path] = is_long(self.rows[spec.path])
        texts = missing.without_nulls(self.rows[spec.path].take(pa.array(rows)), spec)
        return kind.from_arrow(texts, spec, self._long[spec.path])

    def heavy(self, spec: ColumnSpec, rows: np.ndarray, padding: Padding | None, empty: Allocate) -> ColumnRequest:
        """Make the request for values of a heavy column, lists padded if told."""
        if spec.path in self._added:
            return self._added_request(spec, rows, self._added[spec.path], padding, empty)
        images = None
        if spec.path in self._image_shapes:
            images = empty((len(rows), *self._image_shapes[spec.path]), "uint8")
        sizes = self.array(SIZE + spec.path)[rows].tolist()
        batch, places = _allocate(spec, sizes, padding, empty)
        return ColumnRequest(
            spec,
            [self._shards[code] for code in self.array(SHARD)[rows].tolist()],
            self.array(ROW)[rows].tolist(),
            self.array(START + spec.path)[rows].tolist(),
            sizes,
            self.array(CRC32 + spec.path)[rows].tolist(),
            places,
            batch,
            images,
        )

    def _added_request(
        self, spec: ColumnSpec, rows: np.ndarray, addition: Addition, padding: Padding | None, empty: Allocate
    ) -> ColumnRequest:
        """Make the request for values of an addition; rows without one have the fill value already."""
        numbers = self.array(ADDED_ROW + addition.name)[rows]
        sizes = self.array(SIZE + spec.path)[rows]
        batch, places = _allocate(spec, sizes.tolist(), padding, empty)
        there = np.flatnonzero(numbers >= 0)
        if not spec.varies and len(there) < len(rows):
            batch[numbers < 0] = missing.fill(spec)
        return ColumnRequest(
            spec,
            [addition.path] * len(there),
            numbers[there].tolist(),
            self.array(START + spec.path)[rows][there].tolist(),
            sizes[there].tolist(),
            self.array(CRC32 + spec.path)[rows][there].tolist(),
            [places[place] for place in there.tolist()],
            batch,
        )

    def stack(self, request: ColumnRequest, empty: Allocate) -> np.ndarray | Ragged | Padded:
        """Return the values of a finished request as a batch.

        Images of one size are an array [rows, H, W, C]; bytes, and images of several sizes, an array of objects.
        """
        if isinstance(request.batch, Padded):
            return cut(request.batch, request.out)
        if request.batch is not None:
            return request.batch
        values = request.out
        if request.images is not None:
            if values and all(value is None for value in values):
                return request.images
            values = [request.images[place] if value is None else value for place, value in enumerate(values)]
        if values and all(isinstance(image, np.ndarray) and image.shape == values[0].shape for image in values):
            if values[0].dtype == np.uint8:
                self._image_shapes[request.spec.path] = values[0].shape  # the next images are likely alike
            return np.stack(values, out=empty((len(values), *values[0].shape), values[0].dtype.name))
        stacked = np.empty(len(values), object)
        stacked[:] = values
        return stacked


def _allocate(spec: ColumnSpec, sizes: list[int], padding: Padding | None, empty: Allocate) -> tuple[Any, Any]:
    """Return a batch to be filled, and the place of each of its values."""
    if padding is not None and KINDS[spec.kind].is_list(spec):
        return allocate(np.asarray(sizes, np.int64) // np.dtype(spec.dtype).itemsize, spec.dtype, padding, empty)
    return KINDS[spec.kind].allocate(spec, sizes, empty)


def _opened_again(store: LocalStore | RemoteStore, threads: int | None, decode: bool, state: str) -> OpenedFolder:
    """Open a folder again when unpickling. Raises `FolderError` if its row numbers have changed."""
    data = OpenedFolder(store, threads, decode)
    if data.state != state:
        cause = "the dataset has changed since this table was pickled, and its rows may have moved"
        raise FolderError(f"{store}: {cause}; open it again and repeat the selection")
    return data
