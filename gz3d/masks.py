"""Masks of a GZ3D row as fractions of the volunteers, above a threshold, and on the grid of MaNGA's maps.

Rows may come from `skyshards.open` or from `load_dataset`, in any format that NumPy can read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gz3d.drawings import DRAWN
from gz3d.sky import CENTRE

THRESHOLD = 3 / 15
"""Fraction above which a pixel is taken to belong to a class.

More than 3 of the usual 15 volunteers, the default for arms in the code of S. Shamsi, an author of Masters et al.
(2021): https://github.com/sjshamsi/GZ3D_spiral_analysis, `SpiralGalaxy.update_spirals`. The card has others' choices.
"""

SPAXEL = 0.5
"""Width of a spaxel, arcsec (Law et al. 2016, AJ 152, 83)."""

SPAXELS = {7: 24, 19: 34, 37: 44, 61: 54, 91: 64, 127: 74}
"""Spaxels along each side of MaNGA's cubes, by number of fibres, as the GZ3D team's reader has them."""

FAINTEST = 0.5
"""Smaller values on the grid of spaxels are 0, as in the GZ3D team's reader."""


def fraction(row: Mapping[str, Any]) -> np.ndarray:
    """Divide the masks of a row by the number of volunteers who did the task, whether or not they drew anything.

    Parameters
    ----------
    row : mapping
        One row, with `segmentation` and `volunteers`.

    Returns
    -------
    numpy.ndarray, float32 [4, 525, 525]
        In the order of `segmentation.class`. NaN if nobody did the task. Masks count polygons, so that volunteers who
        drew several over each other may bring it above 1.

    Examples
    --------
    >>> import numpy as np
    >>> masks = {"class": ["bar"], "array": np.array([[[0, 3, 15]]], np.uint8)}
    >>> fraction({"segmentation": masks, "volunteers": {"bar": 15}})
    array([[[0. , 0.2, 1. ]]], dtype=float32)
    """
    masks, volunteers = _counted(row)
    found = np.empty(masks.shape, np.float32)
    for number, mask, out in zip(volunteers, masks, found, strict=True):
        out[...] = _per_volunteer(number)[mask]
    return found


def threshold(row: Mapping[str, Any], above: float = THRESHOLD) -> np.ndarray:
    """Tell which pixels more than a fraction of the volunteers marked.

    Parameters
    ----------
    row : mapping
        One row, with `segmentation` and `volunteers`.
    above : float
        The fraction. A value of exactly this fraction is not above it.

    Returns
    -------
    numpy.ndarray, bool [4, 525, 525]
        In the order of `segmentation.class`.

    Examples
    --------
    >>> import numpy as np
    >>> masks = {"class": ["bar"], "array": np.array([[[3, 4]]], np.uint8)}
    >>> threshold({"segmentation": masks, "volunteers": {"bar": 15}})
    array([[[False,  True]]])
    """
    masks, volunteers = _counted(row)
    return np.stack([(_per_volunteer(number) > above)[mask] for number, mask in zip(volunteers, masks, strict=True)])


def spaxel_masks(row: Mapping[str, Any], size: int | None = None) -> dict[str, np.ndarray]:
    """Resample the masks of a row to the grid of MaNGA's cubes and maps, with spaxels of 0.5 arcsec.

    A bivariate spline is interpolated through each mask and evaluated at the spaxels' centres, and values below 0.5
    become 0, as by `make_all_spaxel_masks` of the GZ3D team's reader. Values are counts, not fractions.

    Parameters
    ----------
    row : mapping
        One row, with `segmentation`, `ifudesignsize` and `scale`.
    size : int, optional
        Spaxels along each side; by default, those of the cubes of an IFU of this size.

    Returns
    -------
    dict of str -> numpy.ndarray [size, size]
        float64 for each of `segmentation.class`, and `other`, a bool: no centre, arm or bar is there. Row 0 is the
        southern one, as in MaNGA's maps.

    Raises
    ------
    ValueError
        The IFU's size is unknown.
    """
    from scipy.interpolate import RectBivariateSpline

    if size is None:
        fibres = int(np.nan_to_num(row["ifudesignsize"]))
        if fibres not in SPAXELS:
            raise ValueError(
                f"expected a row with an `ifudesignsize` of {', '.join(map(str, SPAXELS))} fibres, found"
                f" {row['ifudesignsize']}; give the `size` of the cube"
            )
        size = SPAXELS[fibres]
    masks = np.asarray(row["segmentation"]["array"], float)
    # The centre in FITS pixels, which count from 1, is taken for a place in the array, as the reader does.
    places = (np.arange(size) - (size - 1) / 2) * SPAXEL / (float(row["scale"]) * 3600) + CENTRE
    pixels = np.arange(masks.shape[1])
    found = {}
    for name, mask in zip(map(str, row["segmentation"]["class"]), masks, strict=True):
        values = RectBivariateSpline(pixels, pixels, mask)(places, places)[::-1]
        found[name] = np.where(values < FAINTEST, 0, values)
    found["other"] = (found["spiral"] == 0) & (found["bar"] == 0) & (found["center"] == 0)
    return found


def _counted(row: Mapping[str, Any]) -> tuple[np.ndarray, list[int]]:
    """Return the masks of a row, uint8, and the number of volunteers of each."""
    segmentation = row["segmentation"]
    masks = np.asarray(segmentation["array"])
    if masks.ndim != 3:
        raise ValueError(f"expected the masks of one row, of shape (4, H, W), found {masks.shape}: go row by row")
    tasks = [DRAWN[str(name)][0] for name in segmentation["class"]]
    return masks.astype(np.uint8, copy=False), [int(row["volunteers"][task]) for task in tasks]


def _per_volunteer(number: int) -> np.ndarray:
    """Return what each value of a mask is as a fraction: float64 [256]."""
    return np.arange(256) / number if number > 0 else np.full(256, np.nan)
