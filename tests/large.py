"""A dataset whose sources are files with many rows, read in blocks: HDF5 with an image, a position and a name a row."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import datasets
import h5py
import numpy as np

from skyshards.format.schema import Column, Schema
from skyshards.pipeline.recipe import Recipe, Source

SCHEMA = Schema(
    columns={
        "object_id": Column(datasets.Value("string"), "name"),
        "ra": Column(datasets.Value("float64"), "right ascension", "deg"),
        "dec": Column(datasets.Value("float64"), "declination", "deg"),
        "healpix": Column(datasets.Value("int64"), "pixel"),
        "image": Column(datasets.Array2D((8, 8), "uint8"), "an image"),
        "source": Column(datasets.Value("string"), "source"),
    },
)


def write_file(path: Path, count: int, first: int = 0, size: int = 8, **changed) -> Path:
    """Write a file of `count` rows, named by their numbers from `first` on; `changed` replaces datasets."""
    random = np.random.default_rng(first)
    columns = {
        "name": [f"g{number:05d}" for number in range(first, first + count)],
        "ra": random.uniform(0, 360, count),
        "dec": random.uniform(-80, 80, count),
        "image": random.integers(0, 256, (count, size, size), np.uint8),
    }
    with h5py.File(path, "w") as file:
        for name, values in (columns | changed).items():
            file[name] = values
    return path


@dataclass(frozen=True)
class Large(Recipe):
    """One source a file. Rows of the numbers in `left_out` are left out; that of `deadly` kills its process."""

    files: tuple[Path, ...]
    left_out: tuple[int, ...] = ()
    deadly: int | None = None
    urls: tuple[str, ...] = ()
    keep: bool = False

    name = "large"
    schema = SCHEMA
    rows_per_block = 7

    @property
    def folder(self) -> Path:
        return Path(__file__).parent / "toy_card"

    @property
    def keeps_downloads(self) -> bool:
        return self.keep

    def sources(self, fetcher):
        for path in self.files:
            yield Source(path.name, path=path)
        for url in self.urls:
            yield Source(url.rpartition("/")[2], url=url)

    def count(self, source, fetched):
        with h5py.File(fetched) as file:
            return len(file["name"])

    def read_rows(self, source, fetched, rows):
        with h5py.File(fetched) as file:
            block = {name: file[name][rows.start : rows.stop] for name in file}
        for place, number in enumerate(rows):
            if number == self.deadly:
                os._exit(9)
            if number in self.left_out:
                yield None
                continue
            yield {
                "object_id": block["name"][place].decode(),
                "ra": block["ra"][place],
                "dec": block["dec"][place],
                "image": block["image"][place],
            }


@dataclass(frozen=True)
class Whole(Large):
    """The same rows, read whole."""

    count = Recipe.count
    read_rows = Recipe.read_rows

    def read(self, source, fetched):
        with h5py.File(fetched) as file:
            total = len(file["name"])
        yield from (row for row in Large.read_rows(self, source, fetched, range(total)) if row is not None)
