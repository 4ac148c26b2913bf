"""HATS catalogues, read a partition at a time."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from skyshards.errors import UsageError
from skyshards.files import is_url
from skyshards.matching.catalogue import Batches, Catalogue, Part, plain

HATS_FILES = ("collection.properties", "hats.properties", "properties")
"""Every HATS collection or catalogue has one of these files in its folder."""
NUMBER_BITS = 32
"""Rows of a HATS catalogue are numbered by partition, which shifted by this number of bits is that of its first row."""


def is_hats(location: str) -> bool:
    import fsspec

    try:
        filesystem, root = fsspec.core.url_to_fs(location)
        return any(filesystem.exists(f"{root.rstrip('/')}/{name}") for name in HATS_FILES)
    except (ImportError, ValueError, OSError):
        return False


def of_hats(location: str) -> Catalogue:
    where = location if is_url(location) else str(Path(location).absolute())
    try:
        about = _opened_hats(where)
    except ImportError as error:
        raise UsageError(f"{location}: HATS catalogues need the package hats: pip install 'skyshards[hats]'") from error

    def parts(names: Sequence[str]) -> list[Part]:
        return [
            Part(
                number << NUMBER_BITS,
                functools.partial(_read_partition, where, (pixel.order, pixel.pixel), list(names)),
                (pixel.order, np.array([pixel.pixel])),
            )
            for number, pixel in enumerate(about.get_healpix_pixels())
        ]

    info = about.catalog_info
    return Catalogue(location, about.schema.names, parts, True, (info.ra_column, info.dec_column), numbered=False)


@functools.lru_cache(maxsize=2)
def _opened_hats(location: str) -> Any:
    import hats

    found = hats.read_hats(location)
    return getattr(found, "main_catalog", found)  # one of several classes with the same attributes


def _read_partition(location: str, pixel: tuple[int, int], names: Sequence[str]) -> Batches:
    from hats.io import file_io, paths
    from hats.pixel_math import HealpixPixel

    about = _opened_hats(location)
    suffix = about.catalog_info.npix_suffix
    path = paths.pixel_catalog_file(about.catalog_path, HealpixPixel(*pixel), npix_suffix=suffix)
    frame = file_io.read_parquet_file_to_pandas(path, columns=list(names), is_dir=suffix == "/")
    table = pa.Table.from_pandas(frame[list(names)], preserve_index=False)
    yield {name: plain(table[name]) for name in names}
