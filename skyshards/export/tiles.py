"""Partition the rows of a HATS catalogue: adaptive tiles, row groups and margins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

ORDER = 29
"""HEALPix order of `_healpix_29`, by which rows are sorted."""


class Tile(NamedTuple):
    """A HEALPix pixel (NESTED) with a file, and its rows `start:stop` in the order of `_healpix_29`."""

    order: int
    pixel: int
    start: int
    stop: int

    @property
    def path(self) -> str:
        """The path in a HATS catalogue's folder, without a suffix."""
        return f"dataset/Norder={self.order}/Dir={self.pixel // 10_000 * 10_000}/Npix={self.pixel}"


def tiles(index: np.ndarray, nbytes: np.ndarray, max_bytes: float, max_order: int) -> list[Tile]:
    """Find the largest pixels that hold at most `max_bytes` (at `max_order` they may hold more), in NESTED order.

    Parameters
    ----------
    index : int64 [rows]
        `_healpix_29`, sorted.
    nbytes : [rows]
        The bytes of each row.
    """
    ends = np.concatenate([[0], np.cumsum(nbytes, dtype=np.float64)])
    found: list[Tile] = []

    def divide(order: int, first: int, count: int, start: int, stop: int) -> None:
        pixels = first + np.arange(count + 1, dtype=np.int64)
        edges = start + np.searchsorted(index[start:stop], pixels << 2 * (ORDER - order))
        for pixel, (low, high) in zip(
            pixels.tolist(), zip(edges.tolist(), edges[1:].tolist(), strict=False), strict=False
        ):
            if low == high:
                continue
            if order >= max_order or ends[high] - ends[low] <= max_bytes:
                found.append(Tile(order, pixel, low, high))
            else:
                divide(order + 1, 4 * pixel, 4, low, high)

    divide(0, 0, 12, 0, len(index))
    return found


def row_groups(nbytes: np.ndarray, max_rows: int, max_bytes: float) -> list[slice]:
    """Group consecutive rows: as many as the bounds allow, at least one."""
    groups: list[slice] = []
    start = total = 0
    for row, size in enumerate(nbytes.tolist()):
        if row > start and (row - start == max_rows or total + size > max_bytes):
            groups.append(slice(start, row))
            start, total = row, 0
        total += size
    return [*groups, slice(start, len(nbytes))] if len(nbytes) else groups


def margins(index: np.ndarray, tiled: Sequence[Tile], margin_order: int) -> dict[Tile, np.ndarray]:
    """Find the rows in the pixels of `margin_order` that border each tile; tiles without any are omitted.

    No tile may be of a higher order than `margin_order`.
    """
    from hats.pixel_math.pixel_margins import get_margin

    pixels = index >> 2 * (ORDER - margin_order)
    found = {}
    for tile in tiled:
        border = np.array(get_margin(tile.order, tile.pixel, margin_order - tile.order), np.int64)
        starts, stops = np.searchsorted(pixels, border), np.searchsorted(pixels, border, side="right")
        there = starts < stops
        rows = [np.arange(*bounds) for bounds in zip(starts[there], stops[there], strict=True)]
        if rows:
            found[tile] = np.unique(np.concatenate(rows))
    return found


def margin_order(margin_arcsec: float) -> int:
    """Return the highest order with pixels wider than a margin: neighbours of that order contain the margin."""
    from hats.pixel_math.healpix_shim import margin2order

    return int(margin2order(np.array(margin_arcsec / 60.0)))
