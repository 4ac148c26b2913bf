"""Plot galaxies and blends, in an asinh stretch that shows both the noise and the centres."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.visualization import AsinhStretch, ImageNormalize, MinMaxInterval

from candels_blend.picture import on_host
from candels_blend.stamp_archive import Archive
from candels_blend.stamps import central_mask, split_pixels
from candels_blend.targets import bogg_masks

try:
    from matplotlib import colormaps
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError("candels_blend.plots needs matplotlib: pip install 'skyshards[notebooks]'") from error

SOFTENING = 0.02
"""Fraction of the brightest pixel's value at which the stretch turns from linear to logarithmic."""
WIDEST = 4
"""Maximum number of panels side by side."""
COUNTS = colormaps["gray"].with_extremes(bad="#3d5a80")
"""Grey for counts, blue for pixels without any."""
COLOURS = ["#1b1b2f", "#f4f1de", "#3d85c6", "#e07a5f", "#81b29a", "#f2cc8f", "#b56576"]
"""Colours of background, overlap, galaxy 1 alone, galaxy 2 alone, …"""
REGIONS = ListedColormap(COLOURS)


def show_image(axes: Axes, image: np.ndarray, title: str) -> None:
    """Show an image of counts, with row 0 at the bottom."""
    norm = ImageNormalize(image, interval=MinMaxInterval(), stretch=AsinhStretch(SOFTENING))
    axes.imshow(image, origin="lower", norm=norm, cmap=COUNTS)
    _finish(axes, title)


def show_regions(axes: Axes, masks: np.ndarray, title: str) -> None:
    """Show masks (uint8 [n, height, width]) in one image: overlap, and each galaxy alone."""
    regions = bogg_masks(masks).argmax(axis=-1)
    axes.imshow(regions, origin="lower", cmap=REGIONS, vmin=0, vmax=REGIONS.N - 1, interpolation="nearest")
    _finish(axes, title)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])


def plot_galaxy(archive: Archive, row: int) -> Figure:
    """Plot a galaxy of the archive: its stamp, its segmentation map, and its part in a blend.

    Parameters
    ----------
    archive : Archive
        Archive from `candels_blend.stamp_archive.read_archive`.
    row : int
        Row of the galaxy in the catalogue.

    Returns
    -------
    Figure
    """
    image, segmentation, galaxy = archive.images[row], archive.segmentation[row], archive.catalogue.iloc[row]
    sources, numbers = np.unique(segmentation, return_inverse=True)
    numbers = np.ma.masked_where(segmentation == 0, numbers.reshape(segmentation.shape))
    neighbours = split_pixels(segmentation)[1]
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    axes = figure.subplots(1, 4)
    show_image(axes[0], image, f"{galaxy['ID']}: {galaxy['galtype']}, {galaxy['mag']:.2f} mag")
    axes[1].set_facecolor("black")
    axes[1].imshow(numbers, origin="lower", cmap="Set2", interpolation="nearest", vmin=1, vmax=max(8, len(sources)))
    _finish(axes[1], "sources in the segmentation map")
    show_image(axes[2], np.where(neighbours, np.nan, image), "neighbours taken out")
    axes[3].imshow(central_mask(segmentation), origin="lower", cmap="gray", interpolation="nearest")
    _finish(axes[3], "mask")
    return figure


def plot_blend(blend: Mapping[str, Any]) -> Figure:
    """Plot a blend: its image, its galaxies if present, framed in the colours of their masks, and its masks.

    Parameters
    ----------
    blend : mapping
        Row of `Blends` or of a built dataset.

    Returns
    -------
    Figure
    """
    blend = on_host(blend)
    mag, galtype = blend["mag"], blend["galtype"]
    galaxies = blend.get("galaxies", ())
    rows, columns = -(-(2 + len(galaxies)) // WIDEST), min(2 + len(galaxies), WIDEST)
    figure = Figure(figsize=(3.0 * columns, 3.4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns).ravel()
    axes = panels[: 2 + len(galaxies)]
    for unused in panels[len(axes) :]:
        unused.remove()
    distances = np.atleast_1d(blend["distance"])
    apart = " to ".join(f"{distance:.1f}" for distance in sorted({distances.min(), distances.max()}))
    show_image(axes[0], blend["image"], f"{blend['object_id']}: {apart} pixels apart")
    for number, galaxy in enumerate(galaxies):
        show_image(axes[1 + number], galaxy, f"galaxy {number + 1}: {galtype[number]}, {mag[number]:.2f} mag")
        axes[1 + number].spines[:].set(edgecolor=COLOURS[2 + number], linewidth=3)
    show_regions(axes[-1], blend["masks"], "masks (overlap white)")
    return figure
