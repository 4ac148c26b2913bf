"""Light of the simulated galaxies as `looks` describes them: bulge, disk, bar, lens, ring, arms, debris of a merger."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from PIL import Image
from scipy.special import expit

from demo_archive.simulation.galaxies import Galaxy, arm_angle, picture_to_disk, sersic
from demo_archive.simulation.looks import Look, Ring

SOFT = 0.1
"""Radius within which profiles are flat, arcsec."""


def light(galaxy: Galaxy, shown: Look, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Surface brightness of a galaxy's old and of its young stars, before the seeing.

    Parameters
    ----------
    galaxy : Galaxy
    shown : Look
    x, y : float32 array, `[1, W]` and `[H, 1]`
        Offsets from its centre in the directions of increasing column and row, arcsec.

    Returns
    -------
    two float32 arrays, `[H, W]`
        Nanomaggies per square arcsecond in r.
    """
    size = galaxy.petroR90_r
    unit = np.float32(10 ** (0.4 * (22.5 - galaxy.modelMag_r)) / size**2)
    seen = replace(galaxy, axis_ratio=shown.axis_ratio, arms=shown.arm_count, pitch=shown.pitch)
    along, across = (each / np.float32(size) for each in picture_to_disk(seen, x, y))
    radius = np.sqrt(along * along + across * across + np.float32((SOFT / size) ** 2))
    bulge = sersic(radius, shown.bulge_radius, shown.sersic_index, shown.bulge, max(shown.axis_ratio, 0.5))
    if shown.kind in ("smooth", "cigar"):
        return bulge * unit, np.zeros_like(radius)
    if shown.edge_on:
        # The bulge is round, and the disk has the profile of an isothermal sheet across its plane.
        bulge = sersic(np.hypot(along, across * shown.axis_ratio / 0.6), 0.12, 2.0, shown.bulge, 0.6)
        height = np.minimum(np.abs(across) / np.float32(0.45), 30)
        sheet = np.exp(-np.abs(along) / np.float32(0.3)) / np.cosh(height) ** 2
        return (bulge + 0.9 * (1 - shown.bulge) * sheet / shown.axis_ratio**0.5) * unit, np.zeros_like(radius)
    angle = np.arctan2(across, along)
    central = (1 - shown.bulge) / (disk_flux(shown) * shown.axis_ratio)
    bar_angle = np.float32(galaxy.bar_angle)
    wave = np.zeros_like(radius)
    if shown.arms:
        wave = shown.arms * _arms(seen, shown, angle, radius * np.float32(size))
    wave = wave + _patches(galaxy, radius.shape, shown.patchiness)
    disk = central * disk_profile(shown, radius)
    ring = np.zeros_like(radius)
    if shown.ring is not None:
        gap, ring = _ring(shown.ring, bar_angle, angle, radius)
        disk = disk * gap
        ring = ring * (central * disk_profile(shown, shown.ring.radius))
    if shown.lens:
        level = shown.lens * central * disk_profile(shown, shown.lens_radius)
        bulge = bulge + level * expit((np.float32(shown.lens_radius) - radius) / np.float32(0.08))
    if shown.bar:
        bulge = bulge + shown.bar * central * _bar(shown, bar_angle, along, across)
    if shown.kind == "merger":
        disk = disk + central * _debris(galaxy, along, across, angle, radius)
    old = disk * np.exp(wave) * (1 - shown.youth) + bulge + 0.6 * ring
    young = disk * np.exp(1.6 * wave) * shown.youth + 0.4 * ring
    return old * unit, young * unit


def disk_profile(shown: Look, radius):
    """Profile of the disk, near 1 at its centre: exponential, and steeper beyond the break."""
    bend = np.logaddexp(np.float32(0), (radius - np.float32(shown.break_radius)) / np.float32(0.2)) * np.float32(0.2)
    steeper = np.float32(1 / shown.outer_length - 1 / shown.scale_length)
    return np.exp(-radius / np.float32(shown.scale_length) - bend * steeper)


def disk_flux(shown: Look) -> float:
    """Flux of a face-on disk whose profile is `disk_profile`."""
    radius = np.arange(0.01, 4, 0.02, dtype=np.float32)
    return float(2 * np.pi * (radius * disk_profile(shown, radius)).sum() * 0.02)


def _bar(shown: Look, bar_angle, along, across):
    """Profile of a boxy bar in the plane of the disk: 1 inside, falling off at its edge."""
    cos, sin = math.cos(bar_angle), math.sin(bar_angle)
    u = np.abs(along * cos + across * sin) / np.float32(shown.bar_length)
    v = (across * cos - along * sin) / np.float32(0.36 * shown.bar_length)
    return np.exp(-(u * u * u) - v * v)


def _ring(ring: Ring, bar_angle, angle, radius):
    """Profiles of a ring, 1 on its crest, and of the gap inside it, a factor of the disk's brightness.

    Rings are elongated across the bar (Buta & Combes 1996, Fundamentals of Cosmic Physics 17, 95), and gaps deepest
    beside it.
    """
    twice = np.cos(2 * (angle - bar_angle))
    stretched = radius * (1 + np.float32(0.5 * (1 - ring.axis_ratio)) * twice)
    crest = np.exp(np.float32(-0.5) * ((stretched - np.float32(ring.radius)) / np.float32(ring.width)) ** 2)
    along = 1 + ring.lopsided * np.cos(angle - ring.phase) + ring.broken * np.cos(2 * angle - ring.phase)
    hollow = (stretched - np.float32(0.68 * ring.radius)) / np.float32(0.2 * ring.radius)
    gap = 1 - ring.gap * np.exp(np.float32(-0.5) * hollow * hollow) * (0.75 - 0.25 * twice)
    return gap, crest * np.maximum(along, 0)


def _arms(seen: Galaxy, shown: Look, angle, radius):
    """Logarithm of how arms change the disk, 0 on average along a circle; none inside the bar or bulge (arcsec)."""
    start = np.float32(0.8 * max(shown.bar_length if shown.bar else 0.25, 0.25) * seen.petroR90_r)
    phase = seen.arms * (angle - arm_angle(seen, radius))
    crest = np.exp(np.float32(1.4) * (np.cos(phase) - 1)) - np.float32(0.41)
    square = radius * radius
    return np.float32(1.6) * crest * square / (square + start * start)


def _patches(galaxy: Galaxy, shape: tuple[int, int], strength: float) -> np.ndarray:
    """Logarithm of how patches of a fraction of the disk's size change it, about 0 on average."""
    coarse = galaxy.rng(37).standard_normal((22, 22), np.float32) * np.float32(strength)
    return np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC))


def _debris(galaxy: Galaxy, along, across, angle, radius):
    """A companion beside the galaxy, and a tidal tail that leads away from it; 1 is the disk's centre."""
    rng = galaxy.rng(38)
    place, direction = rng.uniform(0.55, 1.2), rng.uniform(0, 2 * np.pi)
    u = along - np.float32(place * math.cos(direction))
    v = (across - np.float32(place * math.sin(direction))) / np.float32(rng.uniform(0.5, 1))
    companion = rng.uniform(0.8, 4) * np.exp(-np.hypot(u, v) / np.float32(rng.uniform(0.08, 0.2)))
    wound = direction + np.pi + rng.choice([-1, 1]) * np.log(radius / np.float32(0.5)) / math.tan(0.6)
    tail = np.exp(4 * (np.cos(angle - wound.astype(np.float32)) - 1)) * np.exp(-radius / np.float32(0.8))
    return companion + np.float32(rng.uniform(0.1, 0.6)) * tail * (radius > 0.5)
