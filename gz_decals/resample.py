"""What is done to an image file before it is stored: it is looked at, and resampled if that was asked for."""

from __future__ import annotations

import io

from PIL import Image

from skyshards.errors import SourceError

MAX_SIDE = 8192
"""Pixels; the release's images have 424. A small file can claim a size that no memory holds."""


def checked(content: bytes) -> Image.Image:
    """Open an image file without decoding it. Raises `SourceError` if it is no whole PNG or JPEG of a sensible size."""
    try:
        picture = Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))
        if max(picture.size) > MAX_SIDE:
            raise SourceError(f"an image of {picture.size} pixels, expected at most {MAX_SIDE} on a side")
        picture.verify()  # compares the CRC of every part of a PNG
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SourceError(f"not a whole PNG or JPEG file ({error})") from error
    return picture


def resampled(content: bytes, size: int) -> tuple[bytes, float]:
    """An image file resampled once to `size` x `size`, with antialiasing, as a lossless PNG; and its pixels' growth.

    Returns
    -------
    bytes
        The file as it was given if it has this size already.
    float
        How many of the old pixels a new one spans.

    Raises
    ------
    SourceError
        If it cannot be decoded, or is not square.
    """
    checked(content)
    with Image.open(io.BytesIO(content)) as picture:
        if picture.width != picture.height:
            raise SourceError(f"an image of {picture.size} pixels, expected a square one to resample")
        if picture.width == size:
            return content, 1.0
        try:
            picture = picture.convert("RGB")
        except OSError as error:
            raise SourceError(f"an image that cannot be decoded ({error})") from error
        # Lanczos of Pillow widens with the step, which is what keeps fine structure from being aliased.
        small = picture.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=None)
        file = io.BytesIO()
        small.save(file, "PNG")
        return file.getvalue(), picture.width / size
