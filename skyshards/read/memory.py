"""Reuse of large buffers.

Fresh memory costs a page fault every few kilobytes on first write: 40 % of the time to read a batch of galaxies. So
the memory of a dropped batch is kept for the next one.
"""

from __future__ import annotations

import ctypes
import math
import weakref
from collections.abc import Callable

import numpy as np

MIN_BYTES = 1 << 16
"""Smaller arrays are left to NumPy, whose allocator reuses them itself."""

MAX_PIECES = 64
"""Maximum number of buffers kept; every allocation and release scans all of them."""


class Recycler:
    """Allocates arrays like `numpy.empty`, and reclaims their memory with the last array, view or tensor that uses it.

    Thread-safe without a lock, since it changes and copies its dict only in atomic steps: a fork could inherit a locked
    lock, and a garbage collection could acquire it twice.

    Parameters
    ----------
    max_bytes : int
        Maximum unused memory to keep.
    """

    def __init__(self, max_bytes: int = 512 << 20):
        self._max_bytes = max_bytes
        self._free: dict[int, np.ndarray] = {}  # by id, the oldest first

    def empty(self, shape: tuple[int, ...], dtype: str | np.dtype) -> np.ndarray:
        """Return a new array with arbitrary content."""
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        if nbytes < MIN_BYTES:
            return np.empty(shape, dtype)
        memory = self._take(_rounded_up(nbytes))
        # Arrays, tensors and Arrow buffers made from this one keep the ctypes object alive; its end returns the memory.
        lender = (ctypes.c_uint8 * memory.nbytes).from_buffer(memory.data)
        weakref.finalize(lender, self._give_back, memory).atexit = False
        return np.frombuffer(memoryview(lender)[:nbytes], np.uint8).view(dtype).reshape(shape)

    def _take(self, nbytes: int) -> np.ndarray:
        """Return the smallest memory that is unused and large enough, but not far too large, or new memory."""
        large_enough = [
            (key, memory) for key, memory in self._free.copy().items() if nbytes <= memory.nbytes <= 2 * nbytes
        ]
        for key, memory in sorted(large_enough, key=lambda piece: piece[1].nbytes):
            if self._is_unused(memory) and self._free.pop(key, None) is not None:  # else another thread was faster
                return memory
        return self._new(nbytes)

    def _give_back(self, memory: np.ndarray) -> None:
        self._free[id(memory)] = memory
        kept = self._free.copy()
        unused = {key: piece.nbytes if self._is_unused(piece) else 0 for key, piece in kept.items()}
        total = sum(unused.values())
        for number, (key, piece) in enumerate(kept.items()):
            too_much = len(kept) - number > MAX_PIECES or (unused[key] and total > self._max_bytes)
            if too_much and self._free.pop(key, None) is not None:
                self._drop(piece)
                total -= unused[key]

    def _new(self, nbytes: int) -> np.ndarray:
        return np.empty(nbytes, np.uint8)

    def _is_unused(self, memory: np.ndarray) -> bool:
        """Whether memory that was given back serves nobody else."""
        return True

    def _drop(self, memory: np.ndarray) -> None:
        """Keep memory no longer."""


def taken(
    values: np.ndarray, rows: np.ndarray, dtype: str, empty: Callable[[tuple[int, ...], str], np.ndarray]
) -> np.ndarray:
    """Return a copy of some rows, which must be there, in memory that `empty` allocates for the name of their dtype."""
    out = empty((len(rows), *values.shape[1:]), dtype)
    return np.take(values, rows, axis=0, out=out, mode="clip")  # other modes make one copy more


def _rounded_up(nbytes: int) -> int:
    """Round up to three binary digits, so that batches of lists, which differ in length, use the same memory again.

    The memory beyond `nbytes` is never written to, and so takes none of the machine's.
    """
    step = 1 << max(0, nbytes.bit_length() - 3)
    return -(-nbytes // step) * step
