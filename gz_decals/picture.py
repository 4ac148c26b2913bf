"""Captions of GZ DECaLS pictures: rings, and the shares of volunteers who saw a disk and spiral arms."""

from __future__ import annotations

from dataclasses import replace

from skyshards.pictures.drawing import Columns, Drawing, Row, generic

SHARES = {
    "smooth-or-featured_featured-or-disk_fraction": "featured",
    "has-spiral-arms_yes_fraction": "spiral arms",
}
"""Columns with vote fractions of the captions, and what they are called there."""


def drawing(columns: Columns) -> Drawing:
    """Draw as `generic` does, with the votes as captions."""
    general = generic(columns)
    labels = {name for name in ("ring", *SHARES) if name in columns and not columns[name].shape}
    wanted = {*general.columns, *labels}

    def describe(row: Row) -> str:
        words = ["ring"] if "ring" in labels and row["ring"] == 1 else []
        shares = {name: float(row[column]) for column, name in SHARES.items() if column in labels}
        return ", ".join(words + [f"{name} {share:.0%}" for name, share in shares.items() if 0 <= share <= 1])

    return replace(general, columns=tuple(name for name in columns if name in wanted), describe=describe)
