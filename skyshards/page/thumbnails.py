"""Pictures of sampled rows as small files that together stay within a number of bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from skyshards.pictures.drawing import Drawing
from skyshards.pictures.legend import Legend
from skyshards.read.table import Table

SIZE = 320
"""Longer side of a picture, pixels."""
TRIES = ((SIZE, 82), (SIZE, 55), (224, 60), (160, 50), (96, 40), (48, 20))
"""Sizes and WebP qualities, from the best on; the first whose file is small enough is taken."""
BATCH_BYTES = 64 << 20
THREADS = 2


class Thumbnail(NamedTuple):
    """A row's picture as a WebP file, the same without masks, the row's labels in words, and the masks' legend.

    Files are None for a row with nothing to draw, and `bare` where there are no masks.
    """

    content: bytes | None
    bare: bytes | None
    caption: str
    legend: Legend = ()


def thumbnails(table: Table, rows: np.ndarray, nbytes: int) -> Iterator[Thumbnail]:
    """Draw rows, in order, in files of at most `nbytes` a row."""
    drawing = table.drawing
    if not drawing.columns:
        yield from (Thumbnail(None, None, "") for _ in rows)
        return
    wanted = table.select_columns(drawing.columns)
    length = max(1, min(64, BATCH_BYTES // max(1, wanted.row_nbytes)))
    with ThreadPoolExecutor(THREADS) as pool:
        for first in range(0, len(rows), length):
            batch = wanted.__getitems__(rows[first : first + length].tolist())
            yield from pool.map(partial(_thumbnail, drawing, nbytes), batch)


def _thumbnail(drawing: Drawing, nbytes: int, row: Mapping[str, Any]) -> Thumbnail:
    try:
        pictures = [drawing.picture(row, SIZE, masks) for masks in ((True, False) if drawing.has_masks else (True,))]
    except ValueError as error:  # an image of a kind that cannot be drawn is no reason for no page
        return Thumbnail(None, None, f"cannot be drawn: {error}")
    files = [None if picture is None else webp(picture, nbytes // len(pictures)) for picture in pictures]
    bare, legend = (files[1], drawing.legend(row)) if drawing.has_masks else (None, ())
    return Thumbnail(files[0], bare, drawing.caption(row), legend)


def webp(picture: np.ndarray, nbytes: int) -> bytes:
    """Encode a picture (uint8 [height, width, 3]) in at most `nbytes`, or as small as it gets."""
    image, content = Image.fromarray(picture), b""
    for size, quality in TRIES:
        smaller = image.copy()
        smaller.thumbnail((size, size))
        file = io.BytesIO()
        smaller.save(file, "webp", quality=quality, method=0)  # a third of the time; files are as small
        content = file.getvalue()
        if len(content) <= nbytes:
            break
    return content
