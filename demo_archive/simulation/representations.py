"""Representations of simulated images: a fixed, untrained network, which knows of a galaxy what its picture shows."""

from __future__ import annotations

from functools import cache

import numpy as np

FEATURES = 1280
"""Length of a representation: the last layer of EfficientNetB0."""
RADII, ANGLES, HARMONICS = 22, 48, 5
"""Circles around the middle of an image, points on each, and harmonics of the brightness along it (0 is its mean)."""
POOLED = 106
"""Width and height to which an image is averaged first, pixels."""


def represent(image: np.ndarray) -> np.ndarray:
    """Represent an image: uint8 `[424, 424, 3]` to float32 `[FEATURES]`, by a fixed mixture of what turns with nothing.

    These are the mean brightness and colour of circles around the middle, how the brightness bends from one circle to
    the next, and how strongly it varies along them.
    """
    side = len(image) // POOLED
    pooled = image.reshape(POOLED, side, POOLED, side, 3).mean(axis=(1, 3), dtype=np.float32)
    rows, columns, mixing = _network()
    polar = pooled[rows, columns] / np.float32(50)
    harmonics = np.abs(np.fft.rfft(polar.mean(axis=2), axis=1)[:, :HARMONICS]).astype(np.float32) / ANGLES
    profile, colour = harmonics[:, 0], (polar[..., 0] - polar[..., 2]).mean(axis=1)
    bends = 4 * (profile[1:-1] - (profile[:-2] + profile[2:]) / 2)
    latent = np.concatenate([profile, 2 * harmonics[:, 1:].ravel(), 2 * colour, bends])
    mixture = latent @ mixing
    # The activation function of EfficientNet, swish.
    return mixture / (1 + np.exp(-mixture))


@cache
def _network() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns of the points on the circles, and the weights of the mixture."""
    radius = np.linspace(0.5, 40, RADII)[:, None]
    angle = np.arange(ANGLES) * 2 * np.pi / ANGLES
    middle = (POOLED - 1) / 2
    rows, columns = (np.rint(middle + radius * turn(angle)).astype(int) for turn in (np.sin, np.cos))
    length = RADII * (HARMONICS + 1) + RADII - 2
    return rows, columns, np.random.default_rng((0, 0xFEA)).normal(0, 0.3, (length, FEATURES)).astype(np.float32)
