"""Legends: which colour of a picture's masks marks what."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from skyshards.format.column_info import ColumnInfo
from skyshards.pictures.overlay import COLOURS, colours_used

Legend = tuple[tuple[str, str], ...]
"""Pairs of a name and a colour, such as ("spiral", "#009E73"), in the order of the masks."""
NAMING = ("class", "classes", "name", "names")
"""Columns beside a stack of masks that name each of them."""
GENERAL = ("array", "mask", "masks", "data")
"""Names of columns that say less than that of the group that they are in."""
MOST = 12
"""A legend of more masks would be longer than helpful; there is none."""


def in_order(names: Iterable[str]) -> Legend:
    """Return the legend of masks with these names, in the order in which they are drawn."""
    return tuple((name, COLOURS[place % len(COLOURS)]) for place, name in enumerate(names))


def shared(legends: Iterable[Legend]) -> Legend:
    """Return the legend that holds for all pictures with masks; empty if they differ."""
    found = {legend for legend in legends if legend}
    return found.pop() if len(found) == 1 else ()


def naming_columns(columns: Mapping[str, ColumnInfo], masks: Sequence[str]) -> dict[str, str]:
    """Return for each column of stacked masks the column beside it that names them, if there is one."""
    found: dict[str, str] = {}
    for mask in masks:
        group = mask.rpartition(".")[0]
        for leaf in NAMING:
            name = f"{group}.{leaf}".lstrip(".")
            column = columns.get(name)
            if column and column.dtype == "str" and column.shape == columns[mask].shape[:-2]:
                found.setdefault(mask, name)
    return found


def legend_of(flat: Mapping[str, Any], image: str | None, masks: Sequence[str], named_by: Mapping[str, str]) -> Legend:
    """Return the legend of a row's masks, as `overlay` colours them; regions of label images have no names.

    Parameters
    ----------
    flat : mapping
        The row's values by dotted name.
    image : str or None
        The image under the masks; masks of another size are not drawn.
    masks : sequence of str
        Columns of masks, [N, H, W] or [H, W].
    named_by : mapping of str to str
        As `naming_columns` returns it.
    """
    entries: list[tuple[str, str]] = []
    size, used = _size(flat[image]) if image else None, 0
    for name in masks:
        mask = np.asarray(flat[name])
        if size is not None and mask.shape[-2:] != size:
            continue
        count = colours_used(mask)
        if mask.ndim == 3 or mask.dtype == bool:
            names = _names(name, count, flat[named_by[name]] if name in named_by else None)
            entries += [(word, COLOURS[(used + place) % len(COLOURS)]) for place, word in enumerate(names)]
        used += count
    return tuple(entries) if len(entries) <= MOST else ()


def _names(column: str, count: int, given: Any) -> list[str]:
    group, _, leaf = column.rpartition(".")
    word = group.rpartition(".")[2] if group and leaf in GENERAL else leaf
    plain = [word] if count == 1 else [f"{word} {number}" for number in range(1, count + 1)]
    if given is None:
        return plain
    return [str(name) or other for name, other in zip(given, plain, strict=True)]


def _size(image: Any) -> tuple[int, ...]:
    """Return height and width of an image: a file's bytes, or pixels [H, W], [H, W, up to 4] or [bands, H, W]."""
    if isinstance(image, bytes):
        return Image.open(io.BytesIO(image)).size[::-1]
    shape = np.shape(image)
    return shape[:2] if len(shape) == 2 or shape[2] <= 4 else shape[-2:]
