"""Captions of pictures of blends: the types of the two galaxies, and how far they are apart."""

from __future__ import annotations

from dataclasses import replace

from skyshards.pictures.drawing import Columns, Drawing, Row, generic
from skyshards.pictures.legend import Legend, in_order

MASKS = ("central galaxy", "shifted galaxy")


def drawing(columns: Columns) -> Drawing:
    """Draw as `generic` does, with types and distance as captions, and names for the masks."""
    general = generic(columns)
    if [columns[name].shape for name in ("galtype", "distance") if name in columns] != [(2,), ()]:
        return general
    wanted = {*general.columns, "galtype", "distance"}

    def describe(row: Row) -> str:
        types = " and ".join(str(name) or "unknown" for name in row["galtype"])
        return f"{types}, {float(row['distance']):.1f} pixels apart"

    def explain(row: Row) -> Legend:
        return in_order(MASKS) if len(general.legend(row)) == len(MASKS) else general.legend(row)

    columns_used = tuple(name for name in columns if name in wanted)
    return replace(general, columns=columns_used, describe=describe, explain=explain)
