"""Convert images for storage: their own bytes where these match the column, or else a PNG."""

from __future__ import annotations

import io

from PIL import Image

from skyshards.errors import SourceError
from skyshards.format.images import FORMATS, decode_image, described, is_rgb, to_rgb

MAX_SIDE = 8192
"""Maximum side, pixels; the release's images have 424. A small file can claim a size that no memory holds."""


def stored(content: bytes, size: int | None = None) -> tuple[bytes, float]:
    """Convert an image file to RGB and, if `size` is given, resample it to `size` x `size` with antialiasing.

    Returns
    -------
    bytes
        The unchanged file if it is 8-bit RGB of this size already, or else a lossless PNG (see `to_rgb`).
    float
        Size of a new pixel in old pixels.

    Raises
    ------
    SourceError
        If it is not a whole PNG or JPEG of a sensible size, or is to be resampled but not square.
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
                decode_image(content)  # Pillow accepts one that lacks its end
            rgb = to_rgb(picture)
        except (OSError, SyntaxError, ValueError) as error:
            raise SourceError(f"not a whole PNG or JPEG file: {described(content)} ({error})") from error
        if size is not None and growth != 1.0:
            # Pillow's Lanczos kernel widens with the step, which prevents aliasing of fine structure.
            rgb = rgb.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=None)
        file = io.BytesIO()
        rgb.save(file, "PNG")
        return file.getvalue(), growth


def _check(content: bytes) -> None:
    """Check a file without decoding it; files stored unchanged are decoded when rows are encoded."""
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
        if max(picture.size) > MAX_SIDE:
            raise SourceError(f"an image of {picture.size} pixels, expected at most {MAX_SIDE} on a side")
        picture.verify()  # checks the CRC of every chunk of a PNG
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SourceError(f"not a whole PNG or JPEG file: {described(content)} ({error})") from error
