"""Drawn blends: how one is written down, and those of a split by number."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from skyshards.errors import BuildError


def blend_dtype(n_galaxies: int) -> np.dtype:
    """Return the dtype of a drawn blend: `g1`, `g2`, …, the rows of its galaxies in the archive, and `dy2`, `dx2`, …,
    the shifts of all but the first in pixels.

    Examples
    --------
    >>> blend_dtype(3).names
    ('g1', 'g2', 'dy2', 'dx2', 'g3', 'dy3', 'dx3')
    """
    fields: list[tuple[str, type]] = [("g1", np.int32)]
    for place in range(2, n_galaxies + 1):
        fields += [(f"g{place}", np.int32), (f"dy{place}", np.int16), (f"dx{place}", np.int16)]
    return np.dtype(fields)


def n_galaxies(drawn: np.ndarray) -> int:
    """Return the number of galaxies in each of these blends."""
    return (len(drawn.dtype.names or ()) + 2) // 3


def galaxies(drawn: np.ndarray) -> np.ndarray:
    """Return the archive's rows of the galaxies: int32 [blends, galaxies]."""
    return np.stack([drawn[f"g{place}"] for place in range(1, n_galaxies(drawn) + 1)], axis=-1)


def shifts(drawn: np.ndarray) -> np.ndarray:
    """Return the shifts (dy, dx) of all galaxies but the first, in turn: int16 [blends, 2 (galaxies - 1)]."""
    places = range(2, n_galaxies(drawn) + 1)
    return np.stack([drawn[f"{axis}{place}"] for place in places for axis in ("dy", "dx")], axis=-1)


def endless_numbers(key: Any) -> np.ndarray:
    """Return the numbers of endless blends (int64) that a slice, list or array selects.

    Raises
    ------
    IndexError
        A number is negative, or the slice has no stop.
    TypeError
        The key is something else.
    """
    if isinstance(key, slice):
        if key.stop is None or min(key.start or 0, key.stop) < 0 or (key.step or 1) < 1:
            raise IndexError(f"endless blends have no slice {key}: give a start and a stop, neither negative")
        return np.arange(*key.indices(sys.maxsize))
    numbers = np.asarray(key)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise TypeError(f"blends are indexed by integers, slices and 1-D arrays of integers, found {key!r:.60}")
    numbers = numbers.astype(np.int64)
    if (numbers < 0).any():
        raise IndexError(f"endless blends have no number {numbers.min()}")
    return numbers


class DrawnBlends:
    """Drawn blends by number, drawn on demand and kept (12 bytes each, and 8 more for each galaxy after the second).

    Thread-safe.

    After the stream has failed, the blends before the failure remain available; all others raise its error.

    Parameters
    ----------
    stream : iterator
        Iterator from `Draw.blends`.
    n_galaxies : int
        Number of galaxies in each.
    """

    def __init__(self, stream: Iterator[tuple[int, ...]], n_galaxies: int):
        self._stream = stream
        self._drawn = np.empty(0, blend_dtype(n_galaxies))
        self._failure = "the drawing of blends was interrupted; make these blends anew"
        self._lock = threading.Lock()

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        """Return the blends (array of `blend_dtype`) with the given numbers, none negative.

        Raises
        ------
        BuildError
            The stream failed before the last of them.
        """
        needed = int(np.max(numbers, initial=-1)) + 1
        if needed > len(self._drawn):
            with self._lock:
                if needed > len(self._drawn):
                    self._draw(max(needed, len(self._drawn) + len(self._drawn) // 4, 1024) - len(self._drawn))
                if needed > len(self._drawn):
                    raise BuildError(self._failure)
        return self._drawn[numbers]

    def _draw(self, count: int) -> None:
        """Draw `count` more, or those before the stream fails."""
        stream, self._stream = self._stream, iter(())  # interrupted, it must not go on, as it would with others
        drawn = np.fromiter(self._until_failure(islice(stream, count)), self._drawn.dtype)
        self._drawn = np.concatenate([self._drawn, drawn])
        if len(drawn) == count:
            self._stream = stream

    def _until_failure(self, stream: Iterator[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
        try:
            yield from stream
        except BuildError as error:
            self._failure = str(error)
