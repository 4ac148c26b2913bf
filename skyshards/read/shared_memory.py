"""Batches that worker processes of a PyTorch `DataLoader` share with the process that started them.

PyTorch copies each batch of a worker into fresh shared memory, which the system has to clear and to map in both
processes: this takes as long as inflating galaxies. Instead, a worker reads batches into shared memory, which stays
mapped in both processes and is used again once neither needs the batch.

A segment is a page for its state, then the memory. The worker sets a byte of the state for each array that it sends,
and the receiver clears it with the last array, view or tensor of that memory.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import mmap
import multiprocessing
import multiprocessing.reduction
import os
import sys
import weakref
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

import numpy as np

from skyshards.read.memory import MIN_BYTES, Recycler

MAPPED, DROPPED, FIRST_SENT = 0, 1, 2
"""Bytes of the state: whether the receiver has mapped the segment, whether the worker has dropped it, and the first of
those that stand for an array in use by the receiver."""


def in_data_loader_worker() -> bool:
    """Whether this is a worker process of a PyTorch data loader."""
    utils = sys.modules.get("torch.utils.data")
    return utils is not None and utils.get_worker_info() is not None


def recycler(usual: Recycler) -> Recycler:
    """Return what allocates batches in this process: in a worker of a data loader, shared memory."""
    return _shared() if in_data_loader_worker() and hasattr(os, "memfd_create") else usual


class Segment:
    """Shared memory of this process and another; takes its content from a file descriptor."""

    def __init__(self, descriptor: int):
        content = np.frombuffer(mmap.mmap(descriptor, 0), np.uint8)
        self.state, self.memory = content[: mmap.PAGESIZE], content[mmap.PAGESIZE :]


# --- in a worker -----------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Where the receiver finds an array, and the byte of the segment's state that it clears afterwards.

    `descriptor` is that of the segment until the receiver has mapped it, then None.
    """

    process: int
    worker: bytes
    segment: int
    descriptor: Any
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    sent: int


class _Lent(Segment):
    """A segment of this worker."""

    def __init__(self, number: int, nbytes: int):
        self.number = number
        self.descriptor: int | None = os.memfd_create("skyshards")
        try:
            os.ftruncate(self.descriptor, mmap.PAGESIZE + nbytes)
            super().__init__(self.descriptor)
        except OSError:
            self.close()
            raise
        self.address = self.memory.ctypes.data
        self._bytes_of_state = itertools.cycle(range(FIRST_SENT, mmap.PAGESIZE))

    def next_sent(self) -> int | None:
        """Set a byte of the state and return its place; None if all are in use."""
        place = next(self._bytes_of_state)
        if self.state[place]:
            return None
        self.state[place] = 1
        return place

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class SharedRecycler(Recycler):
    """Allocates arrays in memory shared with the process that receives them; otherwise as `Recycler`."""

    def __init__(self):
        super().__init__()
        self._worker = os.urandom(16)
        self._numbers = itertools.count()
        self._segments: dict[int, _Lent] = {}  # by id of their memory

    def place(self, array: np.ndarray) -> Place | None:
        """Return the place of an array in shared memory, and note that it is sent; None if it is not there."""
        address = array.ctypes.data
        for segment in self._segments.copy().values():
            if segment.address <= address < segment.address + segment.memory.nbytes:
                break
        else:
            return None
        sent = segment.next_sent()
        if sent is None:
            return None
        if segment.state[MAPPED]:
            segment.close()
        descriptor = None if segment.descriptor is None else multiprocessing.reduction.DupFd(segment.descriptor)
        where = array.shape, array.strides, array.dtype.str
        return Place(os.getpid(), self._worker, segment.number, descriptor, address - segment.address, *where, sent)

    def _new(self, nbytes: int) -> np.ndarray:
        try:
            segment = _Lent(next(self._numbers), nbytes)
        except OSError:  # out of descriptors: PyTorch will copy the batch
            return super()._new(nbytes)
        self._segments[id(segment.memory)] = segment
        return segment.memory

    def _is_unused(self, memory: np.ndarray) -> bool:
        segment = self._segments.get(id(memory))
        return segment is None or not segment.state[FIRST_SENT:].any()

    def _drop(self, memory: np.ndarray) -> None:
        segment = self._segments.pop(id(memory), None)
        if segment is not None:
            segment.state[DROPPED] = 1
            segment.close()


@functools.cache
def _shared() -> SharedRecycler:
    """Return the shared memory of this worker; from the first call on, arrays in it are sent as their places."""
    import torch  # is imported in a worker

    shared = SharedRecycler()
    ForkingPickler.register(np.ndarray, functools.partial(_reduce_array, shared))
    ForkingPickler.register(torch.Tensor, functools.partial(_reduce_tensor, shared))
    return shared


def _reduce_array(shared: SharedRecycler, array: np.ndarray) -> Any:
    place = None if array.dtype.hasobject or not array.size else shared.place(array)
    return array.__reduce__() if place is None else (_received, (place,))


def _reduce_tensor(shared: SharedRecycler, tensor: Any) -> Any:
    """Send a tensor in shared memory as its place, and a small one by value: PyTorch would make a file for it."""
    import torch
    from torch.multiprocessing.reductions import reduce_tensor

    if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.requires_grad or tensor.is_shared():
        return reduce_tensor(tensor)
    try:
        array = tensor.numpy()
    except (TypeError, RuntimeError):  # NumPy has no such dtype: this tensor is not one of ours
        return reduce_tensor(tensor)
    if array.nbytes < MIN_BYTES:
        return torch.from_numpy, (array,)
    place = shared.place(array)
    return reduce_tensor(tensor) if place is None else (_received_tensor, (place,))


# --- in the process that started it ----------------------------------------------------------------------------------

_mapped: dict[tuple[bytes, int], Segment] = {}
"""The segments of workers that are alive, by worker and number."""
os.register_at_fork(after_in_child=_mapped.clear)


def _received(place: Place) -> np.ndarray:
    """Return an array of a worker; the worker may use its memory again after the last array, view or tensor of it."""
    segment = _segment(place)
    lender = (ctypes.c_uint8 * segment.memory.nbytes).from_buffer(segment.memory.data)
    weakref.finalize(lender, _release, os.getpid(), segment.state, place.sent).atexit = False
    return np.ndarray(place.shape, place.dtype, memoryview(lender), place.start, place.strides)


def _received_tensor(place: Place) -> Any:
    import torch

    return torch.from_numpy(_received(place))


def _release(process: int, state: np.ndarray, sent: int) -> None:
    if process == os.getpid():  # a fork drops its copy of the array, too
        state[sent] = 0


def _segment(place: Place) -> Segment:
    """Return the segment of an array; map it if it is new, and keep it mapped while the worker lives."""
    key = place.worker, place.segment
    if place.descriptor is None:
        return _mapped[key]
    descriptor = place.descriptor.detach()
    try:
        segment = _mapped.get(key) or Segment(descriptor)
    finally:
        os.close(descriptor)
    for process in multiprocessing.active_children():
        if process.pid == place.process and key not in _mapped:
            weakref.finalize(process, _mapped.pop, key, None).atexit = False
            _mapped[key] = segment
            segment.state[MAPPED] = 1
    for other, each in _mapped.copy().items():
        if each.state[DROPPED]:
            _mapped.pop(other, None)
    return segment
