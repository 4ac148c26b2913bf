"""Lay masks and label images over a picture, in colours that colour-blind people can tell apart."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image

COLOURS = ("#F0E442", "#56B4E9", "#009E73", "#D55E00", "#CC79A7", "#E69F00", "#0072B2")
"""Colours of the masks, in order (Okabe & Ito 2008, https://jfly.uni-koeln.de/color/)."""
FILL, LINE = 0.5, 0.9
"""Opacity of a mask where it is strongest, and of its outline."""
COVERED = 0.2
"""Share of a shrunk pixel that a mask must cover to be inside its outline."""

_RGB = np.array([list(bytes.fromhex(colour[1:])) for colour in COLOURS], np.float32)


def overlay(picture: np.ndarray, masks: Iterable[np.ndarray]) -> np.ndarray:
    """Lay masks over a picture: each in a colour of its own, outlined, the smaller ones on top.

    Parameters
    ----------
    picture : uint8 array [height, width, 3]
    masks : iterable of bool or integer arrays
        [N, H, W]: one mask each, such as counts; the larger the value, the more opaque. [H, W]: a mask of bools, or
        labels, each value above 0 a region. They are shrunk to the picture. After the last of `COLOURS`, the first is
        used again.

    Returns
    -------
    uint8 array [height, width, 3]
    """
    drawn = picture.astype(np.float32)
    shape, used = picture.shape[:2], 0
    layers = []
    for mask in masks:
        if mask.ndim == 2 and mask.dtype != bool:
            used += _lay_labels(drawn, mask, used)
            continue
        for plane in mask[np.newaxis] if mask.ndim == 2 else mask:
            layers.append((_strength(plane, shape), _RGB[used % len(_RGB)]))
            used += 1
    for strength, colour in sorted(layers, key=lambda layer: -np.count_nonzero(layer[0])):
        if strength.any():
            inside = strength >= min(COVERED, float(strength.max()))
            _lay(drawn, np.where(_edges(inside) & inside, LINE, FILL * strength), colour)
    return np.rint(drawn).astype(np.uint8)


def colours_used(mask: np.ndarray) -> int:
    """Return the number of colours that `overlay` uses for a mask or several, or for the regions of a label image."""
    if mask.ndim == 3 or mask.dtype == bool:
        return len(mask) if mask.ndim == 3 else 1
    return int(np.count_nonzero(np.unique(mask) > 0))


def _lay_labels(drawn: np.ndarray, labels: np.ndarray, used: int) -> int:
    """Lay the regions of a label image over a picture, in place; return the number of colours used."""
    values, ranks = np.unique(labels, return_inverse=True)
    ranks = np.maximum(ranks.reshape(labels.shape) - np.count_nonzero(values <= 0) + 1, 0)
    rows, columns = ((np.arange(n) + 0.5) * m / n for n, m in zip(drawn.shape[:2], labels.shape, strict=True))
    ranks = ranks[rows.astype(int)[:, np.newaxis], columns.astype(int)]
    opacity = np.where(_edges(ranks), LINE, FILL) * (ranks > 0)
    _lay(drawn, opacity, _RGB[(used + ranks - 1) % len(_RGB)])
    return int(np.count_nonzero(values > 0))


def _lay(drawn: np.ndarray, opacity: np.ndarray, colour: np.ndarray) -> None:
    """Blend a colour, or one of each pixel, into a picture, in place."""
    drawn += opacity[..., np.newaxis] * (colour - drawn)


def _strength(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the strength of a mask, relative to its largest value, in pixels of the picture."""
    strength = np.maximum(mask, 0).astype(np.float32)
    strength /= max(1.0, float(strength.max(initial=0)))
    if strength.shape == shape:
        return strength
    return np.asarray(Image.fromarray(strength).resize((shape[1], shape[0]), Image.Resampling.BOX))


def _edges(regions: np.ndarray) -> np.ndarray:
    """Return the pixels that have a neighbour in another region; the edge of the picture is no neighbour."""
    around = np.pad(regions, 1, mode="edge")
    middle = around[1:-1, 1:-1]
    beside = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
    return np.logical_or.reduce([middle != other for other in beside])
