"""Pairs of neighbouring unit vectors."""

from __future__ import annotations

import numpy as np

Pairs = tuple[np.ndarray, np.ndarray]
"""Rows of the first and of the second table, int64."""


def unit_vectors(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Convert degrees to unit vectors, float64 [rows, 3]; NaN without a valid position (such as a dec of -99)."""
    ra, dec = np.radians(ra), np.radians(np.where(np.abs(dec) <= 90.0, dec, np.nan))
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def separation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return angles between unit vectors in arcsec, computed from the chord: exact for tiny angles, good for large."""
    distance = np.linalg.norm(first - second, axis=-1)
    return np.degrees(2.0 * np.arcsin(np.clip(distance / 2.0, 0.0, 1.0))) * 3600.0


def neighbours(first: np.ndarray, second: np.ndarray, radius: float, every: bool) -> Pairs:
    """Find the neighbours of some directions among others.

    Parameters
    ----------
    first, second : float64 arrays [rows, 3]
        Unit vectors; rows with NaN match nothing.
    radius : float
        Maximum separation in arcsec, edge included.
    every : bool
        Return all rows of `second` within the radius, not only the nearest: of equally near ones, the first.

    Returns
    -------
    rows of `first`, rows of `second`
        Ordered by the former, then by the latter.
    """
    asked, placed = finite(first), finite(second)
    rows_a, rows_b = search(first[asked], second[placed], placed, radius, every, threads=-1)
    return asked[rows_a], placed[rows_b]


def finite(vectors: np.ndarray) -> np.ndarray:
    """Return the rows without NaN."""
    return np.flatnonzero(np.isfinite(vectors).all(axis=1))


def chord(radius: float) -> float:
    """Chord of an angle in arcsec. A unit vector is good to 1e-16, and so is a chord: the edge is widened by that."""
    return float(2.0 * np.sin(np.radians(radius / 3600.0) / 2.0) + 5e-16)


def search(
    first: np.ndarray, second: np.ndarray, numbers: np.ndarray, radius: float, every: bool, threads: int = 1
) -> Pairs:
    """Find neighbours as `neighbours` does, of vectors without NaN.

    `numbers` of `second` say which of equally near ones is the first, and order the pairs.
    """
    from scipy.spatial import cKDTree  # slow to import, and needed only here

    if not len(first) or not len(second):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    bound, quick = chord(radius), {"balanced_tree": False, "compact_nodes": False}
    tree = cKDTree(second, **quick)
    if every:
        found = cKDTree(first, **quick).sparse_distance_matrix(tree, bound, output_type="ndarray")
        places, others = found["i"].astype(np.int64), found["j"].astype(np.int64)
        order = np.lexsort((numbers[others], places))
        return places[order], others[order]
    distances, nearest = tree.query(first, k=2, distance_upper_bound=np.nextafter(bound, 3.0), workers=threads)
    places = np.flatnonzero(nearest[:, 0] < len(second))
    others = nearest[places, 0]
    for number in np.flatnonzero(distances[places, 0] == distances[places, 1]).tolist():
        others[number] = _first_of_equal(tree, first[places[number]], numbers)
    return places, others


def _first_of_equal(tree, point: np.ndarray, numbers: np.ndarray) -> int:
    """Return the row with the lowest number among all that are nearest to a point."""
    count = 4
    while True:
        distances, found = tree.query(point, k=count)  # padded with infinity
        if distances[-1] > distances[0]:
            equal = found[distances == distances[0]]
            return int(equal[numbers[equal].argmin()])
        count *= 4
