"""A dataset of small computed rows: quick to build, with every kind of column, and failures on request."""

from __future__ import annotations

import io
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image

from skyshards.errors import SourceError
from skyshards.format.folds import fold_of
from skyshards.format.healpix import pixel_of
from skyshards.format.moments import MOMENTS
from skyshards.format.schema import Column, Schema
from skyshards.pipeline.recipe import Recipe, Source

SCHEMA = Schema(
    columns={
        "flux": Column(datasets.Value("float32"), "flux", "uJy"),
        "count": Column(datasets.Value("int16"), "a count"),
        "barred": Column(datasets.Value("bool"), "a flag"),
        "label": Column(datasets.ClassLabel(names=["elliptical", "spiral"]), "a class"),
        "votes": {
            "names": Column(datasets.Sequence(datasets.Value("string"), length=2), "what was asked"),
            "fraction": Column(datasets.Sequence(datasets.Value("float32"), length=2), "the answers"),
            "mask": Column(datasets.Array2D((16, 18), "uint8"), "a mask"),
        },
        "noise": Column(datasets.Array2D((12, 12), "float32"), "noise, not deflated", deflate=False),
        "picture": Column(datasets.Image(), "a PNG"),
    },
    configs={"flags": ("object_id", "barred", "label")},
)


def row(number: int) -> dict[str, Any]:
    """Row of a number: the same whenever and wherever it is made."""
    random = np.random.default_rng(number)
    file = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (6, 7, 3), np.uint8)).save(file, "png")
    return {
        "object_id": f"galaxy-{number % 1000:03d}-é",
        "ra": random.uniform(0, 360) if number % 3 else 12.5,
        "dec": np.degrees(np.arcsin(random.uniform(-1, 1))) if number % 3 else 45.0 + number * 1e-4,
        "flux": np.float32(random.normal()) if number % 5 else np.float32("nan"),
        "count": int(random.integers(-300, 300)),
        "barred": bool(number % 2),
        "label": number % 2,
        "votes": {
            "names": ["bar", f"arm {number}"],
            "fraction": random.random(2, np.float32),
            "mask": random.integers(0, 4, (16, 18), np.uint8),
        },
        "noise": random.standard_normal((12, 12), np.float32),
        "picture": file.getvalue(),
    }


@dataclass(frozen=True)
class Toy(Recipe):
    """`count` sources of `rows_each` rows. Those in `broken` fail; the one called `deadly` kills its process."""

    count: int = 20
    rows_each: int = 1
    broken: tuple[int, ...] = ()
    deadly: int | None = None
    pause: float = 0.0
    backwards: bool = False

    name = "toy"
    schema = SCHEMA

    @property
    def folder(self) -> Path:
        return Path(__file__).parent / "toy_card"

    def sources(self, fetcher):
        numbers = range(self.count)
        for number in reversed(numbers) if self.backwards else numbers:
            yield Source(f"s{number:05d}", info=number)

    def read(self, source, fetched):
        time.sleep(self.pause)
        if source.info in self.broken:
            raise SourceError("broken on purpose")
        if source.info == self.deadly:
            os._exit(9)
        for part in range(self.rows_each):
            yield row(source.info * self.rows_each + part)


def unread(*_):
    """Stand in for `read` where nothing may be read again."""
    raise AssertionError("read again")


def die() -> None:
    """How a process starts that cannot start."""
    os._exit(3)


def located(rows, nside):
    """Encoded rows with the columns that they have once out of the spool, without the sums of their images."""
    found = []
    for one in rows:
        light = one.light()
        light["healpix"] = int(pixel_of(light["ra"], light["dec"], nside))
        light.pop(MOMENTS, None)
        light["fold"] = int(fold_of(light["ra"], light["dec"]))
        found.append(replace(one, values=light))
    return found
