"""How a row is drawn: generally, by its columns, or as the dataset's package says."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from skyshards import entry_points
from skyshards.format.column_info import ColumnInfo
from skyshards.format.columns import flatten
from skyshards.pictures.legend import Legend, legend_of, naming_columns
from skyshards.pictures.overlay import overlay
from skyshards.pictures.pixels import shrink, to_rgb
from skyshards.pictures.spectrum import draw_spectrum

GROUP = "skyshards.pictures"
"""Entry points of functions that return the `Drawing` of a dataset; they are called with the columns of the table."""
IMAGE_FILE = "image file"
WAVELENGTHS = ("wavelength", "lambda", "loglam")
"""Names of columns with the wavelengths of a spectrum; `loglam` has their logarithms (SDSS: log10 of Angstrom)."""
GAP, MISSING = 4, 128
"""Pixels between pictures side by side; grey of a picture that is missing."""

Columns = Mapping[str, ColumnInfo]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Drawing:
    """How the rows of a table are drawn, from which columns.

    Attributes
    ----------
    columns : tuple of str
        Dotted names of the columns that `picture` and `caption` use: `table.select_columns(drawing.columns)` reads no
        more. Empty if rows have neither.
    draw : callable
        From a row, a size (or None) and whether to lay masks over the image to the picture, see `picture`.
    describe : callable
        From a row to its caption.
    has_masks : bool
        Whether masks are laid over an image.
    explain : callable
        From a row to the legend of its masks, see `legend`.
    """

    columns: tuple[str, ...]
    draw: Callable[[Row, int | None, bool], np.ndarray | None]
    describe: Callable[[Row], str]
    has_masks: bool = False
    explain: Callable[[Row], Legend] = lambda row: ()

    def picture(self, row: Row, size: int | None = None, masks: bool = True) -> np.ndarray | None:
        """Draw a row.

        Parameters
        ----------
        row : mapping
            A row as `table[i]` gives it, with at least `columns`.
        size : int, optional
            Length to which the longer side is shrunk, in pixels; smaller pictures are not enlarged.
        masks : bool
            Lay the masks over the image; without, it is the same image alone.

        Returns
        -------
        uint8 array [height, width, 3]
            None if there is nothing to draw: the table has no images, or the row of a left join lacks this one.

        Raises
        ------
        ValueError
            If the image is damaged.
        """
        return self.draw(row, size, masks)

    def caption(self, row: Row) -> str:
        """Return the labels of a row in a few words, such as "spiral"; "" for none."""
        return self.describe(row)

    def legend(self, row: Row) -> Legend:
        """Return what the colours of a row's masks mean: pairs such as ("spiral", "#009E73"), in the order of masks.

        Empty if there are no masks, no names for them (regions of a label image have none), or more than twelve.
        """
        return self.explain(row)


def drawing(name: str, columns: Columns) -> Drawing:
    """Return how the rows of a dataset are drawn.

    Parameters
    ----------
    name : str
        The dataset. If an installed package has an entry point of this name in the group `skyshards.pictures`, and the
        function there returns a drawing for these columns, that is used, else `generic`.
    columns : mapping of str to ColumnInfo
        The table's columns, as `table.schema` has them.
    """
    own = _own(name)
    return (own(columns) if own is not None else None) or generic(columns)


def generic(columns: Columns) -> Drawing:
    """Return the drawing of a table by its columns alone.

    The image is the column named `image` (also in a group), or the first that holds image files, colours, fluxes, bands
    or grey (uint8 [H, W] that is not called a mask, segmentation or label). Masks of the same size are laid over it;
    without an image, over black. Float images have row 0 at the bottom, as in FITS files, all others at the top. Where
    there are no images and masks, lists called `flux` are drawn over a list beside them that is called as in
    `WAVELENGTHS`. Captions are the classes of all labels. Masks are called as a column of text beside them says
    (`class` or `name`, one for each), or by their own column.
    """
    image, masks = _image_column(columns), _mask_columns(columns)
    masks = tuple(name for name in masks if name != image)
    labels = {
        name: column.classes
        for name, column in columns.items()
        if column.classes and column.dtype.startswith("int") and not column.shape
    }
    named_by = naming_columns(columns, masks)
    spectrum = None if image or masks else _spectrum_columns(columns)
    upwards = image is not None and columns[image].dtype.startswith("float") and columns[image].shape[-1] not in (3, 4)

    def draw(row: Row, size: int | None, with_masks: bool) -> np.ndarray | None:
        flat = flatten(row)
        layers = [np.asarray(flat[name]) for name in masks] if with_masks or image is None else []
        if image is None:
            if spectrum is not None:
                return _spectrum(flat, *spectrum, size, columns)
            if not layers:
                return None
            picture = np.zeros((*layers[0].shape[-2:], 3), np.uint8)
        else:
            found = to_rgb(flat[image])
            if found is None:
                return None
            picture = found
        layers = [layer for layer in layers if layer.shape[-2:] == picture.shape[:2]]
        if upwards:
            picture, layers = picture[::-1], [layer[..., ::-1, :] for layer in layers]
        return overlay(shrink(picture, size), layers)

    def describe(row: Row) -> str:
        flat = flatten(row)
        found = [(classes, int(flat[name])) for name, classes in labels.items()]
        return ", ".join(classes[label] for classes, label in found if 0 <= label < len(classes))

    def explain(row: Row) -> Legend:
        return legend_of(flatten(row), image, masks, named_by) if masks else ()

    wanted = {image, *masks, *named_by.values(), *labels, *(spectrum or ())}
    has_masks = image is not None and bool(masks)
    return Drawing(tuple(name for name in columns if name in wanted), draw, describe, has_masks, explain)


def side_by_side(parts: Mapping[str, Drawing], flags: Mapping[str, str]) -> Drawing:
    """Return the drawing of joined rows: the picture of each part, left to right, at the height of the highest.

    `parts` are by name of the joined table, and `flags` name the columns that say whether a row has the part, if there
    are any. Parts without pictures take no place; one that a row lacks is left grey.
    """

    def members(row: Row) -> Iterator[tuple[str, Drawing, Row | None]]:
        flat = flatten(row)
        for name, part in parts.items():
            if part.columns:
                yield name, part, row[name] if name not in flags or flat[flags[name]] else None

    def draw(row: Row, size: int | None, masks: bool) -> np.ndarray | None:
        pictures = [None if of is None else part.picture(of, masks=masks) for _, part, of in members(row)]
        drawn = [picture for picture in pictures if picture is not None]
        if not drawn:
            return None
        height = max(len(picture) for picture in drawn)
        places = [_of_height(picture, height) for picture in pictures]
        gap = np.full((height, GAP, 3), 255, np.uint8)
        return shrink(np.concatenate([part for place in places for part in (place, gap)][:-1], axis=1), size)

    def describe(row: Row) -> str:
        found = {name: part.caption(of) for name, part, of in members(row) if of is not None}
        return "; ".join(f"{name}: {words}" for name, words in found.items() if words)

    def explain(row: Row) -> Legend:
        found = {name: part.legend(of) for name, part, of in members(row) if of is not None}
        found = {name: legend for name, legend in found.items() if legend}
        before = {name: f"{name}: " if len(found) > 1 else "" for name in found}
        return tuple((before[name] + word, colour) for name, legend in found.items() for word, colour in legend)

    columns = tuple(f"{name}.{path}" for name, part in parts.items() for path in part.columns)
    has_masks = any(part.has_masks for part in parts.values())
    return Drawing(columns + tuple(flags.values()) if columns else (), draw, describe, has_masks, explain)


def _of_height(picture: np.ndarray | None, height: int) -> np.ndarray:
    if picture is None:
        return np.full((height, height, 3), MISSING, np.uint8)
    width = max(1, round(height * picture.shape[1] / picture.shape[0]))
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _image_column(columns: Columns) -> str | None:
    found = [(rank, name) for name, column in columns.items() if (rank := _rank(column)) is not None]
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _rank(column: ColumnInfo) -> int | None:
    """Return how likely the images to draw are in this column, 0 the most; None if it has no images."""
    shape, kind = column.shape, column.dtype
    if kind == IMAGE_FILE:
        rank = 1
    elif 0 in shape or len(shape) not in (2, 3) or kind == "str":
        return None
    elif len(shape) == 3 and shape[2] in (3, 4):
        rank = 2
    elif kind.startswith("float"):
        rank = len(shape) + 1
    elif len(shape) == 2 and kind == "uint8" and not re.search("mask|segm|label", column.name):
        rank = 5
    else:
        return None
    return 0 if column.name.rpartition(".")[2] == "image" else rank


def _mask_columns(columns: Columns) -> tuple[str, ...]:
    """Return the columns of bools or integers [H, W] or [N, H, W]."""
    return tuple(
        name
        for name, column in columns.items()
        if len(column.shape) in (2, 3)
        and 0 not in column.shape
        and column.dtype.startswith(("bool", "int", "uint"))
        and not (len(column.shape) == 3 and column.shape[2] in (3, 4))
    )


def _spectrum_columns(columns: Columns) -> tuple[str, str] | None:
    """Return the columns of the flux and of the wavelength, or its logarithm, of a spectrum."""
    for name in columns:
        group, _, leaf = name.rpartition(".")
        beside = [f"{group}.{wavelength}".lstrip(".") for wavelength in WAVELENGTHS]
        found = [other for other in beside if other in columns and _is_list(columns[other])]
        if leaf == "flux" and found and _is_list(columns[name]):
            return name, found[0]
    return None


def _is_list(column: ColumnInfo) -> bool:
    return column.dtype.startswith("list of float") or (column.dtype.startswith("float") and len(column.shape) == 1)


def _spectrum(flat: Row, flux: str, over: str, size: int | None, columns: Columns) -> np.ndarray | None:
    wavelength, unit = np.asarray(flat[over], np.float64), columns[over].unit
    if over.rpartition(".")[2] == "loglam":
        wavelength, unit = 10**wavelength, "Angstrom"
    return draw_spectrum(flat[flux], wavelength, size, unit)


@functools.cache
def _own(name: str) -> Callable[[Columns], Drawing | None] | None:
    """Return the function with which an installed package draws the rows of its dataset, if there is one."""
    values = {point: value for point, value, _ in entry_points.others(GROUP)} | entry_points.own(GROUP)
    if name not in values:
        return None
    try:
        return entry_points.load(values[name])
    except Exception as error:  # of a package that is not, or badly, installed
        warnings.warn(f"{name}: {values[name]} cannot be loaded ({error}): drawn by its columns", stacklevel=3)
        return None
