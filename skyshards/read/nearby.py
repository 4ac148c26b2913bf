"""Read small values that lie near each other together: a call, or a request to a server, for each of them is slow."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from skyshards.errors import ShardCorrupted
from skyshards.read.column_request import ColumnRequest
from skyshards.read.store import LocalStore, RemoteStore

GAP = 4096
"""Maximum number of bytes between two byte ranges that are read together."""
LONGEST = 1 << 20
"""Byte ranges are not read together across multiples of this number of bytes in a file, so that memory is bounded."""


class Runs(NamedTuple):
    """What is read together: its first byte range, its start and its bytes; and the run of each byte range, or -1."""

    firsts: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    of: np.ndarray


def runs(files: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> Runs:
    """Join byte ranges of numbered files that lie near each other, in any order; those without bytes are left out."""
    of = np.full(len(files), -1)
    order = np.lexsort((starts, files))
    order = order[sizes[order] > 0]
    if not len(order):
        return Runs(order, order, order, of)
    file, start = files[order], starts[order]
    end = start + sizes[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (
        (file[1:] != file[:-1]) | (start[1:] - end[:-1] > GAP) | (start[1:] // LONGEST != start[:-1] // LONGEST)
    )
    firsts = np.flatnonzero(begins)
    of[order] = np.cumsum(begins) - 1
    return Runs(order[firsts], start[firsts], np.maximum.reduceat(end, firsts) - start[firsts], of)


class Block:
    """Parts of several requests, which the first thread that needs one of them reads."""

    def __init__(
        self, store: LocalStore | RemoteStore, requests: Sequence[ColumnRequest], parts: Sequence[slice]
    ) -> None:
        self._store, self._requests, self._parts = store, requests, parts
        self._lock = threading.Lock()
        self._contents: list[list[bytes]] | None = None

    def contents(self, number: int) -> list[bytes]:
        """Return the stored bytes of the values of a request."""
        with self._lock:
            if self._contents is None:
                self._contents = self._read()
            return self._contents[number]

    def _read(self) -> list[list[bytes]]:
        both = list(zip(self._requests, self._parts, strict=True))
        files, starts, sizes = (
            np.concatenate([getattr(request, what)[part] for request, part in both])
            for what in ("files", "starts", "sizes")
        )
        found = runs(files, starts, sizes)
        names = [self._requests[0].names[file] for file in files[found.firsts].tolist()]
        runs_read: list[bytes] = []
        try:
            runs_read.extend(self._store.read(names, found.starts.tolist(), found.sizes.tolist()))
        except ShardCorrupted as error:
            raise self._located(error, int(found.firsts[len(runs_read)])) from error
        if len(runs_read) == len(files):
            values = [runs_read[run] for run in found.of.tolist()]
        else:
            runs_read.append(b"")  # of values without bytes, whose run is -1
            begins = np.where(found.of < 0, 0, starts - np.append(found.starts, 0)[found.of])
            places = zip(found.of.tolist(), begins.tolist(), (begins + sizes).tolist(), strict=True)
            values = [runs_read[run][begin:end] for run, begin, end in places]
        ends = np.cumsum([0, *(part.stop - part.start for part in self._parts)]).tolist()
        return [values[begin:end] for begin, end in zip(ends, ends[1:], strict=False)]

    def _located(self, error: ShardCorrupted, position: int) -> ShardCorrupted:
        """Add the row of a value, counted over all parts, to an error."""
        for request, part in zip(self._requests, self._parts, strict=True):
            if position < part.stop - part.start:
                return request.located(error, part.start + position)
            position -= part.stop - part.start
        return error
