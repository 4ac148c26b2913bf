"""Where the files of a built data set lie."""

from __future__ import annotations

from collections.abc import Sequence

CARD, CITATION, CROISSANT = "README.md", "CITATION.bib", "croissant.json"
CATALOG, SOURCES, FAILURES = "catalog.parquet", "sources.parquet", "failures.csv"
HASHES = "SHA256SUMS"
FILES = frozenset((CARD, CITATION, CROISSANT, CATALOG, SOURCES, FAILURES, HASHES))
"""All that there is beside the shards."""


def pixel_folder(split: str, pixel: int | str, splits: Sequence[str]) -> str:
    """Where the shards of a pixel lie, below the data set's folder."""
    return f"healpix={pixel}" if len(splits) == 1 else f"{split}/healpix={pixel}"
