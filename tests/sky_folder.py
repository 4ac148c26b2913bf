"""Built folders of rows at given positions, in a dataset of any name and with any nside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skyshards.pipeline.build import build
from skyshards.pipeline.recipe import Recipe, Source
from tests import toy


@dataclass(frozen=True)
class Sky(Recipe):
    """Rows like the toy's, at these positions: one source a row, the first half in `train`, the others in `test`."""

    named: str
    places: tuple[tuple[float, float], ...]

    name = "sky"
    schema = toy.SCHEMA
    splits = ("train", "test")

    @property
    def folder(self) -> Path:
        return Path(toy.__file__).parent / "toy_card"

    def sources(self, fetcher):
        for number, place in enumerate(self.places):
            split = self.splits[number >= len(self.places) / 2]
            yield Source(f"s{number:05d}", info=(number, place), split=split)

    def read(self, source, fetched):
        number, (ra, dec) = source.info
        yield toy.row(number) | {"ra": ra, "dec": dec, "object_id": f"{self.named}-{number}"}


def build_sky(folder: Path, ra, dec, nside: int = 16) -> Path:
    """Build rows at these positions; their names are those of the folder with their numbers."""
    places = tuple(zip(np.asarray(ra, float).tolist(), np.asarray(dec, float).tolist(), strict=True))
    assert build(Sky(folder.name, places), folder, workers=0, nside=nside).failed == 0
    return folder
