"""Where the files of a built dataset lie."""

from __future__ import annotations

from collections.abc import Sequence

FORMAT_VERSION = 1
"""The format of folders, raised where earlier versions of skyshards would misread what is new: they refuse it. More
files, keys, or catalogue columns that begin with `_` do not raise it. Folders from before there was a number have 0."""

CARD, CITATION, CROISSANT = "README.md", "CITATION.bib", "croissant.json"
CATALOG, SOURCES, FAILURES = "catalog.parquet", "sources.parquet", "failures.csv"
HASHES, TRIES = "SHA256SUMS", "tries.csv"
HASHED = frozenset((CARD, CITATION, CROISSANT, CATALOG, SOURCES, FAILURES))
"""What the same sources and options give to the byte, beside the shards; `HASHES` lists it."""
FILES = HASHED | {HASHES, TRIES}
"""All that there is beside the shards."""


def pixel_folder(split: str, pixel: int | str, splits: Sequence[str]) -> str:
    """Where the shards of a pixel lie, below the dataset's folder."""
    return f"healpix={pixel}" if len(splits) == 1 else f"{split}/healpix={pixel}"
