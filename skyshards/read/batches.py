"""Read batches of heavy values: threads read byte ranges and decode them straight into the batch's array."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from skyshards.errors import ShardCorrupted
from skyshards.format.kinds import KINDS
from skyshards.machine import usable_cores
from skyshards.read.checks import are_whole, check
from skyshards.read.column_request import ColumnRequest
from skyshards.read.nearby import Block
from skyshards.read.shared_memory import in_data_loader_worker
from skyshards.read.store import LocalStore, RemoteStore

SMALL_BYTES, SMALL_VALUE = 1 << 20, 4096
"""Requests that are smaller together, or for values that are smaller on average, are read by one thread, a block of the
first size at a time, and only decoded in parallel: reading is so fast that threads would only contend."""
COPYING = 4
"""Maximum number of threads that copy large raw values; all others inflate and decode. A copy takes little longer than
the interpreter lock is held for it, so more threads would wait for each other (`benchmarks/to_gpu.py`, 16 cores)."""
Task = Callable[[], None]


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
        if not requests:  # threads take longer to wake up than small values to copy
            return lambda: None
        threads = self.threads or (1 if in_data_loader_worker() else usable_cores())
        small, large = _by_size(requests)
        copied: list[ColumnRequest] = []
        decoded: list[ColumnRequest] = []
        for request in large:
            (copied if request.is_raw and isinstance(self.store, LocalStore) else decoded).append(request)
        length = max(1, -(-sum(len(request.out) for request in large) // (threads * self.store.parts_per_thread)))
        copies = deque(self._tasks(self._fill, copied, length))
        tasks = deque((*self._small_tasks(small, threads), *self._tasks(self._read_and_decode, decoded, length)))

        def work(number: int) -> None:
            for queue in (copies, tasks)[number >= COPYING :]:
                while queue:
                    try:
                        task = queue.popleft()
                    except IndexError:  # another thread was faster
                        break
                    task()

        alone = threads == 1 or len(copies) + len(tasks) == 1
        numbers = range(0 if ahead else 1, threads)
        helpers = [] if alone else [self._threads(threads).submit(work, number) for number in numbers]

        def finish() -> None:
            try:
                if ahead:  # one thread more than cores would only slow the others down
                    for helper in helpers:
                        helper.result()
                work(0)
            finally:
                copies.clear()  # after a failure, skip the rest
                tasks.clear()
                for helper in helpers:
                    if not helper.cancel():
                        helper.result()

        return finish

    def _threads(self, number: int) -> ThreadPoolExecutor:
        opened = self._opened
        if opened is None or opened[0] != os.getpid():
            self._opened = opened = os.getpid(), ThreadPoolExecutor(number, thread_name_prefix="skyshards")
        return opened[1]

    def _tasks(
        self, read: Callable[[ColumnRequest, slice], None], requests: Sequence[ColumnRequest], length: int
    ) -> Iterator[Task]:
        """Return tasks that each read a few large values."""
        for request in requests:
            for part in _parts(slice(0, len(request.out)), length):
                yield functools.partial(read, request, part)

    def _small_tasks(self, requests: Sequence[ColumnRequest], threads: int) -> Iterator[Task]:
        """Return tasks that each need a block of values of all requests, which one of them reads."""
        if not requests:
            return
        blocks = max(1, -(-sum(request.nbytes for request in requests) // SMALL_BYTES))
        raw = [number for number, request in enumerate(requests) if request.is_raw]
        others = [number for number, request in enumerate(requests) if not request.is_raw]
        for block_number in range(blocks):
            parts = [_share(len(request.out), block_number, blocks) for request in requests]
            block = Block(self.store, requests, parts)
            if raw:
                yield functools.partial(
                    self._place, block, [(number, requests[number], parts[number]) for number in raw]
                )
            values = sum(parts[number].stop - parts[number].start for number in others)
            length = max(1, -(-values // max(1, 2 * threads // blocks)))
            for number in others:
                for part in _parts(parts[number], length):
                    within = slice(part.start - parts[number].start, part.stop - parts[number].start)
                    yield functools.partial(self._decode_small, requests[number], part, block, number, within)

    def _read_and_decode(self, request: ColumnRequest, part: slice) -> None:
        contents = self.store.read(request.files_of(part), request.starts[part].tolist(), request.sizes[part].tolist())
        self._decode(request, part, contents)

    def _decode_small(self, request: ColumnRequest, part: slice, block: Block, number: int, within: slice) -> None:
        self._decode(request, part, iter(block.contents(number)[within]))

    def _place(self, block: Block, wanted: Sequence[tuple[int, ColumnRequest, slice]]) -> None:
        """Copy raw values of a block to their places."""
        for number, request, part in wanted:
            contents, memory = block.contents(number), request.memory
            if memory is not None and are_whole(contents, request.sizes[part], request.crc32s[part]):
                start, content = int(request.sizes[: part.start].sum(dtype=np.int64)), b"".join(contents)
                memory[start : start + len(content)] = np.frombuffer(content, np.uint8)
            else:
                self._decode(request, part, iter(contents))

    def _decode(self, request: ColumnRequest, part: slice, contents: Iterator[bytes]) -> None:
        """Decode some values. Keep the loop body minimal: it runs under the GIL."""
        decode_one, first, position = self._decoder(request), part.start, part.start
        sizes, crc32s = request.sizes[part].tolist(), request.crc32s[part].tolist()
        try:
            for content in contents:
                check(content, len(content), sizes[position - first], crc32s[position - first])
                decode_one(position, content)
                position += 1
                del content  # now, so that the next value can reuse its memory
        except ValueError as error:
            raise request.damaged(error, position, self.store) from error
        except ShardCorrupted as error:
            raise request.located(error, position) from error

    def _fill(self, request: ColumnRequest, part: slice) -> None:
        """Read values straight into their places, without a copy in between."""
        assert isinstance(self.store, LocalStore)  # only these can
        places, position = list(request.out[part]), part.start
        expected = zip(places, request.sizes[part].tolist(), request.crc32s[part].tolist(), strict=True)
        try:
            for found in self.store.fill(request.files_of(part), request.starts[part].tolist(), places):
                place, size, crc32 = next(expected)
                check(place, found, size, crc32)
                position += 1
        except ValueError as error:
            raise request.damaged(error, position, self.store) from error
        except ShardCorrupted as error:
            raise request.located(error, position) from error

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


def _by_size(requests: Sequence[ColumnRequest]) -> tuple[list[ColumnRequest], list[ColumnRequest]]:
    """Return the requests of small values, all if they are small together, and the others."""
    sizes = [request.nbytes for request in requests]
    if sum(sizes) < SMALL_BYTES:
        return list(requests), []
    small: list[ColumnRequest] = []
    large: list[ColumnRequest] = []
    for size, request in zip(sizes, requests, strict=True):
        (small if size < SMALL_VALUE * len(request.out) else large).append(request)
    return small, large


def _share(length: int, number: int, count: int) -> slice:
    """Return one of a number of equal parts of a sequence."""
    return slice(length * number // count, length * (number + 1) // count)


def _parts(whole: slice, length: int) -> Iterator[slice]:
    """Cut a slice into parts of at most this length."""
    return (slice(start, min(start + length, whole.stop)) for start in range(whole.start, whole.stop, length))
