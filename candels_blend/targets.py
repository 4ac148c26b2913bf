"""Targets for models: the galaxies' masks in the formats of candels-blender."""

from __future__ import annotations

import functools

import numpy as np


def ogg_masks(masks: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Make the target with channels overlap, galaxy 1, galaxy 2, …, channels last.

    Parameters
    ----------
    masks : uint8 array [..., n, height, width] of 0 and 1
        Masks of the central and the shifted galaxies.
    out : uint8 array [..., height, width, n + 1], optional
        Output array.

    Returns
    -------
    uint8 array [..., height, width, n + 1]
        The overlap is where at least two galaxies are.
    """
    each = _each(masks)
    return np.stack([_overlap(each), *each], axis=-1, out=out)


def bogg_masks(masks: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Make the target background, overlap, galaxy 1 alone, galaxy 2 alone, … (one-hot), channels last.

    Parameters as for `ogg_masks`; uint8 [..., height, width, n + 2].
    """
    each = _each(masks)
    overlap = _overlap(each)
    background = 1 - functools.reduce(np.bitwise_or, each)
    return np.stack([background, overlap, *(mask > overlap for mask in each)], axis=-1, out=out)


def _each(masks: np.ndarray) -> list[np.ndarray]:
    return [masks[..., place, :, :] for place in range(masks.shape[-3])]


def _overlap(each: list[np.ndarray]) -> np.ndarray:
    """Return 1 where at least two masks are."""
    first, second, *others = each
    overlap = first & second
    union = first
    for mask in others:
        union = union | second
        overlap |= union & mask
        second = mask
    return overlap


MASKS = {"ogg_masks": ogg_masks, "bogg_masks": bogg_masks}
_EXTRA_CHANNELS = {"ogg_masks": 1, "bogg_masks": 2}
METHODS = ("gg_masks", *MASKS, "single_images")
"""Targets by name; `gg_masks` is the masks unchanged, `single_images` the galaxies."""


def channels(method: str, n_galaxies: int) -> int:
    """Return the number of channels of a target of `MASKS`."""
    return n_galaxies + _EXTRA_CHANNELS[method]


def flux(magnitude: np.ndarray, zeropoint: float) -> np.ndarray:
    """Flux of a magnitude: 10 ** (-0.4 (mag - zeropoint)), in the unit of the zero point."""
    exponents = -0.4 * (np.asarray(magnitude, float) - zeropoint)
    # The last digit of such a power differs between NumPy versions.
    return np.array([10.0**exponent for exponent in exponents.ravel().tolist()]).reshape(exponents.shape)
