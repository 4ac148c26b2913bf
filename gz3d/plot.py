"""Plot GZ3D rows: each galaxy beside the volunteers' masks, on axes in arcseconds. Needs matplotlib.

Rows may come from `skyshards.open` or from `load_dataset`, in any format that NumPy can read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gz3d.gz3d import CLASSES
from skyshards.pictures import overlay

try:
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.colors import LinearSegmentedColormap, to_rgb
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.patches import Patch
except ImportError as error:
    raise ImportError("gz3d.plot needs matplotlib: pip install 'skyshards[notebooks]'") from error

COLOURS = dict(zip(CLASSES, overlay.COLOURS, strict=False))
"""Colour of each class, as in the pictures of galleries."""

SKY = "#101010"
"""Background of the colour bars: about the sky in the grey image."""

GAMMA, DIMMED = 0.8, 0.65
"""Gamma and maximum brightness of the grey image under the masks, chosen to make the colours stand out."""

MARKED = "times marked"
"""Quantity that the masks count: polygons over a pixel (spiral, bar), or marks in its cluster (center, star)."""


def plot_segmentation(
    row: Mapping[str, Any], ax: Sequence[Axes] | None = None, vmax: float | None = None
) -> Sequence[Axes]:
    """Plot one galaxy: its false-colour image, and beside it the four masks over the grey image.

    A mask's opacity at a pixel is its count relative to `vmax`; a contour encloses all marked pixels.

    Parameters
    ----------
    row : mapping
        One row, with `image`, `scale` and `segmentation`; `object_id`, `ra` and `dec`, if present, form the title.
    ax : two Axes, optional
        Axes for the image and the masks; by default, a new figure.
    vmax : float, optional
        Count drawn opaque; by default, the maximum of each mask.

    Returns
    -------
    Sequence of two Axes

    Raises
    ------
    ValueError
        If a column is missing or holds more than one row.
    """
    if ax is None:
        _, ax = plt.subplots(1, 2, figsize=(11.5, 5.4), sharex=True, sharey=True, layout="constrained")
    left, right = ax
    show_image(row, left)
    _compass(left)
    left.set_title(_title(row), fontsize=11)
    masks = show_masks(row, right, vmax)
    right.set_title("Drawn by the volunteers", fontsize=11)
    _legend(right, _votes(row), loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=len(masks))
    bars = [right.inset_axes((1.06 + 0.12 * place, 0, 0.035, 0.94)) for place in range(len(masks))]
    _colour_bars(masks, bars)
    bars[-1].set_ylabel(MARKED, fontsize=9, labelpad=-2)
    return ax


def plot_gallery(
    rows: Iterable[Mapping[str, Any]], columns: int = 2, vmax: float | None = None, title: str | None = None
) -> Figure:
    """Plot several galaxies in a grid: image, masks and vote fractions of each, with shared colour bars.

    Parameters
    ----------
    rows : iterable of mappings
        As for `plot_segmentation`.
    columns : int
        Galaxies per line of the grid.
    vmax : float, optional
        Count drawn opaque; by default, the maximum of all the rows' masks.
    title : str, optional
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    rows = list(rows)
    if not rows:
        raise ValueError("expected at least one row to plot, found none")
    lines = -(-len(rows) // columns)
    if vmax is None:
        vmax = max(1, *(mask.max() for row in rows for mask in masks_by_class(row).values()))
    figure = plt.figure(figsize=(4.2 * columns, 2.25 * lines + 0.8), layout="constrained")
    body, foot = figure.subfigures(2, 1, squeeze=False, height_ratios=[2.25 * lines, 0.8]).flat
    body.suptitle(title, fontsize=11)
    panels = body.subplots(lines, 2 * columns, squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.04})
    for panel in panels.flat:
        panel.set_axis_off()
    pairs = panels.reshape(lines * columns, 2)
    for row, (left, right) in zip(rows, pairs, strict=False):
        show_image(row, left)
        masks = show_masks(row, right, vmax)
        left.set_title(str(row.get("object_id", "")), fontsize=9, loc="left", pad=3)
        votes = [f"{name} {votes}" for name, votes in _votes(row).items() if votes]
        right.set_title(f"votes: {', '.join(votes)}", fontsize=9, loc="left", pad=3)
        _scale_bar(left)
    _colour_bars(masks, foot.subplots(1, len(masks), gridspec_kw={"wspace": 0.1}), orientation="horizontal")
    foot.supxlabel(MARKED, fontsize=9)
    return figure


def show_image(row: Mapping[str, Any], ax: Axes) -> AxesImage:
    """Draw the false-colour image, north up and east left, on axes in arcseconds from its centre."""
    image = _image(row)
    shown = ax.imshow(image, extent=_extent(row, image.shape), interpolation="antialiased")
    _label_axes(ax)
    return shown


def show_masks(row: Mapping[str, Any], ax: Axes, vmax: float | None = None) -> dict[str, AxesImage]:
    """Draw the masks over the grey image; returns the artist of each class, for `Figure.colorbar`."""
    image = _image(row)
    extent = _extent(row, image.shape)
    grey = image @ (0.299, 0.587, 0.114) / 255  # luma of Rec. ITU-R BT.601
    ax.imshow(grey**GAMMA, cmap="gray", vmin=0, vmax=1 / DIMMED, extent=extent, interpolation="antialiased")
    shown = {}
    for layer, (name, mask) in enumerate(masks_by_class(row).items(), 1):
        top = max(1, mask.max()) if vmax is None else vmax
        shown[name] = ax.imshow(
            mask,
            cmap=_fading(name),
            vmin=0,
            vmax=top,
            interpolation="nearest",
            extent=extent,
            origin="upper",
            zorder=layer / 10,
        )
        if mask.any():
            line = [COLOURS[name]]
            ax.contour(
                mask, levels=[0.5], colors=line, linewidths=0.8, extent=extent, origin="upper", zorder=layer / 10
            )
    _label_axes(ax)
    return shown


