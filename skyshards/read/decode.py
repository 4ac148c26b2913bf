"""Stored bytes of one heavy value to an array."""

from __future__ import annotations

import io

import deflate
import numpy as np
import simplejpeg
from PIL import Image

from skyshards.format.columns import ColumnSpec

JPEG = b"\xff\xd8"
UINT8 = np.dtype("uint8")


def into(out: np.ndarray, content: bytes, spec: ColumnSpec) -> None:
    """Decode a value of a number column into an array of its shape and dtype.

    Raises `ValueError` if the bytes do not fill it.
    """
    if spec.deflate:
        try:
            content = deflate.zlib_decompress(content, out.nbytes)
        except deflate.DeflateError as error:
            raise ValueError(f"its {len(content)} bytes do not inflate to {out.nbytes} ({error})") from error
    if len(content) != out.nbytes:
        raise ValueError(f"{len(content)} bytes, expected {out.nbytes}")
    out[...] = np.frombuffer(content, out.dtype).reshape(out.shape)


def image(content: bytes, out: np.ndarray | None = None) -> np.ndarray:
    """Decode an image file: a JPEG to uint8 [H, W, 3], any other to what Pillow makes of it.

    libjpeg-turbo (simplejpeg) gives the same values as Pillow, three times as fast. If they fit into the array `out`,
    they are written there, and that is returned. Raises `ValueError` if it is no image, is cut short, or is larger than
    Pillow's bound against decompression bombs.
    """
    try:
        if content[:2] != JPEG:
            return _by_pillow(content, out)
        if out is not None and out.dtype == UINT8:
            try:
                found = simplejpeg.decode_jpeg(content, buffer=out)
                return out if found.shape == out.shape else found.copy()
            except ValueError:  # too large for it, or damaged
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
    with Image.open(io.BytesIO(content)) as picture:
        pixels = np.asarray(picture)
    if out is None or out.shape != pixels.shape or out.dtype != pixels.dtype:
        return pixels
    out[...] = pixels
    return out
