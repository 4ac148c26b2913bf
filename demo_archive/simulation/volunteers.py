"""Drawings of simulated Galaxy Zoo: 3D volunteers on a galaxy, and the masks they add up to.

Coordinates are those of `outlines`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demo_archive.simulation import outlines
from demo_archive.simulation.galaxies import Galaxy
from demo_archive.simulation.outlines import SIZE, Path, crosses_itself, pixels
from demo_archive.simulation.render import foreground

DRAWERS = 15
"""Number of volunteers per picture."""
NEAR, BRIGHT = 20.0, 10 ** (0.4 * (22.5 - 20.3))
"""Largest distance (arcsec) and least flux in r (nanomaggies) of a galaxy that some take for a second centre."""


@dataclass(frozen=True)
class Cluster:
    """Clicks on the same object: mean and covariance, in pixels, and their number."""

    points: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        return self.points.mean(axis=0)

    @property
    def covariance(self) -> np.ndarray:
        return np.cov(self.points.T)


@dataclass(frozen=True)
class Drawings:
    """All drawings on a picture: for each volunteer, points or closed paths."""

    centres: list[Path]
    stars: list[Path]
    spirals: list[list[Path]]
    bars: list[list[Path]]
    centre_clusters: list[Cluster]
    star_clusters: list[Cluster]


def draw(galaxy: Galaxy, subject: int) -> Drawings:
    """Make the volunteers' drawings on `subject`, a picture of this galaxy."""
    rng = np.random.default_rng((galaxy.seed, galaxy.index, 7, subject))
    centres = [[point.round(4).tolist()] for point in SIZE / 2 + rng.normal(-0.5, 1.8, (DRAWERS, 2))]
    stars: list[Path] = [[] for _ in range(DRAWERS)]
    clusters = []
    for blob in foreground(galaxy):
        (place,) = pixels([blob.x], [blob.y])
        clicked = rng.random(DRAWERS) < 0.7
        if not blob.star or clicked.sum() < 3 or not np.all((place > 8) & (place < SIZE - 8)):
            continue
        points = (place + rng.normal(0, 1.8, (clicked.sum(), 2))).round(4)
        clusters.append(Cluster(points))
        for drawer, point in zip(np.flatnonzero(clicked), points.tolist(), strict=True):
            stars[drawer].append(point)
    # The weaker the arms, the more volunteers miss them; a few see a bar where there is none.
    seen = 0.25 + 0.72 * galaxy.contrast if galaxy.spiral else 0.0
    hands = [outlines.hand(rng) for _ in range(DRAWERS)]
    spirals = [outlines.arms(galaxy, hand, rng) if rng.random() < seen else [] for hand in hands]
    bar_seen = 0.85 if galaxy.bar else 0.06
    bars = [[outlines.bar(galaxy, rng)] if rng.random() < bar_seen else [] for _ in range(DRAWERS)]
    centre_clusters = [Cluster(np.array([point for points in centres for point in points]))]
    centre_clusters += _mark_companion(galaxy, subject, centres)
    _slip(galaxy, subject, spirals)
    return Drawings(centres, stars, spirals, bars, centre_clusters, clusters)


def _mark_companion(galaxy: Galaxy, subject: int, centres: list[Path]) -> list[Cluster]:
    """Add the clicks of those who take a bright galaxy nearby for a second centre; return their cluster, if any."""
    rng = np.random.default_rng((galaxy.seed, galaxy.index, 11, subject))
    near = [blob for blob in foreground(galaxy) if not blob.star and np.hypot(blob.x, blob.y) < NEAR]
    brightest = max(near, key=lambda blob: blob.flux[1], default=None)
    clicked = np.flatnonzero(rng.random(DRAWERS) < 0.4)
    if brightest is None or brightest.flux[1] < BRIGHT or len(clicked) < 3:
        return []
    points = (pixels([brightest.x], [brightest.y]) + rng.normal(0, 1.8, (len(clicked), 2))).round(4)
    for drawer, point in zip(clicked, points.tolist(), strict=True):
        centres[drawer].append(point)
    return [Cluster(points)]


def _slip(galaxy: Galaxy, subject: int, paths: list[list[Path]]) -> None:
    """Add single clicks, outlines of one point, of some who drew nothing else."""
    rng = np.random.default_rng((galaxy.seed, galaxy.index, 12, subject))
    slipped, points = rng.random(DRAWERS) < 0.03, rng.uniform(100, SIZE - 100, (DRAWERS, 2)).round(1)
    for drawn, slip, point in zip(paths, slipped, points.tolist(), strict=True):
        if slip and not drawn:
            drawn.append([point])


def add_polygon(mask: np.ndarray, path: Path) -> None:
    """Add 1, in place, to the pixels whose coordinates (column, row) are inside a closed path (even-odd rule)."""
    start = np.asarray(path)
    stop = np.roll(start, -1, axis=0)
    first = max(0, int(np.ceil(start[:, 1].min())))
    rows = np.arange(first, min(mask.shape[0], int(np.floor(start[:, 1].max())) + 1))
    (x0, y0), (x1, y1) = start.T[:, :, None], stop.T[:, :, None]
    edge, row = np.nonzero((y0 <= rows) != (y1 <= rows))
    x0, y0, x1, y1 = (value[edge, 0] for value in (x0, y0, x1, y1))
    cross = x0 + (rows[row] - y0) * (x1 - x0) / (y1 - y0)
    # A crossing toggles all pixels to its right.
    switch = np.zeros((len(rows), mask.shape[1] + 1), np.int32)
    np.add.at(switch, (row, np.clip(np.floor(cross).astype(int) + 1, 0, mask.shape[1])), 1)
    mask[rows] += np.cumsum(switch[:, :-1], axis=1) % 2


def polygon_mask(drawn: list[list[Path]]) -> np.ndarray:
    """Count the paths that cover each pixel, but for those that cross themselves: float64 `[SIZE, SIZE]`."""
    mask = np.zeros((SIZE, SIZE))
    for path in (path for paths in drawn for path in paths if not crosses_itself(path)):
        add_polygon(mask, path)
    return mask


def ellipse_mask(clusters: list[Cluster]) -> np.ndarray:
    """Add each cluster's number of clicks inside its two-sigma ellipse: float64 `[SIZE, SIZE]`."""
    mask = np.zeros((SIZE, SIZE))
    for cluster in clusters:
        mean, covariance = cluster.mean, cluster.covariance
        reach = 2 * np.sqrt(np.diag(covariance)) + 1
        low, high = (np.clip(place, 0, SIZE).astype(int) for place in (mean - reach, mean + reach + 1))
        x, y = np.arange(low[0], high[0]) - mean[0], np.arange(low[1], high[1])[:, None] - mean[1]
        (a, b), (_, c) = np.linalg.inv(covariance)
        mask[low[1] : high[1], low[0] : high[0]] += len(cluster.points) * (a * x * x + 2 * b * x * y + c * y * y <= 4)
    return mask
