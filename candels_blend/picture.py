"""Captions of pictures of blends: the types of the galaxies, and how far they are apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from skyshards.pictures.drawing import Columns, Drawing, Row, generic
from skyshards.pictures.legend import Legend, in_order


def drawing(columns: Columns) -> Drawing:
    """Draw as `generic` does, with types and distance as captions, and names for the masks."""
    general = generic(columns)
    if not {"galtype", "distance"} <= set(columns) or len(columns["galtype"].shape) != 1:
        return general
    (galaxies,) = columns["galtype"].shape
    shifted = ["shifted galaxy"] if galaxies == 2 else [f"shifted galaxy {place}" for place in range(2, galaxies + 1)]
    masks = ("central galaxy", *shifted)
    wanted = {*general.columns, "galtype", "distance"}

    def describe(row: Row) -> str:
        types = _listed([str(name) or "unknown" for name in row["galtype"]])
        distances = _listed([f"{distance:.1f}" for distance in np.atleast_1d(row["distance"]).tolist()])
        return f"{types}, {distances} pixels apart"

    def explain(row: Row) -> Legend:
        legend = general.legend(on_host(row))
        return in_order(masks) if len(legend) == len(masks) else legend

    columns_used = tuple(name for name in columns if name in wanted)
    return replace(
        general,
        columns=columns_used,
        draw=lambda row, size, with_masks: general.draw(on_host(row), size, with_masks),
        describe=describe,
        explain=explain,
    )


def on_host(row: Mapping[str, Any]) -> dict[str, Any]:
    """Move tensors of a row that was rendered on a device to the host's memory."""
    return {name: value.cpu() if hasattr(value, "cpu") else value for name, value in row.items()}


def _listed(words: list[str]) -> str:
    """Join words as in a sentence: "a, b and c"."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
