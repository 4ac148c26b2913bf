"""Turn images of any kind into RGB: image files, colour, grey, fluxes, bands."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from skyshards.format.images import decode_image

NOISE = 3.0
"""Standard deviations of the sky above which the stretch turns from linear to logarithmic."""
FLOOR = 0.01
"""Standard deviation taken for a sky without noise, relative to the range of the fluxes."""
SAMPLE = 1 << 18
"""Maximum number of pixels that the sky is estimated from."""
BLANK = (61, 90, 128)
"""Colour of pixels without a value: a blue that no grey image has."""


def to_rgb(image: Any) -> np.ndarray | None:
    """Convert an image to RGB.

    Parameters
    ----------
    image : array or bytes
        uint8 and bool values are drawn as they are, float RGB from 0 to 1 as well. All others are fluxes, which are
        stretched, each band by itself. Arrays are [H, W], [H, W, channels] with 1, 3 or 4 channels (RGB, alpha over
        black) or bands [N, H, W], of which the last, middle and first are drawn red, green and blue. Or it is the
        content of a PNG or JPEG file.

    Returns
    -------
    uint8 array [H, W, 3]
        None for an image without pixels or values, as the missing ones of a left join.

    Raises
    ------
    ValueError
        If it is no image, or a damaged file.
    """
    if isinstance(image, bytes) or (isinstance(image, np.ndarray) and image.ndim == 1 and image.dtype == np.uint8):
        content = bytes(image)
        if not content:
            return None
        image = decode_image(content)
    pixels = np.asarray(image)
    if pixels.size == 0:
        return None
    if pixels.dtype.kind not in "biuf" or pixels.ndim not in (2, 3):
        raise ValueError(f"expected an image of 2 or 3 dimensions, found {pixels.dtype} {list(pixels.shape)}")
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).any():
        return None
    if pixels.ndim == 2:
        return _grey(pixels)
    if pixels.shape[2] in (2, 4):  # with transparency
        return _opaque(pixels)
    if pixels.shape[2] == 1:
        return _grey(pixels[..., 0])
    if pixels.shape[2] == 3:
        return _colour(pixels)
    return _bands(pixels)


def stretch(flux: np.ndarray) -> np.ndarray:
    """Stretch fluxes, or counts, to uint8: the sky dark, its noise just visible, the brightest pixel white.

    The asinh stretch of Lupton et al. (2004, PASP 116, 133) is linear up to `NOISE` standard deviations of the sky
    (from the median absolute deviation) and logarithmic above. Values that are not finite become 0.
    """
    flux = flux.astype(np.float64)
    finite = flux[np.isfinite(flux)]
    if not finite.size:
        return np.zeros(flux.shape, np.uint8)
    sample = finite[:: max(1, finite.size // SAMPLE)]
    sky = np.median(sample)
    noise = 1.4826 * np.median(np.abs(sample - sky))
    white = finite.max()
    if noise == 0:  # no sky, or one without noise
        sky = finite.min()
        noise = FLOOR * (white - sky)
    if noise == 0:
        return np.zeros(flux.shape, np.uint8)
    black, softening = sky - noise, NOISE * noise
    with np.errstate(invalid="ignore"):
        drawn = np.arcsinh((flux - black) / softening) / np.arcsinh((white - black) / softening)
    return np.rint(255 * np.clip(np.nan_to_num(drawn, nan=0, posinf=1, neginf=0), 0, 1)).astype(np.uint8)


def shrink(image: np.ndarray, size: int | None) -> np.ndarray:
    """Shrink an RGB image so that its longer side has `size` pixels; smaller ones, and with None all, stay."""
    height, width = shrunk(image.shape, size)
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0))


def shrunk(shape: tuple[int, ...], size: int | None) -> tuple[int, int]:
    """Return the height and width of an image of this shape once it is shrunk."""
    height, width = shape[:2]
    if size is None or max(height, width) <= size:
        return height, width
    scale = size / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _plane(pixels: np.ndarray) -> np.ndarray:
    """Return one plane as uint8."""
    if pixels.dtype == np.uint8:
        return pixels
    return pixels.astype(np.uint8) * np.uint8(255) if pixels.dtype == bool else stretch(pixels)


def _grey(pixels: np.ndarray) -> np.ndarray:
    rgb = np.repeat(_plane(pixels)[..., np.newaxis], 3, axis=2)
    if pixels.dtype.kind == "f":
        rgb[~np.isfinite(pixels)] = BLANK
    return rgb


def _colour(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype.kind == "f" and np.nanmin(pixels) >= 0 and np.nanmax(pixels) <= 1:
        return np.rint(255 * np.nan_to_num(pixels)).astype(np.uint8)
    return np.stack([_plane(pixels[..., channel]) for channel in range(3)], axis=2)


def _opaque(pixels: np.ndarray) -> np.ndarray:
    """Draw grey or RGB with an alpha channel over black."""
    solid = pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3]
    rgb = _grey(solid) if solid.ndim == 2 else _colour(solid)
    top = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1
    alpha = np.clip(pixels[..., -1:].astype(np.float64) / top, 0, 1)
    return np.rint(rgb * np.nan_to_num(alpha)).astype(np.uint8)


def _bands(pixels: np.ndarray) -> np.ndarray:
    last = len(pixels) - 1
    return np.stack([_plane(pixels[band]) for band in (last, last // 2, 0)], axis=2)
