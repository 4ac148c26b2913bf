"""Stored bytes of one heavy value to an array; images are decoded by `skyshards.format.images`."""

from __future__ import annotations

import deflate
import numpy as np

from skyshards.format.columns import ColumnSpec


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