def masks_by_class(row: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Masks of a row, `[H, W]` each, in drawing order: the smallest features on top."""
    segmentation = _column(row, "segmentation")
    masks = np.asarray(_column(segmentation, "array"))
    if masks.ndim != 3:
        raise ValueError(f"expected the masks of one row, of shape (4, H, W), found {masks.shape}: plot row by row")
    named = dict(zip(map(str, _column(segmentation, "class")), masks, strict=True))
    return {name: named[name] for name in ("spiral", "bar", "star", "center") if name in named}


def _column(row: Mapping[str, Any], name: str) -> Any:
    if name not in row:
        raise ValueError(f"expected a row with the column {name!r}, found {', '.join(row)}: load it with all columns")
    return row[name]


def _image(row: Mapping[str, Any]) -> np.ndarray:
    image = np.asarray(_column(row, "image"))
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected the image of one row, of shape (H, W, 3), found {image.shape}: plot row by row")
    return image.astype(np.uint8, copy=False)  # the formats of `datasets` widen it


def _extent(row: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    """Edges of the image, arcsec from its centre: column 0 is the easternmost (positive), row 0 the northernmost."""
    arcsec = float(_column(row, "scale")) * 3600
    height, width = shape[0] * arcsec, shape[1] * arcsec
    return width / 2, -width / 2, -height / 2, height / 2


def _fading(name: str) -> LinearSegmentedColormap:
    """Colour map from transparent to the colour of a class."""
    colour = to_rgb(COLOURS[name])
    return LinearSegmentedColormap.from_list(name, [(*colour, 0.0), (*colour, 1.0)])


def _votes(row: Mapping[str, Any]) -> dict[str, str]:
    """Galaxy Zoo 2 vote fractions by class: a dash if nobody voted (-0.5), nothing if nobody was asked (-1)."""

    def words(fraction: float) -> str:
        if fraction <= -1:
            return ""
        return "–" if fraction < 0 else f"{fraction:.0%}"

    segmentation = _column(row, "segmentation")
    fractions = zip(_column(segmentation, "class"), _column(segmentation, "vote_fraction"), strict=True)
    return {str(name): words(float(fraction)) for name, fraction in fractions}


def _title(row: Mapping[str, Any]) -> str:
    title = f"MaNGA {row['object_id']}" if "object_id" in row else ""
    if "ra" in row and "dec" in row:
        title += f"   RA {float(row['ra']):.4f}°, Dec {float(row['dec']):+.4f}°"
    return title.strip()


def _label_axes(ax: Axes) -> None:
    ax.set_xlabel("offset east (arcsec)")
    ax.set_ylabel("offset north (arcsec)")
    ax.label_outer()


def _legend(ax: Axes, votes: Mapping[str, str], **where: Any) -> None:
    labels = {name: f"{name} (votes: {votes[name]})" if votes[name] else name for name in COLOURS if name in votes}
    handles = [Patch(color=COLOURS[name], label=label) for name, label in labels.items()]
    ax.legend(handles=handles, frameon=False, fontsize=9, handlelength=1, columnspacing=1.2, handletextpad=0.5, **where)


def _colour_bars(masks: Mapping[str, AxesImage], axes: Iterable[Axes], orientation: str = "vertical") -> None:
    for name, ax in zip((name for name in COLOURS if name in masks), axes, strict=True):
        ax.set_facecolor(SKY)
        bar = ax.figure.colorbar(masks[name], cax=ax, orientation=orientation)
        if bar.solids is not None:  # only bars of contour lines have none
            bar.solids.set(edgecolor="face", linewidth=0)
        bar.set_ticks([0, masks[name].get_clim()[1]])
        bar.ax.tick_params(labelsize=8, length=2, pad=1.5)
        bar.ax.set_title(name, fontsize=9, pad=7 if orientation == "vertical" else 4)


def _compass(ax: Axes) -> None:
    """Draw arrows to the north and east in the lower right corner."""
    for direction, tip in {"N": (0.94, 0.18), "E": (0.82, 0.06)}.items():
        ax.annotate(
            direction,
            xy=(0.94, 0.06),
            xytext=tip,
            xycoords="axes fraction",
            color="white",
            fontsize=10,
            ha="center",
            va="center",
            arrowprops={"arrowstyle": "<-", "color": "white", "shrinkA": 5, "shrinkB": 0},
        )


def _scale_bar(ax: Axes, arcsec: float = 10) -> None:
    east, _ = ax.get_xlim()
    south, north = ax.get_ylim()
    x, y = 0.9 * east, south + 0.06 * (north - south)
    ax.plot([x, x - arcsec], [y, y], color="white", linewidth=1.5, solid_capstyle="butt")
    ax.annotate(
        f"{arcsec:g}″", (x - arcsec / 2, y), (0, 2), textcoords="offset points", color="white", fontsize=8, ha="center"
    )
