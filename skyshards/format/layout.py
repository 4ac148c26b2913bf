"""File names and paths in a built dataset, and the names of the engine's own columns."""

from __future__ import annotations

import re
from collections.abc import Sequence

FORMAT_VERSION = 2
"""Version of the folder format, raised when earlier versions of skyshards would misread new folders; they reject them.
New files, keys, or catalogue columns with a leading `_` do not raise it. Folders without a version count as 0."""

CARD, CITATION, CROISSANT = "README.md", "CITATION.bib", "croissant.json"
CATALOG, SOURCES, FAILURES = "catalog.parquet", "sources.parquet", "failures.csv"
HASHES, TRIES = "SHA256SUMS", "tries.csv"
HASHED = frozenset((CARD, CITATION, CROISSANT, CATALOG, SOURCES, FAILURES))
"""Files beside the shards that are reproducible to the byte from the same sources and options; listed in `HASHES`."""
FILES = HASHED | {HASHES, TRIES}
"""All files beside the shards."""
SHARDS = "*.hdf5"
"""Pattern of shard names."""
WORKSPACE = ".build"
"""Folder of an unfinished build."""

HEALPIX, SOURCE, FOLD = ENGINE_COLUMNS = ("healpix", "source", "fold")
"""Columns filled in by the build in every dataset: the row's pixel, the key of its source, and its fold of the sky."""

SPLIT, SHARD, ROW = "_split", "_shard", "_row"
"""Catalogue columns: a row's split, the path of its shard below the folder, and its position in the shard."""
START, SIZE, CRC32 = "_start:", "_size:", "_crc32:"
"""Prefixes of the catalogue columns for each heavy column: offset of a value in the shard, its size in bytes, and the
crc32 of these bytes."""
ADDED_ROW = "_added:"
"""Prefix of the catalogue column for each addition: a row's position in its file, null where it has no values."""

ADDED = "added"
"""Folder of the files of additions."""


def addition_path(name: str) -> str:
    """Return the path of an addition's file below the dataset's folder."""
    return f"{ADDED}/{name}.hdf5"


def scalars_path(split: str) -> str:
    """Return the path of a file with all scalars of a split, added ones included, for stock `datasets`."""
    return f"{ADDED}/catalog/{split}.hdf5"


def pixel_folder(split: str, pixel: int | str, splits: Sequence[str]) -> str:
    """Return the path of a pixel's shards below the dataset's folder."""
    return f"{HEALPIX}={pixel}" if len(splits) == 1 else f"{split}/{HEALPIX}={pixel}"


SHARD_NAME = re.compile(r"\d{3,}-of-\d{3,}\.hdf5", re.ASCII)
"""Matches the names made by `shard_name`."""


def shard_name(number: int, count: int) -> str:
    """Return the name of one of a pixel's shards, counted from 1."""
    return f"{number:03d}-of-{count:03d}.hdf5"
