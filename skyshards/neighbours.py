"""Pairs of neighbouring unit vectors: all at once, or in zones of declination that an executor works on."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from skyshards.files import TEMPORARY_PREFIX
from skyshards.processes import results

ZONE = 1 << 18
"""Number of rows of the first table in a zone."""

Pairs = tuple[np.ndarray, np.ndarray]
"""Rows of the first and of the second table, int64."""


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
    asked, placed = _finite(first), _finite(second)
    rows_a, rows_b = _search(first[asked], second[placed], placed, radius, every)
    return asked[rows_a], rows_b


def neighbours_far(
    executor: Executor, folder: Path, first: np.ndarray, second: np.ndarray, radius: float, every: bool
) -> Pairs:
    """Find the same in the workers of an executor, which see `folder`: the vectors go to them through files in it."""
    asked, placed = _finite_by_z(first), _finite_by_z(second)
    stem = f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    paths = [folder / f"{stem}-{name}.npy" for name in ("a", "b", "rows")]
    try:
        for path, values in zip(paths, (first[asked], second[placed], placed), strict=True):
            np.save(path, values)
        zones = _zones(first[asked, 2], second[placed, 2], _chord(radius))
        calls = ((paths, zone, near, radius, every) for zone, near in zones)
        found = list(results(_search_zone, calls, None, executor))
    finally:
        for path in paths:
            path.unlink(missing_ok=True)
    nothing = np.zeros(0, np.int64)
    rows_a = asked[np.concatenate([nothing, *(places for places, _ in found)])]
    rows_b = np.concatenate([nothing, *(rows for _, rows in found)])
    order = np.lexsort((rows_b, rows_a))
    return rows_a[order], rows_b[order]


def _finite(vectors: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.isfinite(vectors).all(axis=1))


def _finite_by_z(vectors: np.ndarray) -> np.ndarray:
    rows = _finite(vectors)
    return rows[np.argsort(vectors[rows, 2])]


def _chord(radius: float) -> float:
    """Chord of an angle in arcsec. A unit vector is good to 1e-16, and so is a chord: the edge is widened by that."""
    return float(2.0 * np.sin(np.radians(radius / 3600.0) / 2.0) + 5e-16)


def _zones(first: np.ndarray, second: np.ndarray, chord: float) -> Iterator[tuple[slice, slice]]:
    """Cut two tables, each ordered by z, into zones of the first, each with all of the second within a chord."""
    for start in range(0, len(first), ZONE):
        zone = slice(start, min(start + ZONE, len(first)))
        low, high = first[zone.start] - chord, first[zone.stop - 1] + chord
        yield zone, slice(int(np.searchsorted(second, low)), int(np.searchsorted(second, high, side="right")))


def _search_zone(paths: list[Path], zone: slice, near: slice, radius: float, every: bool) -> Pairs:
    """Search a zone in a worker; return rows of the first file, and rows of the second table."""
    first, second, rows = (np.load(path, mmap_mode="r") for path in paths)
    rows_a, rows_b = _search(first[zone], second[near], rows[near], radius, every)
    return rows_a + zone.start, rows_b


def _search(first: np.ndarray, second: np.ndarray, rows: np.ndarray, radius: float, every: bool) -> Pairs:
    """Return places in `first`, and the `rows` of their neighbours in `second`; neither holds NaN."""
    from scipy.spatial import cKDTree  # slow to import, and needed only here

    if not len(first) or not len(second):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    bound, quick = _chord(radius), {"balanced_tree": False, "compact_nodes": False}
    tree = cKDTree(second, **quick)
    if every:
        found = cKDTree(first, **quick).sparse_distance_matrix(tree, bound, output_type="ndarray")
        places, neighbour = found["i"].astype(np.int64), rows[found["j"]]
        order = np.lexsort((neighbour, places))
        return places[order], neighbour[order]
    distances, nearest = tree.query(first, k=2, distance_upper_bound=np.nextafter(bound, 3.0), workers=-1)
    places = np.flatnonzero(nearest[:, 0] < len(second))
    neighbour = rows[nearest[places, 0]]
    for number in np.flatnonzero(distances[places, 0] == distances[places, 1]).tolist():
        neighbour[number] = _first_of_equal(tree, first[places[number]], rows)
    return places, neighbour


def _first_of_equal(tree, point: np.ndarray, rows: np.ndarray) -> int:
    """Return the first row among all that are nearest to a point."""
    count = 4
    while True:
        distances, found = tree.query(point, k=count)  # padded with infinity
        if distances[-1] > distances[0]:
            return int(rows[found[distances == distances[0]]].min())
        count *= 4
