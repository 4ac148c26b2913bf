"""Decode, describe and convert image files."""

from __future__ import annotations

import io

import numpy as np
import simplejpeg
from PIL import Image

from skyshards.text import counted

JPEG, PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
FORMATS = ("PNG", "JPEG")
"""Formats allowed in an image column. Pillow tries no others: some of them start external programs."""
UINT8 = np.dtype("uint8")


def decode_image(content: bytes, out: np.ndarray | None = None) -> np.ndarray:
    """Decode an image file: a JPEG to uint8 [H, W, 3], a PNG as Pillow decodes it.

    simplejpeg (libjpeg-turbo) returns the same values as Pillow, three times as fast. If the image fits the array
    `out`, it is decoded there and `out` is returned. Raises `ValueError` if the content is not an image, is truncated,
    or exceeds Pillow's limit against decompression bombs.
    """
    try:
        if content[:2] != JPEG:
            return _by_pillow(content, out)
        if out is not None and out.dtype == UINT8:
            try:
                found = simplejpeg.decode_jpeg(content, buffer=out)
                return out if found.shape == out.shape else found.copy()
            except ValueError:  # too large for `out`, or damaged
                pass
        height, width, *_ = simplejpeg.decode_jpeg_header(content)
        if Image.MAX_IMAGE_PIXELS is not None and height * width > Image.MAX_IMAGE_PIXELS:
            raise ValueError(f"{height} x {width} pixels, expected at most {Image.MAX_IMAGE_PIXELS}")
        return simplejpeg.decode_jpeg(content)
    except (ValueError, MemoryError):
        raise
    except Exception as error:  # damaged files make the decoders raise SyntaxError, KeyError and others
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _by_pillow(content: bytes, out: np.ndarray | None) -> np.ndarray:
    with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
        pixels = np.asarray(picture)
    if out is None or out.shape != pixels.shape or out.dtype != pixels.dtype:
        return pixels.copy()  # Pillow's array is read-only
    out[...] = pixels
    return out


def described(content: bytes) -> str:
    """Describe bytes that should have been an image, for error messages."""
    start = content[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if content.startswith((JPEG, PNG)):
        return f"a {'JPEG' if content.startswith(JPEG) else 'PNG'} of {counted(len(content), 'bytes')}"
    return f"{counted(len(content), 'bytes')} that begin with {content[:24]!r}"


def is_rgb(picture: Image.Image, content: bytes) -> bool:
    """Whether an open file is 8-bit RGB without transparency, so that it can be kept as it is."""
    deep = content.startswith(PNG) and content[24] != 8  # the bit depth, which Pillow does not report for colour
    return picture.mode == "RGB" and "transparency" not in picture.info and not deep


def to_rgb(picture: Image.Image) -> Image.Image:
    """Convert a picture of any mode of PNG or JPEG to RGB.

    16-bit grey keeps its upper 8 bits, as Pillow does for colour. Transparent pixels are blended over black. All else
    is Pillow's `convert("RGB")`.
    """
    if picture.mode.startswith("I"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if "A" in picture.getbands() or "transparency" in picture.info:
        above = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", above.size, (0, 0, 0, 255)), above)
    return picture.convert("RGB")
