"""Captions of pictures of blends: the types of the galaxies, and how far they are apart."""

from __future__ import annotations

from dataclasses import replace

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
        *types, last = (str(name) or "unknown" for name in row["galtype"])
        distances = " and ".join(f"{distance:.1f}" for distance in np.atleast_1d(row["distance"]).tolist())
        return f"{', '.join(types)} and {last}, {distances} pixels apart"

    def explain(row: Row) -> Legend:
        return in_order(masks) if len(general.legend(row)) == len(masks) else general.legend(row)

    columns_used = tuple(name for name in columns if name in wanted)
    return replace(general, columns=columns_used, describe=describe, explain=explain)
