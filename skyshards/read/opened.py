"""An opened folder, shared by all its selections."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from skyshards.errors import FolderError
from skyshards.format import healpix, missing
from skyshards.format.columns import ColumnSpec
from skyshards.format.folds import fold_of, is_fold
from skyshards.format.kinds import KINDS
from skyshards.format.kinds.base import Allocate
from skyshards.format.kinds.ragged import Ragged
from skyshards.format.layout import ADDED_ROW, CRC32, FOLD, ROW, SHARD, SIZE, SOURCES, START
from skyshards.format.provenance import Origin, origin
from skyshards.read import query, skipping
from skyshards.read.batches import Reader
from skyshards.read.catalog_columns import CatalogColumns
from skyshards.read.column_request import ColumnRequest
from skyshards.read.memory import Recycler, taken
from skyshards.read.padding import Padded, Padding, allocate, cut
from skyshards.read.store import LocalStore, RemoteStore

BLOCK = 1 << 17
"""Number of rows whose positions are compared at once."""


class OpenedFolder:
    """The catalogue of a built dataset, and the reader of its shards. Pickled by location.

    Thread-safe: two threads may compute the same cached value at once, with the same result.
    """

    def __init__(self, store: LocalStore | RemoteStore, threads: int | None, decode: bool):
        catalog = store.open_catalog()
        self.manifest, self.columns = catalog.manifest, CatalogColumns(catalog)
        self.reader = Reader(store, threads, decode)
        self.memory = Recycler()
        self._files = [shard.path for shard in self.manifest.shards]
        self._files += [addition.path for addition in self.manifest.additions]
        store.sizes = self.manifest.lengths
        self._added = {path: each for each in self.manifest.additions for path in each.specs}
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
        key = self.columns.arrow("source", np.array([row]))[0].as_py()
        found = origin(self.sources, key)
        if found is None:
            raise FolderError(f"{self.reader.store}: {SOURCES} has no source {key!r}; build the folder again")
        return found

    @property
    def rows(self) -> pa.Table:
        """The whole catalogue."""
        return self.columns.table(self.columns.file.schema.names)

    @functools.cached_property
    def folds(self) -> np.ndarray:
        """The fold of every row; computed from the positions if the folder was built without them."""
        if is_fold(self.manifest.specs.get(FOLD)):
            return self.columns.array(FOLD)
        return fold_of(self.columns.array("ra"), self.columns.array("dec"))

    @functools.cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """The HEALPix pixel of each shard, and its first row in the catalogue; then the end of the last."""
        shards = self.manifest.shards
        return np.array([each.pixel for each in shards], np.int64), np.cumsum([0, *(each.rows for each in shards)])

    def in_cone(self, centre: tuple[float, float], radius: float) -> np.ndarray:
        """Return the rows of the catalogue within `radius` of `centre` (ra, dec), all in degrees: int64, ascending.

        Only shards of pixels that overlap the cone are looked at, unless rows are not in the order of shards.
        """
        pixels, firsts = self._places
        near = np.flatnonzero(np.isin(pixels, healpix.near_cone(centre, radius, self.manifest.nside)))
        rows = [np.arange(firsts[shard], firsts[shard + 1]) for shard in near.tolist()]
        inside: list[np.ndarray] = [np.zeros(0, np.int64)]
        if firsts[-1] == len(self.columns):
            for block in _blocks(np.concatenate([*inside, *rows])):
                self.columns.load([SHARD, "ra", "dec"], block)
                if (self.columns.array(SHARD, block) != np.searchsorted(firsts, block, side="right") - 1).any():
                    break
                inside.append(block[self._is_in_cone(block, centre, radius)])
            else:
                return np.concatenate(inside)
        every = _blocks(np.arange(len(self.columns)))
        return np.concatenate([inside[0], *(block[self._is_in_cone(block, centre, radius)] for block in every)])

    def _is_in_cone(self, rows: np.ndarray, centre: tuple[float, float], radius: float) -> np.ndarray:
        return healpix.in_cone(self.columns.array("ra", rows), self.columns.array("dec", rows), centre, radius)

    def matching(self, condition: str, names: Sequence[str], rows: np.ndarray | None) -> np.ndarray:
        """Return for which rows of the catalogue, or of these, a condition in text is true, as a mask.

        Row groups that cannot have such a row by their statistics are not read; otherwise, see `query.matching`.
        """
        columns, bounds = self.columns, self.columns.file.bounds
        may_match = skipping.possible(condition, len(bounds) - 1, columns.bounds)
        if rows is not None:
            there = slice(None) if may_match.all() else np.flatnonzero(may_match[columns.groups_of(rows)])
            found, wanted = np.zeros(len(rows), bool), rows[there]
            found[there] = query.matching(condition, names, lambda name: columns.arrow(name, wanted))
            return found
        found = np.zeros(len(columns), bool)
        if not may_match.any():  # may still be no condition
            query.matching(condition, names, lambda name: columns.arrow(name, np.zeros(0, np.int64)))
        for group in np.flatnonzero(may_match).tolist():
            part = functools.partial(columns.group, group=group)
            found[bounds[group] : bounds[group + 1]] = query.matching(condition, names, part)
        return found

    def light(self, spec: ColumnSpec, rows: np.ndarray, empty: Allocate) -> np.ndarray:
        """Return a copy of values of a light column."""
        kind = KINDS[spec.kind]
        if kind.shares_memory:
            return taken(self.columns.with_rows(spec.path, rows), rows, spec.dtype, empty)
        texts = missing.without_nulls(self.columns.arrow(spec.path, rows), spec)
        return kind.from_arrow(texts, spec, self.columns.is_long(spec.path))

    def requests(
        self, specs: Iterable[ColumnSpec], rows: np.ndarray, padding: Padding | None, empty: Allocate
    ) -> dict[str, ColumnRequest]:
        """Make the requests for values of large columns, lists padded if told."""
        wanted = {spec.path: spec for spec in specs}
        own = [path for path in wanted if path not in self._added]
        if own:
            self.columns.load([SHARD, ROW, *(what + path for path in own for what in (START, SIZE, CRC32))], rows)
        shards, numbers = (self.columns.array(name, rows) if own else rows for name in (SHARD, ROW))
        return {
            path: self._request(spec, rows, shards, numbers, padding, empty)
            if path in own
            else self._added_request(spec, rows, padding, empty)
            for path, spec in wanted.items()
        }

    def _request(
        self,
        spec: ColumnSpec,
        rows: np.ndarray,
        shards: np.ndarray,
        numbers: np.ndarray,
        padding: Padding | None,
        empty: Allocate,
    ) -> ColumnRequest:
        images = None
        if spec.path in self._image_shapes:
            images = empty((len(rows), *self._image_shapes[spec.path]), "uint8")
        starts, sizes, crc32s = (self.columns.array(what + spec.path, rows) for what in (START, SIZE, CRC32))
        batch, out = _allocate(spec, sizes, padding, empty)
        return ColumnRequest(spec, self._files, shards, numbers, starts, sizes, crc32s, out, batch, images)

    def _added_request(
        self, spec: ColumnSpec, rows: np.ndarray, padding: Padding | None, empty: Allocate
    ) -> ColumnRequest:
        """Make the request for values of an addition; rows without one have the fill value already."""
        addition, array = self._added[spec.path], self.columns.array
        numbers, sizes = array(ADDED_ROW + addition.name, rows), array(SIZE + spec.path, rows)
        batch, out = _allocate(spec, sizes, padding, empty)
        there = np.flatnonzero(numbers >= 0)
        if not spec.varies and len(there) < len(rows):
            batch[numbers < 0] = missing.fill(spec)
        return ColumnRequest(
            spec,
            self._files,
            np.full(len(there), self._files.index(addition.path)),
            numbers[there],
            array(START + spec.path, rows)[there],
            sizes[there],
            array(CRC32 + spec.path, rows)[there],
            out if len(there) == len(rows) else [out[place] for place in there.tolist()],
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


def _allocate(spec: ColumnSpec, sizes: np.ndarray, padding: Padding | None, empty: Allocate) -> tuple[Any, Any]:
    """Return a batch to be filled, and the place of each of its values."""
    if padding is not None and spec.varies and KINDS[spec.kind].is_list(spec):
        return allocate(sizes.astype(np.int64) // np.dtype(spec.dtype).itemsize, spec.dtype, padding, empty)
    return KINDS[spec.kind].allocate(spec, sizes, empty)


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """Cut rows into parts of which all vectors fit in memory."""
    return (rows[first : first + BLOCK] for first in range(0, len(rows), BLOCK))


def _opened_again(store: LocalStore | RemoteStore, threads: int | None, decode: bool, state: str) -> OpenedFolder:
    """Open a folder again when unpickling. Raises `FolderError` if its row numbers have changed."""
    data = OpenedFolder(store, threads, decode)
    if data.state != state:
        cause = "the dataset has changed since this table was pickled, and its rows may have moved"
        raise FolderError(f"{store}: {cause}; open it again and repeat the selection")
    return data
