"""Reuse of large buffers.

Memory fresh from the system costs a page fault every few kilobytes when it is first written: 40 % of the time in which
a batch of galaxies is read. So the memory of a batch that was dropped is kept for the next one.
"""

from __future__ import annotations

import ctypes
import math
import weakref

import numpy as np

MIN_BYTES = 1 << 16
"""Smaller arrays are left to NumPy: the allocator keeps memory of that size itself."""

MAX_PIECES = 64
"""So many are kept at most: all of them are looked through for each array that is given or taken back."""


class Recycler:
    """Gives arrays like `numpy.empty`, and takes their memory back when the last array, view or tensor that uses it is
    gone. Threads may share it: what it keeps is only changed and copied by single steps of a dict, so that it needs no
    lock, which a fork could find locked and a garbage collection could ask for twice.

    Parameters
    ----------
    max_bytes : int
        How much unused memory to keep, at most.
    """

    def __init__(self, max_bytes: int = 512 << 20):
        self._max_bytes = max_bytes
        self._free: dict[int, np.ndarray] = {}  # by id, the oldest first

    def empty(self, shape: tuple[int, ...], dtype: str | np.dtype) -> np.ndarray:
        """A new array with arbitrary content."""
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        if nbytes < MIN_BYTES:
            return np.empty(shape, dtype)
        memory = self._take(nbytes)
        # All arrays, tensors and Arrow buffers made of this one keep the ctypes object alive; it tells when it goes.
        lender = (ctypes.c_uint8 * nbytes).from_buffer(memory.data)
        weakref.finalize(lender, self._give_back, memory).atexit = False
        return np.frombuffer(memoryview(lender), np.uint8).view(dtype).reshape(shape)

    def _take(self, nbytes: int) -> np.ndarray:
        for key, memory in self._free.copy().items():
            if memory.nbytes == nbytes and self._free.pop(key, None) is not None:  # else another thread was faster
                return memory
        return np.empty(nbytes, np.uint8)

    def _give_back(self, memory: np.ndarray) -> None:
        self._free[id(memory)] = memory
        kept = self._free.copy()
        total = sum(piece.nbytes for piece in kept.values())
        for number, (key, piece) in enumerate(kept.items()):
            if total <= self._max_bytes and len(kept) - number <= MAX_PIECES:
                break
            self._free.pop(key, None)
            total -= piece.nbytes
