"""Folds of the sky for training and testing: a number from 0 to 9 for each position, the same in every dataset.

A fold is that of the position's HEALPix pixel, of about a degree. Positions near a pixel of another fold have none: two
surveys measure slightly different positions for a galaxy, which must not put it on both sides.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from skyshards.errors import UsageError
from skyshards.format import healpix

if TYPE_CHECKING:
    from skyshards.format.columns import ColumnSpec

FOLDS = 10
"""Number of folds."""
NO_FOLD = -1
"""In place of a fold, for rows near a pixel of another fold."""
NSIDE = 64
"""HEALPix resolution: pixels of 0.92 degrees."""
RADIUS = 12.0 / 3600
"""Radius in degrees of the circle of points that must have the same fold.

Positions within 10 arcsec never have different folds. If a disc of 10 arcsec about p reaches into another pixel at a
point q, the pixel contains a wedge with its tip at q, as wide as its narrowest corner: 52.6 degrees, at a latitude of
arcsin(2/3). The wedge covers at least 8.8 degrees of the circle of 12 arcsec, and the points are 7.5 degrees apart."""
POINTS = 48
"""Number of points on that circle."""
BLOCK = 20_000
"""Positions computed at a time, which bounds the memory to some megabytes."""


def hashed(pixels: np.ndarray) -> np.ndarray:
    """Return the fold (int8) of pixels of nside 64, NESTED: the first number of SplitMix64 seeded with each, mod 10.

    SplitMix64 is due to Steele, Lea and Flood (2014), https://doi.org/10.1145/2660193.2660195; constants as in
    https://prng.di.unimi.it/splitmix64.c.
    """
    z = np.asarray(pixels).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) % np.uint64(FOLDS)).astype(np.int8)


def fold_of(ra: Any, dec: Any) -> np.ndarray:
    """Return the fold of positions, as in the column `fold` of every dataset.

    Parameters
    ----------
    ra, dec : float or array
        ICRS, in degrees; broadcast.

    Returns
    -------
    int8 array
        0 to 9; -1 for positions near a pixel of another fold (1.3 % of the sky), which belong to no fold. Two positions
        less than 10 arcsec apart never have different folds from 0 to 9.

    Examples
    --------
    >>> skyshards.fold_of([181.1, 181.101], 30.0).tolist()
    [0, 0]
    """
    ra, dec = np.broadcast_arrays(np.asarray(ra, np.float64), np.asarray(dec, np.float64))
    found = np.empty(ra.size, np.int8)
    for start in range(0, ra.size, BLOCK):
        part = slice(start, start + BLOCK)
        found[part] = _folds(np.radians(ra.ravel()[part]), np.radians(dec.ravel()[part]))
    return found.reshape(ra.shape)


def _folds(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Return the folds of a block of positions in radians."""
    nothing = np.zeros_like(ra)
    position = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=-1)
    east = np.stack([-np.sin(ra), np.cos(ra), nothing], axis=-1)
    own = hashed(healpix.pixel_of_vectors(position, NSIDE))
    alike, radius = np.ones(len(ra), bool), np.radians(RADIUS)
    for angle in 2 * np.pi * np.arange(POINTS) / POINTS:
        point = np.cos(radius) * position + np.sin(radius) * (np.cos(angle) * north + np.sin(angle) * east)
        alike &= hashed(healpix.pixel_of_vectors(point, NSIDE)) == own
    return np.where(alike, own, np.int8(NO_FOLD))


def common_fold(folds: np.ndarray) -> np.ndarray:
    """Return the fold that all objects of each row [rows, objects] have, -1 where they have several or none."""
    folds = np.asarray(folds)
    return np.where((folds == folds[:, :1]).all(axis=1), folds[:, 0], NO_FOLD).astype(np.int8)


def is_fold(spec: ColumnSpec | None) -> bool:
    """Whether a folder's column `fold` is the engine's; earlier folders have none, or one of another meaning."""
    return spec is not None and (spec.kind, spec.dtype, spec.shape) == ("number", "int8", ())


def checked(folds: Any) -> tuple[int, ...]:
    """Return a selection of folds, a number or several, sorted and without duplicates.

    Raises `UsageError` unless there is at least one and all are whole numbers from 0 to 9.
    """
    expected = f"folds: expected one or more of 0 to {FOLDS - 1}"
    try:
        values = [folds] if np.ndim(folds) == 0 and not np.iterable(folds) else list(folds)
        found = {operator.index(value) for value in values if not isinstance(value, (bool, np.bool_))}
    except TypeError:
        raise UsageError(f"{expected}, found {folds!r:.80}") from None
    if outside := [value for value in values if isinstance(value, (bool, np.bool_)) or not 0 <= value < FOLDS]:
        advice = '; -1 marks the rows in no fold: `where("fold == -1")`' if outside[0] == NO_FOLD else ""
        raise UsageError(f"{expected}, found {outside[0]!r:.80}{advice}")
    if not found:
        raise UsageError(f"{expected}, found none")
    return tuple(sorted(found))
