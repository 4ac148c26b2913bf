"""Outlines of arms and bars as simulated volunteers draw them by hand.

Coordinates are those of the project's drawing tool: column and row, counted from 0, the picture's centre at `SIZE` / 2.
The proportions are those of the arms that 15 volunteers drew on MaNGA 1-304336: 36 outlines of 14 to 548 corners, many
of one arm in parts, a quarter of them crossing themselves (https://github.com/mwalmsley/zoobot-3d,
construct_individual_masks_from_vertices.ipynb).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from demo_archive.simulation.galaxies import Galaxy, arm_angle, disk_to_picture

SIZE = 525
"""Pixels along each side of the picture."""
SCALE = 0.099
"""Arcsec per pixel: 2.75e-5 degrees."""

Path = list[list[float]]


@dataclass(frozen=True)
class Hand:
    """How a volunteer draws arms.

    `width` is relative to that of the arms, `corners` are those of one side, `unsteady` is in radians of the disk.
    `parts` is the chance that an arm is drawn in two parts, and `overrun` that an outline goes on beyond its start.
    """

    width: float
    corners: int
    unsteady: float
    parts: float
    overrun: float


def hand(rng: np.random.Generator) -> Hand:
    """Draw how a volunteer draws."""
    return Hand(
        width=float(np.exp(rng.normal(0, 0.35))),
        corners=int(np.exp(rng.uniform(np.log(9), np.log(100)))),
        unsteady=rng.uniform(0.05, 0.2),
        parts=rng.choice([0.0, 0.5], p=[0.75, 0.25]),
        overrun=rng.choice([0.05, 0.6], p=[0.7, 0.3]),
    )


def pixels(x, y) -> np.ndarray:
    """Convert offsets in arcsec to points `[n, 2]` in the drawing tool's coordinates."""
    return np.column_stack([x, y]) / SCALE + SIZE / 2


def arms(galaxy: Galaxy, hand: Hand, rng: np.random.Generator) -> list[Path]:
    """Draw the outlines of those arms that a volunteer makes out; a few go round all of the disk instead."""
    if rng.random() < 0.04:
        return [_disk(galaxy, hand, rng)]
    found = []
    for arm in range(galaxy.arms):
        if rng.random() < 0.14:
            continue
        outer = galaxy.petroR90_r * rng.uniform(0.75, 1.15)
        inner = max(galaxy.bar_length, 0.28 * galaxy.petroR90_r) * rng.uniform(0.85, 1.3)
        ends = [inner, outer]
        if rng.random() < hand.parts:
            ends.insert(1, np.sqrt(inner * outer) * rng.uniform(0.9, 1.1))
        found += [_arm(galaxy, arm, *part, hand, rng) for part in pairwise(ends)]
    return found


def bar(galaxy: Galaxy, rng: np.random.Generator) -> Path:
    """Draw a four-cornered outline of the bar, like the drawing tool of this task."""
    long = np.array([1, 1, -1, -1]) * rng.uniform(0.75, 1.2, 4) * galaxy.bar_length
    short = np.array([1, -1, -1, 1]) * rng.uniform(0.6, 1.5, 4) * galaxy.bar_length * 0.32
    angle = galaxy.bar_angle + rng.normal(0, 0.1)
    points = disk_to_picture(galaxy, np.hypot(long, short), np.arctan2(short, long) + angle)
    return _closed(pixels(*points))


def crosses_itself(path: Path) -> bool:
    """Tell whether a closed path crosses itself, and so has no inside."""
    start = np.asarray(path)
    stop = np.roll(start, -1, axis=0)
    edge = stop - start

    def sides(points: np.ndarray) -> np.ndarray:
        """On which side of each edge (rows) each point (columns) is."""
        x, y = (points[None, :, axis] - start[:, None, axis] for axis in (0, 1))
        return np.sign(edge[:, None, 0] * y - edge[:, None, 1] * x)

    apart = sides(start) * sides(stop) < 0
    return bool((apart & apart.T).any())


def _arm(galaxy: Galaxy, arm: int, inner: float, outer: float, hand: Hand, rng: np.random.Generator) -> Path:
    """Draw the outline of an arm, or of a part: along one side and back along the other."""
    radius = np.geomspace(inner, outer, hand.corners)
    angle = arm_angle(galaxy, radius, arm) + rng.normal(0, 0.1) + _wobble(hand.corners, hand.unsteady, rng)
    # Half the width of the arm, as an angle. Outlines narrow at both ends.
    half = 0.3 * np.pi / galaxy.arms * hand.width * np.sin(np.linspace(0.35, np.pi - 0.35, hand.corners))
    sides = [angle + side * half * np.exp(_wobble(hand.corners, 0.2, rng)) for side in (-1, 1)]
    out, back = (pixels(*disk_to_picture(galaxy, radius, side)) for side in sides)
    return _closed(_overrun(np.vstack([out, back[::-1]]), hand, rng))


def _disk(galaxy: Galaxy, hand: Hand, rng: np.random.Generator) -> Path:
    """Draw an outline round all of the disk."""
    angle = np.linspace(0, 2 * np.pi, 2 * hand.corners, endpoint=False) + rng.uniform(0, 2 * np.pi)
    radius = galaxy.petroR90_r * rng.uniform(0.75, 1.1) * np.exp(_wobble(len(angle), 0.06, rng))
    return _closed(_overrun(pixels(*disk_to_picture(galaxy, radius, angle)), hand, rng))


def _wobble(count: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a deviation that changes slowly along a line of this number of points."""
    return np.interp(np.linspace(0, 5, count), np.arange(6), rng.normal(0, strength, 6))


def _overrun(points: np.ndarray, hand: Hand, rng: np.random.Generator) -> np.ndarray:
    """Go on a little beyond the start of an outline, beside its first stroke, as many do; it then crosses itself."""
    if rng.random() > hand.overrun:
        return points
    again = points[: 2 + len(points) // 12]
    return np.vstack([points, again + rng.normal(0, 2.5, again.shape)])


def _closed(points: np.ndarray) -> Path:
    return np.clip(points, 0, SIZE - 1).round(4).tolist()
