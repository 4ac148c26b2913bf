"""Figures of several pictures, by matplotlib."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from skyshards.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skyshards.pictures.legend import Legend

PANEL = 2.8
"""Width and height of a picture, in inches."""
LABEL, LINE = 1.2, 0.25
"""Width of an entry of the legend, and height of a line of them, in inches."""
LETTER, TITLE_LINE = 0.07, 0.15
"""Mean width of a letter of a title, and height of a line of it, in inches."""
WIDEST = 4
"""Maximum number of pictures in a row of the figure."""


def figure(pictures: Sequence[np.ndarray | None], titles: Sequence[str], legend: Legend = ()) -> Figure:
    """Make a figure with a panel for each picture.

    Parameters
    ----------
    pictures : sequence of uint8 array [H, W, 3]
        None leaves a panel blank.
    titles : sequence of str
        Shown as they are, without TeX; longer lines than a panel is wide are wrapped.
    legend : sequence of (str, str)
        Names and colours of the masks, shown below the panels.

    Returns
    -------
    matplotlib.figure.Figure
        Managed by pyplot, so that `plt.show()` shows it. In notebooks with inline figures, it is shown where it is the
        value of a cell, and not again at its end.

    Raises
    ------
    UsageError
        If matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
        from matplotlib.patches import Patch
    except ImportError as error:
        raise UsageError("plots need matplotlib: pip install 'skyshards[notebooks]'") from error
    across = min(WIDEST, len(pictures))
    down = math.ceil(len(pictures) / across)
    ratio = max((picture.shape[1] / picture.shape[0] for picture in pictures if picture is not None), default=1.0)
    width = PANEL * across * ratio
    titles = [_wrapped(title, int(PANEL * ratio / LETTER)) for title in titles]
    lines = max((title.count("\n") + 1 for title in titles), default=1)
    in_line = max(1, min(len(legend), int(width / LABEL)))
    height = (PANEL + 0.5 + TITLE_LINE * max(0, lines - 2)) * down + LINE * math.ceil(len(legend) / in_line)
    made = plt.figure(figsize=(width, height), layout="constrained")
    panels = made.subplots(down, across, squeeze=False)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[], frame_on=False, anchor="N")
    for axes, picture, title in zip(panels.flat, pictures, titles, strict=False):
        axes.set_title(title, fontsize=9, parse_math=False)
        if picture is not None:
            axes.imshow(picture)
    if legend:
        patches = [Patch(facecolor=colour, edgecolor="black", linewidth=0.5, label=name) for name, colour in legend]
        shown = made.legend(
            handles=patches, loc="outside lower center", ncols=in_line, frameon=False, fontsize=9, handlelength=1.0
        )
        for text in shown.get_texts():
            text.set_parse_math(False)
    if "inline" in plt.get_backend():
        plt.close(made)
    return made


def _wrapped(title: str, letters: int) -> str:
    return "\n".join(textwrap.fill(line, max(letters, 10)) for line in title.splitlines())
