"""Read batches of heavy values: threads read byte ranges and decode them straight into the batch's array."""

from __future__ import annotations

import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from deflate import crc32

from skyshards.errors import ShardCorrupted
from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS
from skyshards.format.kinds.ragged import Ragged
from skyshards.machine import usable_cores
from skyshards.read.shared_memory import in_data_loader_worker
from skyshards.read.store import LocalStore, RemoteStore

SMALL_BYTES = 1 << 20
"""Requests below this size are read by one thread, and only decoded in parallel: opening and reading the files is so
fast that threads would only contend."""


@dataclass(frozen=True)
class ColumnRequest:
    """Values of one heavy column to read: shard, row in it, byte range and crc32 (-1 if unknown) of each value.

    Decoded values go to their places in `out`, which are parts of `batch`; image files have no `batch`, only a list.
    With `images` [values, H, W, C], an image that fits its slot there is decoded in place, and None in the list.
    """

    spec: ColumnSpec
    shards: Sequence[str]
    rows: Sequence[int]
    starts: Sequence[int]
    sizes: Sequence[int]
    crc32s: Sequence[int]
    out: Any
    batch: np.ndarray | Ragged | None
    images: np.ndarray | None = None


class Reader:
    """Reads requests in threads. A forked or unpickled copy starts its own.

    Parameters
    ----------
    threads : int or None
        Number of threads; None for the usable cores (one in a worker process of a PyTorch `DataLoader`).
    decode_images : bool
        Decode image files to arrays, or return their bytes.
    """

    def __init__(self, store: LocalStore | RemoteStore, threads: int | None, decode_images: bool):
        self.store = store
        self.threads = threads
        self.decode_images = decode_images
        self._opened: tuple[int, ThreadPoolExecutor] | None = None  # the process, and its threads

    def __reduce__(self):
        return Reader, (self.store, self.threads, self.decode_images)

    def start(self, requests: Sequence[ColumnRequest], ahead: bool) -> Callable[[], None]:
        """Start filling the requests' `out`; return a function that helps and waits until that is done.

        With `ahead`, the caller does other work before calling it; with one thread, reading only starts in that call.
        The function raises `ShardCorrupted`, naming shard, row and column, or `FolderError`.
        """
        threads = self.threads or (1 if in_data_loader_worker() else usable_cores())
        parts_per_thread, read = self.store.parts_per_thread, self._read
        if sum(sum(request.sizes) for request in requests) < SMALL_BYTES:
            whole = {id(request): _Once(self._read_all, request) for request in requests}
            parts_per_thread, read = 2, lambda request, part: iter(whole[id(request)]()[part])
        values = sum(len(request.out) for request in requests)
        length = max(1, -(-values // (threads * parts_per_thread)))
        tasks = deque(
            (request, slice(start, start + length))
            for request in requests
            for start in range(0, len(request.out), length)
        )

        def work() -> None:
            while tasks:
                try:
                    request, part = tasks.popleft()
                except IndexError:  # another thread was faster
                    return
                if isinstance(self.store, LocalStore) and _is_raw(request):
                    self._fill(self.store, request, part)
                else:
                    self._decode(request, part, read(request, part))

        alone = threads == 1 or len(tasks) == 1
        others = threads if ahead else threads - 1
        helpers = [] if alone else [self._threads(threads).submit(work) for _ in range(others)]

        def finish() -> None:
            try:
                if ahead:  # one thread more than cores would only slow the others down
                    for helper in helpers:
                        helper.result()
                work()
            finally:
                tasks.clear()  # after a failure, skip the rest
                for helper in helpers:
                    if not helper.cancel():
                        helper.result()

        return finish

    def _threads(self, number: int) -> ThreadPoolExecutor:
        opened = self._opened
        if opened is None or opened[0] != os.getpid():
            self._opened = opened = os.getpid(), ThreadPoolExecutor(number, thread_name_prefix="skyshards")
        return opened[1]

    def _read(self, request: ColumnRequest, part: slice) -> Iterator[bytes]:
        """Yield the stored bytes of some values, read lazily."""
        return self.store.read(request.shards[part], request.starts[part], request.sizes[part])

    def _read_all(self, request: ColumnRequest) -> list[bytes]:
        contents: list[bytes] = []
        try:
            contents.extend(self._read(request, slice(None)))
        except ShardCorrupted as error:
            raise _located(error, request, len(contents)) from error
        return contents

    def _decode(self, request: ColumnRequest, part: slice, contents: Iterator[bytes]) -> None:
        """Decode some values. Keep the loop body minimal: it runs under the GIL."""
        decode_one, sizes, crc32s, position = self._decoder(request), request.sizes, request.crc32s, part.start
        try:
            for content in contents:
                _check(content, len(content), sizes[position], crc32s[position])
                decode_one(position, content)
                position += 1
                del content  # now, so that the next value can reuse its memory
        except ValueError as error:
            raise self._damaged(request, position, error) from error
        except ShardCorrupted as error:
            raise _located(error, request, position) from error

    def _fill(self, store: LocalStore, request: ColumnRequest, part: slice) -> None:
        """Read values straight into their places, without a copy in between."""
        out, sizes, crc32s, position = request.out, request.sizes, request.crc32s, part.start
        try:
            for found in store.fill(request.shards[part], request.starts[part], out[part]):
                _check(out[position], found, sizes[position], crc32s[position])
                position += 1
        except ValueError as error:
            raise self._damaged(request, position, error) from error
        except ShardCorrupted as error:
            raise _located(error, request, position) from error

    def _damaged(self, request: ColumnRequest, position: int, error: ValueError) -> ShardCorrupted:
        where = f"{self.store}/{request.shards[position]}: row {request.rows[position]} of column {request.spec.path!r}"
        return ShardCorrupted(f"{where} is damaged: {error}; `skyshards verify` lists all damage")

    def _decoder(self, request: ColumnRequest) -> Callable[[int, bytes], None]:
        """Return a function that decodes a value's stored bytes to its place."""
        out, images, spec = request.out, request.images, request.spec
        decode = KINDS[spec.kind].decode

        def in_place(position: int, content: bytes) -> None:
            decode(content, spec, out[position])

        def image(position: int, content: bytes) -> None:
            place = None if images is None else images[position]
            found = decode(content, spec, place)
            out[position] = None if found is place else found

        if request.batch is not None:
            return in_place
        return image if self.decode_images else out.__setitem__


def _is_raw(request: ColumnRequest) -> bool:
    """Whether values are stored as they lie in the batch."""
    return request.batch is not None and KINDS[request.spec.kind].is_raw(request.spec)


def _check(content: bytes | np.ndarray, found: int, size: int, expected: int) -> None:
    """Check that `found` of `size` bytes were read, and their crc32 (-1 if unknown)."""
    if found != size:
        raise ValueError(f"the file ends after {found} of its {size} bytes")
    if expected >= 0 and crc32(content) != expected:
        raise ValueError("its bytes do not match their crc32")


def _located(error: ShardCorrupted, request: ColumnRequest, position: int) -> ShardCorrupted:
    """Add the row being read to an error."""
    return ShardCorrupted(f"{error} (row {request.rows[position]} of column {request.spec.path!r})")


class _Once:
    """A thread-safe lazy value: the first caller computes it."""

    def __init__(self, function: Callable, *arguments: Any):
        self._call = functools.partial(function, *arguments)
        self._lock = threading.Lock()
        self._results: list[Any] = []

    def __call__(self) -> Any:
        with self._lock:
            if not self._results:
                self._results.append(self._call())
        return self._results[0]
