"""Figures of several pictures, by matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from skyshards.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL = 2.8
"""Width and height of a picture, in inches."""
WIDEST = 4
"""Maximum number of pictures in a row of the figure."""


def figure(pictures: Sequence[np.ndarray | None], titles: Sequence[str]) -> Figure:
    """Make a figure with a panel for each picture.

    Parameters
    ----------
    pictures : sequence of uint8 array [H, W, 3]
        None leaves a panel blank.
    titles : sequence of str
        Shown as they are, without TeX.

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
    except ImportError as error:
        raise UsageError("plots need matplotlib: pip install 'skyshards[notebooks]'") from error
    across = min(WIDEST, len(pictures))
    down = math.ceil(len(pictures) / across)
    ratio = max((picture.shape[1] / picture.shape[0] for picture in pictures if picture is not None), default=1.0)
    made = plt.figure(figsize=(PANEL * across * ratio, (PANEL + 0.5) * down), layout="constrained")
    panels = made.subplots(down, across, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for axes, picture, title in zip(panels.flat, pictures, titles, strict=False):
        axes.set_title(title, fontsize=9, parse_math=False)
        if picture is not None:
            axes.imshow(picture)
    if "inline" in plt.get_backend():
        plt.close(made)
    return made
