"""Batches of heavy values: byte ranges read and decoded by a few threads, straight into the batch's array."""

from __future__ import annotations

import functools
import os
import sys
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
from skyshards.machine import usable_cores
from skyshards.read.store import LocalStore, RemoteStore

SMALL_BYTES = 1 << 20
"""Less than this is read by one thread: files are opened and read so fast that threads would stand in each other's way.
Only decoding is shared out then."""


@dataclass(frozen=True)
class Request:
    """Values of one heavy column: for each its shard, row in it, byte range there, and crc32 (-1 if unknown). What is
    decoded is put into `out`.

    `out` is an array [values, *shape] for a number column, a list of as many for image files. An image that fits into
    its place in `images` [values, H, W, C] is decoded there, and None in the list.
    """

    spec: ColumnSpec
    shards: Sequence[str]
    rows: Sequence[int]
    starts: Sequence[int]
    sizes: Sequence[int]
    crc32s: Sequence[int]
    out: np.ndarray | list
    images: np.ndarray | None = None


class Reader:
    """Reads requests with threads that belong to this process: a fork or a pickle starts without any.

    Parameters
    ----------
    threads : int or None
        None for the usable cores, or one in a worker process of a PyTorch `DataLoader`.
    decode_images : bool
        Whether image files become arrays, or stay bytes.
    """

    def __init__(self, store: LocalStore | RemoteStore, threads: int | None, decode_images: bool):
        self.store = store
        self.threads = threads
        self.decode_images = decode_images
        self._opened: tuple[int, ThreadPoolExecutor] | None = None  # the process, and its threads

    def __reduce__(self):
        return Reader, (self.store, self.threads, self.decode_images)

    def start(self, requests: Sequence[Request], ahead: bool) -> Callable[[], None]:
        """Begin to fill the requests' `out`; the function that is returned helps, or waits, until that is done.

        `ahead` says that the caller does other work before it calls that; what one thread is to do waits until then. It
        raises `ShardCorrupted`, naming shard, row and column, or `FolderError`.
        """
        threads = self.threads or (1 if _in_data_loader_worker() else usable_cores())
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
                self._decode(request, part, read(request, part))

        alone = threads == 1 or len(tasks) == 1
        others = threads if ahead else threads - 1
        helpers = [] if alone else [self._threads(threads).submit(work) for _ in range(others)]

        def finish() -> None:
            try:
                if ahead:  # one thread more than there are cores would stand in the others' way
                    for helper in helpers:
                        helper.result()
                work()
            finally:
                tasks.clear()  # if one failed, the others need not be done
                for helper in helpers:
                    if not helper.cancel():
                        helper.result()

        return finish

    def _threads(self, number: int) -> ThreadPoolExecutor:
        opened = self._opened
        if opened is None or opened[0] != os.getpid():
            self._opened = opened = os.getpid(), ThreadPoolExecutor(number, thread_name_prefix="skyshards")
        return opened[1]

    def _read(self, request: Request, part: slice) -> Iterator[bytes]:
        """The stored bytes of some values, each when it is asked for."""
        return self.store.read(request.shards[part], request.starts[part], request.sizes[part])

    def _read_all(self, request: Request) -> list[bytes]:
        contents: list[bytes] = []
        try:
            contents.extend(self._read(request, slice(None)))
        except ShardCorrupted as error:
            raise _located(error, request, len(contents)) from error
        return contents

    def _decode(self, request: Request, part: slice, contents: Iterator[bytes]) -> None:
        """Decode some values. What is done for each is as little as may be: it is done by one thread at a time."""
        decode_one, sizes, crc32s, position = self._decoder(request), request.sizes, request.crc32s, part.start
        try:
            for content in contents:
                if len(content) != sizes[position]:
                    raise ValueError(f"the file ends after {len(content)} of its {sizes[position]} bytes")
                if crc32s[position] >= 0 and crc32(content) != crc32s[position]:
                    raise ValueError("its bytes are not those that were written (another crc32)")
                decode_one(position, content)
                position += 1
                del content  # at once: the next one can have its memory
        except ValueError as error:
            where = (
                f"{self.store}/{request.shards[position]}: row {request.rows[position]} of column {request.spec.path!r}"
            )
            raise ShardCorrupted(f"{where} is damaged: {error}; `skyshards verify` finds all that is") from error
        except ShardCorrupted as error:
            raise _located(error, request, position) from error

    def _decoder(self, request: Request) -> Callable[[int, bytes], None]:
        """What puts a value's stored bytes, decoded, in its place."""
        out, images, spec = request.out, request.images, request.spec
        decode = KINDS[spec.kind].decode

        def in_place(position: int, content: bytes) -> None:
            decode(content, spec, out[position])

        def image(position: int, content: bytes) -> None:
            place = None if images is None else images[position]
            found = decode(content, spec, place)
            out[position] = None if found is place else found

        if not spec.varies:
            return in_place
        return image if self.decode_images else out.__setitem__


def _located(error: ShardCorrupted, request: Request, position: int) -> ShardCorrupted:
    """The same error, with the row for which the file was needed."""
    return ShardCorrupted(f"{error} (row {request.rows[position]} of column {request.spec.path!r})")


class _Once:
    """The result of a function that the first thread to ask for it calls."""

    def __init__(self, function: Callable, *arguments: Any):
        self._call = functools.partial(function, *arguments)
        self._lock = threading.Lock()
        self._results: list[Any] = []

    def __call__(self) -> Any:
        with self._lock:
            if not self._results:
                self._results.append(self._call())
        return self._results[0]


def _in_data_loader_worker() -> bool:
    """Whether PyTorch runs this as one of several worker processes, which together use the cores already."""
    utils = sys.modules.get("torch.utils.data")
    return utils is not None and utils.get_worker_info() is not None
