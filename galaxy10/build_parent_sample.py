"""Build Galaxy10 DECaLS: from its one HDF5 file to HEALPix-partitioned HDF5 shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # a script's own folder is first on the path: its galaxy10.py would shadow the package
    import sys

    if not sys.flags.safe_path:
        del sys.path[0]
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from skyshards_start import run

    run("galaxy10.build_parent_sample:main", sys.argv[1:])

import click
import h5py

from galaxy10.galaxy10 import SCHEMA, SIZE
from skyshards import Recipe, Source, SourceError, UsageError
from skyshards.cli.build_command import build_command
from skyshards.cli.options import option
from skyshards.fetch.client import Fetcher
from skyshards.files import file_size
from skyshards.pipeline.recipe import DEMO, Cost

FILE = "Galaxy10_DECals.h5"
URL = f"https://www.astro.utoronto.ca/~hleung/shared/Galaxy10/{FILE}"
SHA256 = "19aefc477c41bb7f77ff07599a6b82a038dc042f889a111b0d4d98bb755c1571"
"""Checksum and size as published (https://astronn.readthedocs.io/en/latest/galaxy10.html)."""
FILE_BYTES, ROWS = 2.54e9, 17736
SHAPES = {"images": (SIZE, SIZE, 3), "ans": (), "ra": (), "dec": (), "redshift": (), "pxscale": ()}
"""Shapes of a row of the file's datasets."""


@dataclass(frozen=True)
class Galaxy10Recipe(Recipe):
    """Recipe of Galaxy10 DECaLS: one file, whose rows are galaxies.

    Parameters
    ----------
    url : str
        URL of the file.
    local_data_path : Path, optional
        Read this file, or the file of this name in this folder; nothing is downloaded.
    """

    url: str = URL
    local_data_path: Path | None = None

    name = "galaxy10"
    schema = SCHEMA

    def options(self) -> dict[str, Any]:
        url = DEMO if self.simulated else self.url
        return {"url": url if self.local_data_path is None else None}

    def sources(self, fetcher: Fetcher) -> Iterator[Source]:
        path = self.local_data_path
        if path is None:
            checksum, release = (f"sha256:{SHA256}", "Galaxy10 DECaLS") if self.url == URL else (None, None)
            yield Source(FILE, self.url, checksum, release=DEMO if self.simulated else release)
            return
        path = path / FILE if path.is_dir() else path
        try:
            self.count(Source(FILE), path)
        except SourceError as error:
            raise UsageError(f"`local_data_path` {error}") from error
        yield Source(FILE, path=path)

    def cost(self, sources: Sequence[Source]) -> Cost:
        if self.local_data_path is None and self.url != URL:  # another file, such as that of the demo
            return Cost()
        local = sum(file_size(source.path) for source in sources if source.path is not None)
        fetched = FILE_BYTES * sum(source.path is None for source in sources)
        return Cost(fetched, (local + fetched) * min((self.limit or ROWS) / ROWS, 1))

    def count(self, source: Source, fetched: Path) -> int:
        try:
            with h5py.File(fetched) as file:
                shapes = {name: tuple(getattr(file.get(name), "shape", ())) for name in SHAPES}
        except OSError as error:
            found = f"{error}" if fetched.is_file() else "no such file"
            raise SourceError(f"{fetched}: expected the HDF5 file {FILE}, whole; found: {found}") from error
        rows = shapes["ans"][:1]
        if wrong := [name for name, shape in SHAPES.items() if not rows or shapes[name] != rows + shape]:
            expected = f"datasets {', '.join(SHAPES)} of as many rows, images of {SIZE} x {SIZE} x 3"
            name = wrong[0] if rows else "ans"
            found = f"{name} {list(shapes[name])}" if shapes[name] else f"no {name}"
            raise SourceError(f"{fetched}: expected {FILE} with {expected}; found {found}")
        return rows[0]

    def read_rows(self, source: Source, fetched: Path, rows: range) -> Iterator[dict[str, Any]]:
        with h5py.File(fetched) as file:
            block = {name: file[name][rows.start : rows.stop] for name in SHAPES}
        for place, row in enumerate(rows):
            yield {
                "object_id": str(row),
                "ra": block["ra"][place],
                "dec": block["dec"][place],
                "image": block["images"][place],
                "label": block["ans"][place],
                "scale": block["pxscale"][place] / 3600,
                "redshift": block["redshift"][place],
            }


@build_command("galaxy10", not_with_demo=("url", "local_data_path"))
@option("--url", default=URL, metavar="URL", help="The published file.")
@option(
    "--local_data_path",
    type=click.Path(path_type=Path, exists=True),
    help=f"A copy of the file, or the folder with {FILE}; nothing is downloaded.",
)
def main(url, local_data_path, *, demo, output_dir) -> Galaxy10Recipe:
    """Galaxy10 DECaLS: colour images of galaxies of the DESI Legacy Imaging Surveys in ten classes of shape."""
    return Galaxy10Recipe(url if demo is None else demo.galaxy10_url, local_data_path)
