"""Where the files of a built dataset lie, and the columns that are the engine's own."""

from __future__ import annotations

import re
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
SHARDS = "*.hdf5"
"""What the shards of a folder are called."""
WORKSPACE = ".build"
"""Where a build works until it is published."""

HEALPIX, SOURCE = ENGINE_COLUMNS = ("healpix", "source")
"""Columns that every dataset has and the build fills in: the row's pixel, and the key of the source it came from."""

SPLIT, SHARD, ROW = "_split", "_shard", "_row"
"""Columns of the catalogue: a row's split, the path of its shard below the folder, and its position in the shard."""
START, SIZE, CRC32 = "_start:", "_size:", "_crc32:"
"""Columns of the catalogue for each large column, by its name: where in the shard a row's value begins, how many bytes
it has, and their crc32."""


def pixel_folder(split: str, pixel: int | str, splits: Sequence[str]) -> str:
    """Where the shards of a pixel lie, below the dataset's folder."""
    return f"{HEALPIX}={pixel}" if len(splits) == 1 else f"{split}/{HEALPIX}={pixel}"


SHARD_NAME = re.compile(r"\d{3,}-of-\d{3,}\.hdf5", re.ASCII)
"""What `shard_name` gives."""


def shard_name(number: int, count: int) -> str:
    """The name of one of a pixel's shards, counted from 1."""
    return f"{number:03d}-of-{count:03d}.hdf5"
