"""Where the files of a built data set lie."""

from __future__ import annotations

from collections.abc import Sequence

FORMAT_VERSION = 1
"""The format of folders, raised where earlier versions of skyshards would misread what is new: they refuse it. More
files, keys, or catalogue columns that begin with `_` do not raise it. Folders from before there was a number have 0."""

CARD, CITATION, CROISSANT = "README.md", "CITATION.bib", "croissant.json"
CATALOG, SOURCES, FAILURES = "catalog.parquet", "sources.parquet", "failures.csv"
HASHES = "SHA256SUMS"
FILES = frozenset((CARD, CITATION, CROISSANT, CATALOG, SOURCES, FAILURES, HASHES))
"""All that there is beside the shards."""


def pixel_folder(split: str, pixel: int | str, splits: Sequence[str]) -> str:
    """Where the shards of a pixel lie, below the data set's folder."""
    return f"healpix={pixel}" if len(splits) == 1 else f"{split}/healpix={pixel}"
