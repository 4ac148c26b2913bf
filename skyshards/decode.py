"""Stored bytes of one heavy value to an array."""

from __future__ import annotations

import io

import deflate
import numpy as np
from PIL import Image

from skyshards.columns import ColumnSpec


def into(out: np.ndarray, content: bytes, spec: ColumnSpec) -> None:
    """Decode a value of a number column into an array of its shape and dtype; raises `ValueError` if the bytes do not
    fill it.
    """
    if spec.deflate:
        try:
            content = deflate.zlib_decompress(content, out.nbytes)
        except deflate.DeflateError as error:
            raise ValueError(f"its {len(content)} bytes do not inflate to {out.nbytes} ({error})") from error
    if len(content) != out.nbytes:
        raise ValueError(f"{len(content)} bytes, expected {out.nbytes}")
    out[...] = np.frombuffer(content, out.dtype).reshape(out.shape)


def image(content: bytes) -> np.ndarray:
    """Decode an image file to uint8 [H, W, 3] (or [H, W] if grey); raises `ValueError` if it is none."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            return np.asarray(picture)
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error
