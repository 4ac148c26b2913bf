"""Memory for large batches, used again once nobody looks at it any more.

Memory fresh from the system costs a page fault every few kilobytes when it is first written: 40 % of the time in which
a batch of galaxies is read. So the memory of a batch that was dropped is kept for the next one.
"""

from __future__ import annotations

import ctypes
import math
import weakref
from collections import deque

import numpy as np

MIN_BYTES = 1 << 16
"""Smaller arrays are left to NumPy: the allocator keeps memory of that size itself."""

MAX_PIECES = 64
"""So many are kept at most: all of them are looked through for each array that is given or taken back."""


class Recycler:
    """Gives arrays like `numpy.empty`, and takes their memory back when the last array, view or tensor that uses it is
    gone.

    Parameters
    ----------
    max_bytes : int
        How much unused memory to keep, at most.
    """

    def __init__(self, max_bytes: int = 512 << 20):
        self._max_bytes = max_bytes
        self._free: deque[np.ndarray] = deque(maxlen=MAX_PIECES)  # drops the oldest for a new one

    def empty(self, shape: tuple[int, ...], dtype: str | np.dtype) -> np.ndarray:
        """A new array with arbitrary content."""
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        if nbytes < MIN_BYTES:
            return np.empty(shape, dtype)
        memory = self._take(nbytes)
        # All arrays, tensors and Arrow buffers made of this one keep the ctypes object alive; it tells when it goes.
        lender = (ctypes.c_uint8 * nbytes).from_buffer(memory)
        weakref.finalize(lender, self._give_back, memory).atexit = False
        return np.frombuffer(lender, np.uint8).view(dtype).reshape(shape)

    def _take(self, nbytes: int) -> np.ndarray:
        for _ in range(len(self._free)):
            try:
                memory = self._free.popleft()
            except IndexError:  # another thread was faster
                break
            if memory.nbytes == nbytes:
                return memory
            self._free.append(memory)
        return np.empty(nbytes, np.uint8)

    def _give_back(self, memory: np.ndarray) -> None:
        self._free.append(memory)
        while sum(part.nbytes for part in tuple(self._free)) > self._max_bytes:
            try:
                self._free.popleft()
            except IndexError:
                break
