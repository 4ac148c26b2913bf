"""Batches of heavy values: byte ranges read and decoded by a few threads, straight into the batch's array."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from skyshards import decode
from skyshards.columns import ColumnSpec
from skyshards.errors import ShardCorrupted
from skyshards.machine import usable_cores
from skyshards.store import LocalStore, RemoteStore


@dataclass(frozen=True)
class Request:
    """Values of one heavy column: for each its shard, row in it, and byte range there; `out` takes what is decoded.

    `out` is an array [values, *shape] for a number column, a list of as many for image files.
    """

    spec: ColumnSpec
    shards: Sequence[str]
    rows: Sequence[int]
    starts: Sequence[int]
    sizes: Sequence[int]
    out: np.ndarray | list


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
        self._pool: ThreadPoolExecutor | None = None
        self._process: int | None = None

    def __reduce__(self):
        return Reader, (self.store, self.threads, self.decode_images)

    def start(self, requests: Sequence[Request]) -> Callable[[], None]:
        """Begin to fill the requests' `out`; the function that is returned waits until that is done.

        It raises `ShardCorrupted`, naming shard, row and column, or `FolderError`.
        """
        threads = self.threads or (1 if _in_data_loader_worker() else usable_cores())
        values = sum(len(request.out) for request in requests)
        length = max(1, -(-values // (threads * self.store.parts_per_thread)))
        tasks = [
            (request, slice(start, start + length))
            for request in requests
            for start in range(0, len(request.out), length)
        ]
        if threads == 1 or len(tasks) == 1:
            parts: Iterator[None] = map(self._read_part, tasks)
        else:
            if self._process != os.getpid():
                self._pool = ThreadPoolExecutor(threads, thread_name_prefix="skyshards")
                self._process = os.getpid()
            parts = self._pool.map(self._read_part, tasks)
        return lambda: deque(parts, maxlen=0) and None

    def _read_part(self, task: tuple[Request, slice]) -> None:
        request, part = task
        shards, rows, sizes = request.shards[part], request.rows[part], request.sizes[part]
        contents = self.store.read(shards, request.starts[part], sizes)
        for number, (row, size) in enumerate(zip(rows, sizes, strict=True)):
            position = part.start + number
            try:
                content = next(contents)
                if len(content) != size:
                    raise ValueError(f"the file ends after {len(content)} of its {size} bytes")
                if request.spec.kind != "bytes":
                    decode.into(request.out[position], content, request.spec)
                else:
                    request.out[position] = decode.image(content) if self.decode_images else content
                del content  # at once: the next one can have its memory
            except ShardCorrupted as error:
                raise ShardCorrupted(f"{error} (row {row} of column {request.spec.path!r})") from error
            except ValueError as error:
                where = f"{self.store}/{shards[number]}: row {row} of column {request.spec.path!r}"
                raise ShardCorrupted(f"{where} is damaged: {error}; `skyshards verify` finds all that is") from error


def _in_data_loader_worker() -> bool:
    """Whether PyTorch runs this as one of several worker processes, which together use the cores already."""
    utils = sys.modules.get("torch.utils.data")
    return utils is not None and utils.get_worker_info() is not None
