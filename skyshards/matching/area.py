"""Areas of the sky: HEALPix pixels of one order."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from skyshards.format import healpix

MOST = 8
"""The highest order of an area: 100 kB of bits, pixels of 14 arcmin."""


@dataclass(frozen=True)
class Area:
    """Pixels (NESTED) of an order, as bits."""

    order: int
    bits: np.ndarray

    @classmethod
    def around(cls, inside: np.ndarray) -> Area:
        """The pixels that are marked, and their neighbours."""
        order = _order(inside)
        wider = np.zeros(len(inside), bool)
        wider[healpix.with_neighbours(np.flatnonzero(inside), 1 << order)] = True
        return cls(order, np.packbits(wider))

    @staticmethod
    def order_of(radius: float) -> int | None:
        """The order whose pixels and their neighbours hold all within a radius in arcsec; None if none does."""
        # A pixel of order 0 is at least 29 degrees wide everywhere, and half as wide with each order.
        order = min(MOST, math.floor(math.log2(29.0 / max(radius / 3600.0, 1e-3))))
        return order if order >= 0 else None

    @staticmethod
    def nothing(order: int) -> np.ndarray:
        """Marks of the pixels of an order, all False."""
        return np.zeros(12 << 2 * order, bool)

    @staticmethod
    def mark(inside: np.ndarray, vectors: np.ndarray) -> None:
        """Mark the pixels that hold unit vectors."""
        inside[healpix.pixel_of_vectors(vectors, 1 << _order(inside))] = True

    def holds(self, vectors: np.ndarray) -> np.ndarray:
        """Whether unit vectors [rows, 3] lie inside: bool [rows]."""
        return self._inside(healpix.pixel_of_vectors(vectors, 1 << self.order))

    def overlaps(self, order: int, pixels: np.ndarray) -> bool:
        """Whether it shares a point with any of some pixels of an order."""
        shift = 2 * (order - self.order)
        if shift >= 0:
            return bool(self._inside(pixels >> shift).any())
        inside = np.unpackbits(self.bits)[: 12 << 2 * self.order].reshape(-1, 1 << -shift)
        return bool(inside[pixels].any())

    def _inside(self, pixels: np.ndarray) -> np.ndarray:
        return ((self.bits[pixels >> 3] >> (7 - (pixels & 7))) & 1).astype(bool)


def _order(marks: np.ndarray) -> int:
    """Return the order whose pixels are marked."""
    return (len(marks) // 12).bit_length() // 2
