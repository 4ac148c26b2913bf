"""Targets for models: the two galaxies' masks in the formats of candels-blender."""

from __future__ import annotations

import numpy as np


def ogg_masks(masks: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Make the target with channels overlap, galaxy 1, galaxy 2, channels last.

    Parameters
    ----------
    masks : uint8 array [..., 2, height, width] of 0 and 1
        Masks of the central and the shifted galaxy.
    out : uint8 array [..., height, width, 3], optional
        Output array.

    Returns
    -------
    uint8 array [..., height, width, 3]
    """
    first, second = _each(masks)
    return np.stack([first & second, first, second], axis=-1, out=out)


def bogg_masks(masks: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Make the target background, overlap, galaxy 1 alone, galaxy 2 alone (one-hot): uint8 [..., height, width, 4].

    Parameters as for `ogg_masks`.
    """
    first, second = _each(masks)
    overlap = first & second
    return np.stack([1 - (first | second), overlap, first - overlap, second - overlap], axis=-1, out=out)


def _each(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return masks[..., 0, :, :], masks[..., 1, :, :]


MASKS = {"ogg_masks": ogg_masks, "bogg_masks": bogg_masks}
CHANNELS = {"ogg_masks": 3, "bogg_masks": 4}
METHODS = ("gg_masks", *MASKS, "single_images")
"""Targets by name; `gg_masks` is the two masks unchanged, `single_images` the two galaxies."""


def flux(magnitude: np.ndarray, zeropoint: float) -> np.ndarray:
    """Flux of a magnitude: 10 ** (-0.4 (mag - zeropoint)), in the unit of the zero point."""
    exponents = -0.4 * (np.asarray(magnitude, float) - zeropoint)
    # The last digit of such a power differs between NumPy versions.
    return np.array([10.0**exponent for exponent in exponents.ravel().tolist()]).reshape(exponents.shape)
