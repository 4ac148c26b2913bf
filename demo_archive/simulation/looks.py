"""What a deep survey shows of the simulated galaxies: disks with bars, lenses, rings and arms of low contrast.

The proportions are those of images of Galaxy Zoo DECaLS (12 galaxies that a volunteer tagged as rings, 12 others; from
Zoobot's repository, https://github.com/mwalmsley/zoobot): a disk that falls slowly to a break and then fast, and rings
that are plateaus of its profile, more often than crests, at 0.55 to 0.9 of its visible radius. Lengths are in units of
petroR90_r, in the plane of the disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from demo_archive.simulation.galaxies import PSF_FWHM, Galaxy

KINDS = ("smooth", "cigar", "lens", "spiral", "tight spiral", "irregular", "ringed", "edge-on", "merger")


@dataclass(frozen=True, slots=True)
class Ring:
    """A ring in the plane of a disk: its surface brightness over that of the disk, and how uneven it is.

    `gap` is the fraction of the disk's light that is missing inside the ring. `lopsided` and `broken` are the
    amplitudes of the first and second harmonic of its brightness along it, `phase` where the first is brightest.
    """

    radius: float
    width: float
    contrast: float
    gap: float
    axis_ratio: float
    lopsided: float
    broken: float
    phase: float


@dataclass(frozen=True, slots=True)
class Look:
    """How a galaxy looks, as one of `KINDS`.

    `youth` is the share of young stars in the disk (0 to 1), `lens` the brightness of a flat-topped inner disk over
    that of the disk, `arms` the contrast of spiral arms, `patchiness` that of irregular patches, `bar` the brightness
    of a bar over that of the disk's centre.
    """

    kind: str
    axis_ratio: float
    bulge: float
    bulge_radius: float
    sersic_index: float
    scale_length: float
    break_radius: float
    outer_length: float
    youth: float
    bar: float
    bar_length: float
    lens: float
    lens_radius: float
    arms: float
    arm_count: int
    pitch: float
    patchiness: float
    ring: Ring | None

    @property
    def edge_on(self) -> bool:
        return self.kind == "edge-on"


def _kind(galaxy: Galaxy, rng: np.random.Generator) -> str:
    """One of `KINDS`: rings where the catalogue has them; the most inclined are edge-on or cigars; else chance."""
    chance = rng.random()
    if galaxy.ring:
        return "ringed"
    if chance < 0.06:
        return "merger"
    if not galaxy.spiral:
        return "cigar" if galaxy.axis_ratio < 0.64 else "lens" if chance < 0.36 else "smooth"
    if galaxy.axis_ratio < 0.52:
        return "edge-on"
    kinds = ("irregular", "tight spiral", "ringed", "spiral")
    return kinds[int(np.searchsorted((0.26, 0.44, 0.56), chance))]


def _ring(galaxy: Galaxy, rng: np.random.Generator) -> Ring:
    """Draw a ring; those that the catalogue doesn't know are faint."""
    contrast = float(np.exp(rng.normal(np.log(0.3), 0.7))) if galaxy.ring else rng.uniform(0.02, 0.12)
    return Ring(
        radius=rng.uniform(0.8, 1.35),
        width=rng.uniform(0.08, 0.19),
        contrast=contrast,
        gap=float(np.clip(rng.uniform(0.1, 0.9) * contrast, 0, 0.7)),
        axis_ratio=rng.uniform(0.75, 1.0),
        lopsided=rng.uniform(0, 0.6),
        broken=rng.uniform(0, 0.8),
        phase=rng.uniform(0, 2 * np.pi),
    )


@lru_cache(maxsize=1024)
def look(galaxy: Galaxy) -> Look:
    """Draw how a galaxy looks; its position, size, brightness and orientation are those of the catalogue."""
    rng = galaxy.rng(34)
    kind = _kind(galaxy, rng)
    ring = _ring(galaxy, rng) if kind == "ringed" else None
    spheroid = kind in ("smooth", "cigar")
    # Weak bars and tight arms that a shallow survey does not show are common in ringed galaxies.
    bar = rng.uniform(0.5, 1.2) if galaxy.bar else rng.uniform(0.2, 0.7) * (ring is not None and rng.random() < 0.5)
    bar_length = rng.uniform(0.35, 0.65) if ring is None else ring.radius * rng.uniform(0.42, 0.85)
    youth = {"irregular": (0.8, 1.0), "spiral": (0.25, 0.8), "tight spiral": (0.1, 0.6), "ringed": (0.0, 0.4)}
    arms = {"spiral": (0.25, 0.7), "tight spiral": (0.3, 0.7), "ringed": (0.0, 0.12), "merger": (0.0, 0.4)}
    pitch = {"tight spiral": (5, 9), "ringed": (8, 15)}.get(kind)
    bulge = {"irregular": (0.0, 0.04), "spiral": (0.04, 0.2), "tight spiral": (0.04, 0.25)}.get(kind, (0.1, 0.4))
    thin = {"edge-on": (0.12, 0.28), "cigar": (0.31, 0.42)}
    early = not galaxy.spiral or kind in ("ringed", "lens")
    lens = kind == "lens" or (kind == "ringed" and rng.random() < 0.5)
    return Look(
        kind=kind,
        axis_ratio=rng.uniform(*thin[kind]) if kind in thin else galaxy.axis_ratio,
        bulge=1.0 if spheroid else rng.uniform(*bulge),
        bulge_radius=1 / 2.6 if kind == "cigar" else 1 / 3.1 if spheroid else rng.uniform(0.05, 0.13),
        sersic_index=rng.uniform(3, 4.5) if kind == "smooth" else rng.uniform(1.8, 3.5),
        scale_length=rng.uniform(0.32, 0.46),
        break_radius=rng.uniform(0.9, 1.25),
        outer_length=rng.uniform(0.22, 0.48) if early else rng.uniform(0.14, 0.25),
        youth=rng.uniform(*youth.get(kind, (0.0, 0.2))),
        bar=bar * (kind not in ("edge-on", "smooth", "cigar")),
        bar_length=bar_length,
        lens=rng.uniform(0.3, 1.2) if lens else 0.0,
        lens_radius=rng.uniform(0.5, 1.0) if ring is None else ring.radius * rng.uniform(0.4, 0.65),
        arms=rng.uniform(*arms.get(kind, (0.0, 0.0))) * (galaxy.contrast if galaxy.spiral else 0.5),
        arm_count=galaxy.arms if kind == "spiral" else 2,
        pitch=galaxy.pitch if pitch is None else float(np.radians(rng.uniform(*pitch))),
        patchiness={"irregular": rng.uniform(0.25, 0.5), "spiral": rng.uniform(0.03, 0.2)}.get(kind, 0.06),
        ring=ring,
    )


def ring_chance(galaxy: Galaxy) -> float:
    """Probability that a volunteer who sees the image tags it as a ring.

    Faint rings, and rings hardly wider than the seeing, are often missed; tight arms and the rims of lenses are
    sometimes taken for rings.
    """
    shown = look(galaxy)
    if shown.ring is None:
        return {"tight spiral": 0.12, "lens": 0.06, "merger": 0.03}.get(shown.kind, 0.01)
    radius = shown.ring.radius * galaxy.petroR90_r * shown.axis_ratio
    visible = shown.ring.contrast * radius**2 / (radius**2 + PSF_FWHM**2)
    return float(1 / (1 + (0.2 / visible) ** 2.2))
