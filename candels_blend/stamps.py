"""Prepare each galaxy's stamp for blending, once, from the image and the segmentation map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from candels_blend.stamp_archive import SIZE, Archive, let_go

DILATIONS = 5
"""Number of dilations of sources before neighbours are removed, as in candels-blender."""
BLOCK = 64
"""Number of stamps processed at a time."""


def _spread(mask: np.ndarray, axis: int) -> np.ndarray:
    """Grow a mask by the pixels on both sides of it along one axis."""
    spread = mask.copy()
    to, of = np.moveaxis(spread, axis, 0), np.moveaxis(mask, axis, 0)
    to[1:] |= of[:-1]
    to[:-1] |= of[1:]
    return spread


def dilate(mask: np.ndarray, times: int = 1) -> np.ndarray:
    """Dilate masks (bool [..., height, width]) `times` times by the four neighbours of each pixel."""
    for _ in range(times):
        mask = _spread(mask, -1) | _spread(mask, -2)
    return mask


def central_mask(segmentation: np.ndarray) -> np.ndarray:
    """Mask (bool [..., 128, 128]) of the source at the centre (64, 64) of a segmentation map."""
    return segmentation == segmentation[..., SIZE // 2, SIZE // 2, None, None]


def split_pixels(segmentation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the background and of all sources but the central one (both bool [..., 128, 128]).

    Sources are dilated `DILATIONS` times; pixels of the dilated central source are in neither.
    """
    sources = dilate(segmentation != 0, DILATIONS)
    return ~sources, sources & ~dilate(central_mask(segmentation), DILATIONS)


def is_clean(segmentation: np.ndarray) -> np.ndarray:
    """Whether no other source touches the central one or the edge of the stamp (bool [...]).

    Pixels of other sources have a value that is neither 0 nor that at the centre. Such a source touches the central one
    if one of its pixels is among the eight neighbours of a central pixel; it touches the edge if it has a pixel in the
    first or last row or column.
    """
    central = central_mask(segmentation)
    other = (segmentation != 0) & ~central
    forbidden = _spread(_spread(central, -1), -2)
    forbidden[..., [0, -1], :] = forbidden[..., :, [0, -1]] = True
    return ~(other & forbidden).any(axis=(-2, -1))


def clean_rows(archive: Archive) -> np.ndarray:
    """Mask (bool [n]) of the archive's galaxies with a clean stamp; see `is_clean`."""
    blocks = range(0, len(archive.segmentation), BLOCK)
    clean = np.concatenate([is_clean(archive.segmentation[start : start + BLOCK]) for start in blocks])
    let_go(archive.segmentation)
    return clean


@dataclass(frozen=True)
class Stamps:
    """Galaxy stamps, ready to be blended.

    Attributes
    ----------
    images : array, float32 [n, 128, 128]
        Stamps with all sources but the central one set to 0.
    central : array, uint8 [n, 128, 128]
        1 in the pixels of the central source.
    replaced : array, uint8 [n, 128, 128]
        1 in the pixels of the removed sources.
    variance : array, float32 [n]
        Variance of the background noise.
    bound : array, float64 [n]
        Bound on the absolute value of the stamp's pixels including noise.
    masked : bool
        Whether neighbours were removed and noise is to be added. If not, `images` are the archive's, and `replaced` and
        `variance` are 0.
    """

    images: np.ndarray
    central: np.ndarray
    replaced: np.ndarray
    variance: np.ndarray
    bound: np.ndarray
    masked: bool = True


def prepare(archive: Archive, masked: bool = True) -> Stamps:
    """Prepare the stamps of an archive; stamps left out of it are all 0. Unless `masked`, the others stay as they are.

    The standard deviation of the noise is that of the image times the background mask, over the whole stamp, as in
    candels-blender.
    """
    shape = archive.images.shape
    images = np.zeros(shape, np.float32)
    central, replaced = np.zeros((2, *shape), np.uint8)
    sigma, peak = np.zeros((2, len(images)))
    for start in range(0, len(archive.rows), BLOCK):
        rows = archive.rows[start : start + BLOCK]
        image, segmentation = archive.images[rows].astype(np.float32, copy=False), archive.segmentation[rows]
        central[rows] = central_mask(segmentation)
        if masked:
            background, replaced[rows] = split_pixels(segmentation)
            sigma[rows] = np.std(image * background, axis=(1, 2), dtype=np.float64)
            image = np.where(replaced[rows], np.float32(0), image)
        images[rows] = image
        peak[rows] = np.abs(image).max(axis=(1, 2))
        let_go(archive.images)
        let_go(archive.segmentation)
    # A pixel's noise is normal, of at most 1.5 deviations; 32 of them never occur.
    return Stamps(images, central, replaced, np.square(sigma).astype(np.float32), peak + 32.0 * sigma, masked)
