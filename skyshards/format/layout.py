"""Where the files of a built data set lie."""

from __future__ import annotations

from collections.abc import Sequence


def pixel_folder(split: str, pixel: int | str, splits: Sequence[str]) -> str:
    """Where the shards of a pixel lie, below the data set's folder."""
    return f"healpix={pixel}" if len(splits) == 1 else f"{split}/healpix={pixel}"
