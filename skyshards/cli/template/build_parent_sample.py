"""Build new_dataset: list its sources, and read them into rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a script, import the package that this file is in
    import sys

    if not sys.flags.safe_path:
        del sys.path[0]
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from new_dataset.build_parent_sample import main

    main()

import numpy as np

from new_dataset.new_dataset import SCHEMA
from skyshards import Recipe, Source
from skyshards.cli.build_command import build_command
from skyshards.cli.options import option
from skyshards.fetch.client import Fetcher


@dataclass(frozen=True)
class NewDatasetRecipe(Recipe):
    """Recipe of new_dataset: each source is a simulated galaxy, and gives one row.

    Parameters
    ----------
    seed : int
        Seed of the simulated galaxies.
    """

    seed: int = 0

    name = "new_dataset"
    schema = SCHEMA
    simulated = True  # TODO: delete this line once the rows are real

    def options(self) -> dict[str, Any]:
        """TODO: the options that determine the content of the rows."""
        return {"seed": self.seed}

    def sources(self, fetcher: Fetcher) -> Iterator[Source]:
        """TODO: a Source for each file, with its URL and, if known, checksum."""
        for number in range(20):
            yield Source(f"galaxy-{number:02d}", info=number)

    def read(self, source: Source, fetched: Any) -> Iterator[dict[str, Any]]:
        """TODO: a row for each object in the file, whose path is `fetched`."""
        random = np.random.default_rng([self.seed, source.info])
        y, x = np.mgrid[-32:32, -32:32]
        light = 255 * np.exp(-np.hypot(x, y / random.uniform(0.3, 1)) / 10)
        yield {
            "object_id": f"{self.seed}-{source.info:02d}",
            "ra": random.uniform(0, 360),
            "dec": np.degrees(np.arcsin(random.uniform(-1, 1))),
            "image": np.repeat(light.astype("uint8")[:, :, None], 3, axis=2),
            "mag_r": np.float32(random.uniform(14, 18)),
        }


@build_command("new_dataset")
@option("--seed", type=int, default=0, help="Seed of the simulated galaxies.")  # TODO
def main(seed, *, demo, output_dir) -> NewDatasetRecipe:
    """New dataset: TODO what it is, in a line."""
    return NewDatasetRecipe(seed)
