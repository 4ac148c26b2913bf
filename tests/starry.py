"""A dataset with an image that deflate hardly shrinks and a mask that is mostly zeros, as stores tell them apart."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from skyshards.format.schema import Column, Schema
from skyshards.pipeline.recipe import Recipe, Source

SCHEMA = Schema(
    {
        "image": Column(datasets.Array3D((150, 150, 3), "uint8"), "an image of noise"),
        "masks": {"stars": Column(datasets.Array3D((2, 512, 512), "uint8"), "where there are stars")},
        "noise": Column(datasets.Array2D((12, 12), "float32"), "noise, never deflated", deflate=False),
        "flux": Column(datasets.Sequence(datasets.Value("float32")), "a spectrum"),
        "count": Column(datasets.Value("int16"), "a count"),
    }
)


def row(number: int) -> dict[str, Any]:
    """Row of a number; the rows of several numbers share a pixel."""
    random = np.random.default_rng(number)
    stars = np.zeros((2, 512, 512), np.uint8)
    stars[0, number % 512, 5:9] = 1
    return {
        "object_id": f"field-{number:03d}",
        "ra": 40.0 * (number % 3) + 1e-3 * number,
        "dec": 20.0,
        "image": random.integers(0, 64, (150, 150, 3), np.uint8),
        "masks": {"stars": stars},
        "noise": random.standard_normal((12, 12), np.float32),
        "flux": random.random(number % 4, np.float32),
        "count": number,
    }


@dataclass(frozen=True)
class Starry(Recipe):
    count: int = 8

    name = "starry"
    schema = SCHEMA

    @property
    def folder(self) -> Path:
        return Path(__file__).parent / "toy_card"

    def sources(self, fetcher):
        for number in range(self.count):
            yield Source(f"s{number:03d}", info=number)

    def read(self, source, fetched):
        yield row(source.info)
