"""Pictures of GZ3D rows for galleries: the surroundings of the IFU's hexagon, and the vote fractions as captions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gz3d.sky import ifu_diameter
from skyshards.pictures.drawing import Columns, Drawing, Row, generic

AROUND = 1.25
"""Width of the picture, relative to the IFU."""
CROPPED, VOTES = ("ifudesignsize", "scale"), ("segmentation.class", "segmentation.vote_fraction")
SHAPES = {
    "image": (525, 525, 3),
    "segmentation.array": (4, 525, 525),
    **dict.fromkeys(CROPPED, ()),
    **dict.fromkeys(VOTES, (4,)),
}
"""Shapes of these columns, since any folder may bear the name of this dataset. Importing its schema would be slow."""


def drawing(columns: Columns) -> Drawing:
    """Draw as `generic` does, cropped to the IFU and all masks of the galaxy if the table has the columns for it."""
    general = generic(columns)
    as_here = {name for name, shape in SHAPES.items() if name in columns and columns[name].shape == shape}
    crops = {"image", *CROPPED} <= as_here and ("segmentation.array" in as_here or "segmentation.array" not in columns)
    votes = set(VOTES) <= as_here
    wanted = {*general.columns, *(CROPPED if crops else ()), *(VOTES if votes else ())}

    def draw(row: Row, size: int | None, masks: bool) -> np.ndarray | None:
        return general.picture(cropped(row) if crops else row, size, masks)

    def describe(row: Row) -> str:
        return votes_in_words(row["segmentation"]) if votes else ""

    return replace(general, columns=tuple(name for name in columns if name in wanted), draw=draw, describe=describe)


def cropped(row: Row) -> dict[str, Any]:
    """Cut image and masks of a row to a square around the IFU and all marks but those of stars.

    The row stays as it is if the IFU's size is unknown.
    """
    arcsec = float(row["scale"]) * 3600
    diameter = ifu_diameter(row["ifudesignsize"])
    image = np.asarray(row["image"])
    if not (diameter > 0 and arcsec > 0):
        return dict(row)
    centre = len(image) // 2
    half = AROUND * diameter / arcsec / 2
    segmentation = dict(row.get("segmentation", {}))
    if "array" in segmentation:
        masks = np.asarray(segmentation["array"])
        marked = np.argwhere(masks[[0, 2, 3]].any(axis=0))  # center, spiral, bar
        half = max(half, np.abs(marked - centre).max(initial=0) + 2)
    low, high = max(0, round(centre - half)), round(centre + half) + 1
    if "array" in segmentation:
        segmentation["array"] = masks[:, low:high, low:high]
    return {**row, "image": image[low:high, low:high], "segmentation": segmentation}


def votes_in_words(segmentation: Mapping[str, Any]) -> str:
    """Return the vote fractions in words: "spiral 96%, bar 85%"; classes without votes are left out."""
    fractions = zip(segmentation["class"], segmentation["vote_fraction"], strict=True)
    return ", ".join(f"{name} {float(fraction):.0%}" for name, fraction in fractions if fraction >= 0)
