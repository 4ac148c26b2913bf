"""What is stored of an image file: its own bytes where they are what the column says, else a PNG made from them."""

from __future__ import annotations

import io

from PIL import Image

from skyshards.errors import SourceError
from skyshards.format.images import FORMATS, decode_image, described, is_rgb, to_rgb

MAX_SIDE = 8192
"""Pixels; the release's images have 424. A small file can claim a size that no memory holds."""


def stored(content: bytes, size: int | None = None) -> tuple[bytes, float]:
    """An image file in RGB, resampled once to `size` x `size` with antialiasing if that is given.

    Returns
    -------
    bytes
        The file as it was given if it is RGB of 8 bits and of this size already, else a lossless PNG (see `to_rgb`).
    float
        How many of the old pixels a new one spans.

    Raises
    ------
    SourceError
        If it is no whole PNG or JPEG of a sensible size, or is to be resampled and not square.
    """
    _check(content)
    with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
        growth = 1.0
        if size is not None and picture.size != (size, size):
            if picture.width != picture.height:
                raise SourceError(f"an image of {picture.size} pixels, expected a square one to resample")
            growth = picture.width / size
        if growth == 1.0 and is_rgb(picture, content):
            return content, growth
        try:
            if picture.format == "JPEG":
                decode_image(content)  # Pillow lets one pass that lacks its end
            picture = to_rgb(picture)
        except (OSError, SyntaxError, ValueError) as error:
            raise SourceError(f"not a whole PNG or JPEG file: {described(content)} ({error})") from error
        if growth != 1.0:
            # Lanczos of Pillow widens with the step, which is what keeps fine structure from being aliased.
            picture = picture.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=None)
        file = io.BytesIO()
        picture.save(file, "PNG")
        return file.getvalue(), growth


def _check(content: bytes) -> None:
    """Look at a file without decoding it; what is stored as it is is decoded where rows are encoded."""
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
        if max(picture.size) > MAX_SIDE:
            raise SourceError(f"an image of {picture.size} pixels, expected at most {MAX_SIDE} on a side")
        picture.verify()  # compares the CRC of every part of a PNG
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SourceError(f"not a whole PNG or JPEG file: {described(content)} ({error})") from error
