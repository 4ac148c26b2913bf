"""Histograms that stay readable with missing values, outliers and values over many decades."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BINS = (10, 40)
"""Minimum and maximum number of bins; between them, twice the square root of the number of values."""
DECADES, CROWDED = 2.0, 0.05
"""Positive values over more decades, with their median in this first part of the range, are binned by logarithm."""
CORE = (0.5, 99.5)
"""Percentiles between which the bulk of the values lies."""
REACH = 0.5
"""The axis reaches to the extreme values, if these are within this many widths of the bulk."""


class Histogram(NamedTuple):
    """Counts in equal bins from `start` to `stop` (with `log`, equal in log10), and what lies outside of them."""

    start: float
    stop: float
    log: bool
    counts: list[int]
    below: int
    above: int
    missing: int
    minimum: float
    median: float
    maximum: float


def histogram(values: np.ndarray, whole: bool) -> Histogram | None:
    """Return the histogram of values; None if none of them is finite.

    Parameters
    ----------
    values : float64 array
        NaN and infinite ones are missing.
    whole : bool
        Whether they are integers: bins are then one or more whole numbers wide.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    minimum, low, median, high, maximum = np.percentile(finite, (0, CORE[0], 50, CORE[1], 100)).tolist()
    reach = REACH * (high - low)
    low = minimum if low == high or low - minimum <= reach else low
    high = maximum if low == high or maximum - high <= reach else high
    crowded = median - low < CROWDED * (high - low)
    log = not whole and low > 0 and crowded and np.log10(high / low) > DECADES
    bins = int(np.clip(2 * np.sqrt(finite.size), *BINS))
    edges = np.geomspace(low, high, bins + 1) if log else _edges(low, high, whole, bins)
    counts = np.histogram(finite, edges)[0]
    below = int(np.count_nonzero(finite < edges[0]))
    return Histogram(
        float(edges[0]),
        float(edges[-1]),
        bool(log),
        counts.tolist(),
        below,
        int(finite.size - counts.sum() - below),
        int(values.size - finite.size),
        minimum,
        median,
        maximum,
    )


def _edges(low: float, high: float, whole: bool, bins: int) -> np.ndarray:
    if whole:
        low, high = np.floor(low), np.ceil(high)
        width = max(1.0, np.ceil((high - low + 1) / bins))
        return low - 0.5 + width * np.arange(np.ceil((high - low + 1) / width) + 1)
    if low == high:
        low, high = low - max(abs(low), 1.0) / 2, high + max(abs(high), 1.0) / 2
    return np.linspace(low, high, bins + 1)
