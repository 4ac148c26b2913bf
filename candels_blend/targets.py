"""What a model is to predict: the two galaxies' masks in the forms that candels-blender has for them."""

from __future__ import annotations

import numpy as np


def ogg_masks(masks: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Overlap, galaxy 1, galaxy 2, channels last.

    Parameters
    ----------
    masks : uint8 array [..., 2, height, width] of 0 and 1
        Central galaxy, shifted galaxy.
    out : uint8 array [..., height, width, 3], optional
        Where to write the target.

    Returns
    -------
    uint8 array [..., height, width, 3]
    """
    first, second = _each(masks)
    return np.stack([first & second, first, second], axis=-1, out=out)


def bogg_masks(masks: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Background, overlap, galaxy 1 alone, galaxy 2 alone (one in each pixel): uint8 [..., height, width, 4].

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
"""The targets by name; `gg_masks` is the two masks as they are, `single_images` the two galaxies themselves."""


def flux(magnitude: np.ndarray, zeropoint: float) -> np.ndarray:
    """Flux of a magnitude: 10 ** (-0.4 (mag - zeropoint)), in the unit that the zero point stands for."""
    exponents = -0.4 * (np.asarray(magnitude, float) - zeropoint)
    # Versions of NumPy differ in the last digit of such a power.
    return np.array([10.0**exponent for exponent in exponents.ravel().tolist()]).reshape(exponents.shape)
