"""Sums over the pixels of each image channel, from which mean and standard deviation follow.

Sums of integers are exact. Those of floats are made such that they depend neither on the order of rows nor on the
machine: NumPy adds up rows of pixels, element by element, and `math.fsum`, which rounds once, the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS

MOMENTS = "_moments"
"""Where a row in the spool has the sums of its images, beside its small values."""


class Moments(NamedTuple):
    """By channel: number of finite pixels, their sum, and the sum of their squares."""

    pixels: tuple[float, ...]
    total: tuple[float, ...]
    squares: tuple[float, ...]


class ChannelStatistics(NamedTuple):
    """Mean and standard deviation of each channel of an image column, over all pixels of all rows.

    Attributes
    ----------
    mean, std : float64 array, shape (channels,)
        NaN for a channel without finite pixels. Images [H, W] have one channel.
    """

    mean: np.ndarray
    std: np.ndarray


def moments_of(pixels: np.ndarray) -> Moments:
    """Return the sums of an image [H, W] or [H, W, channels]."""
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    lines = pixels.reshape(len(pixels), -1)
    if pixels.dtype == np.uint8 and len(lines) < 1 << 16:  # so that the sum of a column of squares fits 32 bits
        squares = lines.astype(np.uint16)
        squares *= squares
        sums = (np.add.reduce(values, axis=0, dtype=np.uint32) for values in (lines, squares))
        total, square = (part.reshape(-1, channels).sum(axis=0, dtype=np.uint64).tolist() for part in sums)
        return Moments((pixels.size // channels,) * channels, tuple(total), tuple(square))
    values = lines.astype(np.float64)
    finite = np.isfinite(values)
    values[~finite] = 0.0
    count = np.add.reduce(finite, axis=0, dtype=np.int64).reshape(-1, channels).sum(axis=0)
    with np.errstate(over="ignore"):
        parts = [np.add.reduce(what, axis=0).reshape(-1, channels).T for what in (values, values * values)]
    total, square = (tuple(_exact_sum(channel.tolist()) for channel in part) for part in parts)
    return Moments(tuple(count.tolist()), total, square)


def _exact_sum(values: Iterable[float]) -> float:
    """Sum, of integers exactly, of floats with one rounding; NaN where it overflows."""
    values = list(values)
    if all(isinstance(value, int) for value in values):
        return sum(values)
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):
        return math.nan


def combined(parts: Iterable[Moments | None]) -> Moments | None:
    """Add up sums; None for none, where some are missing or have another number of channels, and beyond floats."""
    found = list(parts)
    known = [part for part in found if part is not None]
    if not known or len(known) < len(found) or len({len(part.pixels) for part in known}) > 1:
        return None
    sums = Moments(*(tuple(map(_exact_sum, zip(*parts, strict=True))) for parts in zip(*known, strict=True)))
    return sums if all(math.isfinite(value) for part in sums for value in part) else None


def statistics_of(moments: Moments) -> ChannelStatistics:
    """Return mean and standard deviation."""
    count, total, squares = (np.array(values, np.float64) for values in moments)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        return ChannelStatistics(mean, np.sqrt(np.maximum(squares / count - mean**2, 0.0)))


def of_stored(content: bytes | memoryview, spec: ColumnSpec) -> Moments:
    """Return the sums of a value as a shard stores it."""
    return moments_of(KINDS[spec.kind].decode(bytes(content), spec))


def of_shards(specs: Mapping[str, ColumnSpec], shards: Iterable) -> dict[str, ChannelStatistics]:
    """Return the statistics of all image columns, as far as the shards (`manifest.Shard`) have their sums."""
    shards = list(shards)
    found = {}
    for path, spec in specs.items():
        if spec.is_image:
            total = combined(None if shard.moments is None else shard.moments.get(path) for shard in shards)
            if total is not None:
                found[path] = statistics_of(total)
    return found
