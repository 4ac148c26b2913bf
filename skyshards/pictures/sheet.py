"""Contact sheets: several pictures in one, with words below each, by Pillow alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from skyshards.pictures.legend import Legend

FONT, LINE, MARGIN = 13, 18, 8
"""Size of the letters, height of a line, and space around pictures, in pixels."""
SWATCH, GAP = 11, 6
"""Side of a square of colour in the legend, and the space between it and its name, in pixels."""
PAPER, INK = (255, 255, 255), (32, 32, 32)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
WIDEST = 4
"""Maximum number of pictures in a row of the sheet."""


def sheet(
    pictures: Sequence[np.ndarray | None], words: Sequence[Sequence[str]], size: int, legend: Legend = ()
) -> Image.Image:
    """Draw pictures beside and below each other, with lines of words below each, and a legend at the foot.

    Parameters
    ----------
    pictures : sequence of uint8 array [H, W, 3]
        Each is enlarged or shrunk to `size`; None is left blank.
    words : sequence of sequences of str
        The lines of each picture; they are cut at its width.
    size : int
        Longer side of each picture, in pixels.
    legend : sequence of (str, str)
        Names and colours of the masks.

    Returns
    -------
    PIL.Image.Image
    """
    font = ImageFont.load_default(FONT)
    drawn = [None if picture is None else enlarged(picture, size) for picture in pictures]
    shapes = [picture.shape for picture in drawn if picture is not None]
    height = max((shape[0] for shape in shapes), default=0)
    width = max((shape[1] for shape in shapes), default=size)
    lines = max(map(len, words), default=0)
    across = min(WIDEST, math.ceil(math.sqrt(len(drawn))))
    step = width + MARGIN, height + LINE * lines + MARGIN
    foot = MARGIN + -(-len(drawn) // across) * step[1]
    entries, foot_height = _placed(legend, across * step[0] - MARGIN, font)
    paper = Image.new("RGB", (MARGIN + across * step[0], foot + foot_height), PAPER)
    pen = ImageDraw.Draw(paper)
    for place, (picture, said) in enumerate(zip(drawn, words, strict=True)):
        x, y = MARGIN + (place % across) * step[0], MARGIN + (place // across) * step[1]
        if picture is not None:
            paper.paste(Image.fromarray(picture), (x, y))
        for number, line in enumerate(said):
            pen.text((x, y + height + number * LINE + 1), _cut(line, width, font), INK, font)
    for x, y, name, colour in entries:
        pen.rectangle((x, foot + y + 2, x + SWATCH, foot + y + 2 + SWATCH), colour, INK)
        pen.text((x + SWATCH + GAP, foot + y), name, INK, font)
    return paper


def _placed(legend: Legend, width: int, font: Font) -> tuple[list[tuple[int, int, str, str]], int]:
    """Return the entries of a legend with their places (x, y) in lines of a width, and the height of these lines."""
    entries, x, y = list[tuple[int, int, str, str]](), MARGIN, 0
    for given, colour in legend:
        name = _cut(given, width - SWATCH - GAP, font)
        length = SWATCH + GAP + math.ceil(font.getlength(name))
        if x > MARGIN and x + length > MARGIN + width:
            x, y = MARGIN, y + LINE
        entries.append((x, y, name, colour))
        x += length + 2 * MARGIN
    return entries, y + LINE + MARGIN if entries else 0


def enlarged(picture: np.ndarray, size: int) -> np.ndarray:
    """Enlarge a picture so that its longer side has `size` pixels; the pixels of small ones stay visible as squares."""
    factor = max(1, size // max(picture.shape[:2]))
    picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    scale = size / max(picture.shape[:2])
    height, width = (max(1, round(length * scale)) for length in picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


def _cut(line: str, width: int, font: Font) -> str:
    """Shorten a line to a width in pixels."""
    line = " ".join(line.split())
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"
