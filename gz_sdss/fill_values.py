"""Detect holes in FITS images that were filled with one value, such as 0 or the median."""

from __future__ import annotations

import itertools

import numpy as np

MAX_STRAYS = 0.01
"""Maximum fraction of pixels outside a hole that share its value, or lie in blocks of another value."""


def without_fill(planes: np.ndarray) -> np.ndarray:
    """Replace holes that were filled with one value by NaN in the planes of an image, float `[planes, height, width]`.

    Noise does not repeat: neighbouring pixels of real sky differ. A plane has a filled hole where blocks of 3 x 3
    pixels have exactly one value, and

    - hardly any pixel elsewhere has that value; otherwise pixels have only a few values (photon counts, coarse
      quantisation), or fainter ones were clipped at it;
    - hardly any blocks have another value; otherwise the image is smooth or was enlarged;
    - it is not the plane's maximum, at which pixels saturate, unless there is no other value.

    "Hardly any" is a fraction `MAX_STRAYS` of the pixels outside these blocks. A plane thus has at most one such value.
    No plane is changed in place.
    """
    return np.stack([np.where(_filled(plane), np.nan, plane) for plane in planes])


def _filled(plane: np.ndarray) -> np.ndarray:
    """Mask of a plane's filled holes, bool `[height, width]`."""
    height, width = plane.shape
    plane = np.where(np.isfinite(plane), plane, np.nan)
    nowhere = np.zeros(plane.shape, bool)
    if min(height, width) < 3:
        return nowhere
    corners = list(itertools.product(range(3), range(3)))
    windows = [plane[y : y + height - 2, x : x + width - 2] for y, x in corners]
    flat = np.logical_and.reduce([window == windows[0] for window in windows])  # False for NaN
    if not flat.any():
        return nowhere
    values, counts = np.unique(windows[0][flat], return_counts=True)
    value = values[counts.argmax()]
    blocks = nowhere.copy()
    for y, x in corners:
        blocks[y : y + height - 2, x : x + width - 2] |= flat & (windows[0] == value)
    hole, known = plane == value, np.isfinite(plane)
    others = int((known & ~blocks).sum())
    is_saturated = value == plane[known].max() and (known & ~hole).any()
    strays = max(int((hole & ~blocks).sum()), int(counts.sum() - counts.max()))
    return nowhere if is_saturated or strays > MAX_STRAYS * others else hole
