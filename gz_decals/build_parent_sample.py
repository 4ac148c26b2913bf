"""Build Galaxy Zoo DECaLS: from the release's catalogues and image archives to HEALPix-partitioned HDF5 shards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

if __name__ == "__main__":  # a script's own folder is first on the path: its gz_decals.py would shadow the package
    import sys

    if not sys.flags.safe_path:
        del sys.path[0]
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from skyshards_start import run

    run("gz_decals.build_parent_sample:main", sys.argv[1:])

import click

from gz_decals import catalogs
from gz_decals.catalogs import Catalog, Layout
from gz_decals.find_images import ImageStore, Index, Place, chunk_places, folder_places
from gz_decals.gz_decals import schema
from gz_decals.positions import position
from gz_decals.release import CATALOGS, RECORD_URL, fetch_catalog, image_chunks
from gz_decals.resample import stored
from gz_decals.zip_archives import Chunk
from skyshards.cli.build_command import build_command
from skyshards.cli.options import FloatRange, option
from skyshards.errors import BuildError
from skyshards.fetch.client import Fetcher
from skyshards.fetch.zenodo import doi_of
from skyshards.files import file_digest, file_size, remove_if_empty
from skyshards.format.schema import Schema
from skyshards.input_tables.table_file import FORMATS
from skyshards.pipeline.claims import delete_claimed, release
from skyshards.pipeline.downloads import keep, kept
from skyshards.pipeline.recipe import DEMO, Cost, Recipe, Source
from skyshards.progress import say
from skyshards.text import counted

MAX_SMOOTH, MAX_EDGE_ON = 0.75, 0.25
"""The cut behind the advanced ring catalogue (Walmsley et al. 2022, Practical Galaxy Morphology Tools)."""

PIXELS = 424
"""Width and height of the published images."""


@dataclass(frozen=True)
class Galaxy:
    """Catalogue row of a galaxy, looked up on demand and pickled by value.

    This keeps a list of 300,000 sources small, and sends workers only what they need.
    """

    catalog: Catalog
    number: int

    @property
    def row(self) -> dict[str, Any]:
        return self.catalog.row(self.number)

    def __reduce__(self):
        return SimpleNamespace, (), {"row": self.row}


@dataclass(frozen=True)
class GZDecalsRecipe(Recipe):
    """Recipe of GZ DECaLS: each source is the image (file or zip member) of a catalogue galaxy and gives one row.

    Parameters
    ----------
    catalog : Path or str
        Catalogue file, or the name of a published catalogue (of `CATALOGS`) to download.
    output_dir : Path
        Folder for downloads and temporary files.
    archive_url : str
        URL of the Zenodo record with the zip archives.
    local_data_path : Path, optional
        Read the images or zip archives from this folder; nothing is downloaded.
    size : int, optional
        Resample the images to this many pixels on a side.
    max_smooth, max_edge_on : float, optional
        Keep galaxies whose smooth and edge-on fractions are less than these.
    keep_archives : bool
        Keep the downloads.
    layout : Layout, optional
        Catalogue file and the roles of its columns; set by `prepare`.
    wanted : int, optional
        Number of images that are read at most, which decides how archives are fetched; set by `prepare`.
    """

    catalog: Path | str
    output_dir: Path
    archive_url: str = RECORD_URL
    local_data_path: Path | None = None
    size: int | None = None
    max_smooth: float | None = None
    max_edge_on: float | None = None
    keep_archives: bool = False
    layout: Layout | None = None
    wanted: int | None = None
    images: ImageStore = field(default_factory=ImageStore, compare=False)

    name = "gz_decals"

    @property
    def _known_layout(self) -> Layout:
        assert self.layout is not None, "`prepare` comes first"
        return self.layout

    @property
    def schema(self) -> Schema:
        return schema(self._known_layout.values)

    @cached_property
    def _catalog_sha256(self) -> str:
        return file_digest(self._known_layout.path)

    def options(self) -> dict[str, Any]:
        archive = DEMO if self.simulated else self.archive_url.rstrip("/")
        path = Path(CATALOGS[self.catalog]) if isinstance(self.catalog, str) else self.catalog
        digest = {} if self.layout is None else {"catalog_sha256": self._catalog_sha256}
        return digest | {
            "catalog": path.name,
            "archive_url": archive if self.local_data_path is None else None,
            "size": self.size,
            "max_smooth": self.max_smooth,
            "max_edge_on": self.max_edge_on,
        }

    def prepare(self, fetcher: Fetcher, folder: Path) -> GZDecalsRecipe:
        """Download the catalogue, unless it is on disk, and read its columns."""
        path = self.catalog
        if isinstance(path, str):
            path = fetch_catalog(path, self.archive_url, fetcher, folder / self.downloads)
        return replace(self, layout=catalogs.layout(path), wanted=self.limit)

    def sources(self, fetcher: Fetcher) -> Iterator[Source]:
        catalog = catalogs.read(self._known_layout, self.max_smooth, self.max_edge_on)
        index = Index(self._places(fetcher))
        found: list[tuple[Place, int]] = []
        for number, wanted in enumerate(catalog.images):
            if place := index.find(wanted):
                found.append((place, number))
        if not found:
            wanted = f"{counted(len(catalog), 'galaxies')} of {self._known_layout.path.name}"
            raise BuildError(f"none of the {wanted} is among the {counted(len(index), 'images')} found")
        found.sort(key=lambda pair: pair[0].order)
        self._say(catalog, found)
        self.images.take([place for place, _ in found], self.wanted)
        release = DEMO if self.simulated else doi_of(self.archive_url) if self.local_data_path is None else None
        for place, number in found:
            galaxy = Galaxy(catalog, number)
            yield Source(place.key, url=place.url, path=place.path, info=galaxy, release=release)

    def _places(self, fetcher: Fetcher) -> Iterator[Place]:
        if self.local_data_path is None:
            folder = self.output_dir / self.downloads / "archives"  # used only by this build, which holds the lock
            if self.keep_archives:
                keep(folder.parent)
                keep(folder)
            yield from chunk_places(image_chunks(self.archive_url, fetcher, folder, self.keep_archives), fetcher)
            return
        yield from folder_places(self.local_data_path)
        yield from chunk_places([Chunk(None, path) for path in sorted(self.local_data_path.glob("*.zip"))], fetcher)

    def _say(self, catalog: Catalog, found: list) -> None:
        """Print what the build leaves out, and why."""
        counts = {f"galaxies of {self._known_layout.path.name} are outside the cut": catalog.outside}
        counts["galaxies have no image here"] = len(catalog) - len(found)
        for words, count in counts.items():
            if count:
                say(f"{count:,} {words}")
        for note in self._known_layout.notes:
            say(note)

    def cost(self, sources: Sequence[Source]) -> Cost:
        chunks = self.images.nbytes(source.key for source in sources)
        fetched = sum(chunk.to_fetch(wanted) for chunk, wanted in chunks)
        images = sum(wanted for _, wanted in chunks)
        images += sum(file_size(source.path) for source in sources if source.path is not None)
        share = 1.0 if self.size is None else (self.size / PIXELS) ** 2
        return Cost(fetched, share * images + (fetched if self.keep_archives else 0))

    def expect(self, sources: Iterable[Source]) -> None:
        self.images.expect(source.key for source in sources)

    def fetch(self, source: Source, fetcher: Fetcher, folder: Path) -> Any:
        return source.path if source.path is not None else self.images.read(source.key, fetcher)

    def read(self, source: Source, fetched: bytes | Path) -> Iterator[dict[str, Any]]:
        content = fetched.read_bytes() if isinstance(fetched, Path) else fetched
        known = source.info.row
        content, growth = stored(content, self.size)
        ra, dec = position(known["iauname"], known["ra"], known["dec"])
        yield {
            "object_id": known["iauname"],
            "iauname": known["iauname"],
            "ra": ra,
            "dec": dec,
            "image": content,
            "image_file": source.key,
            "scale": known["scale"] * growth / 3600,
            **known["values"],
        }

    def discard(self, source: Source, fetched: Any, failed: bool) -> None:
        self.images.release(source.key)

    def close(self) -> None:
        """Delete downloads that are no longer needed."""
        downloads = self.output_dir / self.downloads
        self.images.close()
        if isinstance(self.catalog, str):
            (release if self.keep_archives or kept(downloads) else delete_claimed)(downloads / CATALOGS[self.catalog])
        for folder in (downloads / "archives", downloads):
            remove_if_empty(folder)


@build_command("gz_decals", not_with_demo=("local_data_path", "catalog_file", "archive_url"))
@option("--catalog", type=click.Choice(tuple(CATALOGS)), default="basic", help="Which published catalogue to use.")
@option(
    "--catalog_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help=f"A local copy of that catalogue, or one of your own ({FORMATS}); none is downloaded.",
)
@option(
    "--local_data_path",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with the images, or with the zip archives; none are downloaded.",
)
@option("--keep_archives", is_flag=True, help="Keep the downloaded files in the subfolder `downloads`.")
@option("--size", type=click.IntRange(8, 4096), metavar="N", help="Resample the images to N x N pixels, as PNG.")
@option(
    "--max_smooth",
    type=FloatRange(0),
    metavar="F",
    help=f"Keep galaxies with a smooth fraction less than F. [default: {MAX_SMOOTH} with --catalog advanced]",
)
@option(
    "--max_edge_on",
    type=FloatRange(0),
    metavar="F",
    help=f"Keep galaxies with an edge-on fraction less than F. [default: {MAX_EDGE_ON} with --catalog advanced]",
)
@option("--archive_url", default=RECORD_URL, metavar="URL", help="Zenodo record with catalogues and images.")
def main(
    catalog, catalog_file, local_data_path, keep_archives, size, max_smooth, max_edge_on, archive_url,
    *, demo, output_dir,
) -> GZDecalsRecipe:  # fmt: skip
    """Galaxy Zoo DECaLS: images of ring and other galaxies, and volunteers' votes."""
    if demo is not None:
        archive_url = demo.decals_url
    if catalog == "advanced":
        max_smooth = MAX_SMOOTH if max_smooth is None else max_smooth
        max_edge_on = MAX_EDGE_ON if max_edge_on is None else max_edge_on
    return GZDecalsRecipe(
        catalog_file or catalog,
        output_dir,
        archive_url,
        local_data_path,
        size,
        max_smooth,
        max_edge_on,
        keep_archives,
    )
