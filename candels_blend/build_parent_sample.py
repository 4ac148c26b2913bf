"""Build candels_blend: from the archive of galaxy stamps to shards of blends, without a file per blend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # a script's own folder is first on the path: its candels_blend.py would shadow the package
    import sys

    if not sys.flags.safe_path:
        del sys.path[0]
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from skyshards_start import run

    run("candels_blend.build_parent_sample:main", sys.argv[1:])

import click
import numpy as np
import platformdirs

from candels_blend.blends import ZEROPOINT
from candels_blend.candels_blend import schema_of
from candels_blend.columns import Blender, draw_once, folds_of, folds_of_blends, load
from candels_blend.download import ZENODO_URL, download, release_of
from candels_blend.draw import Draw
from candels_blend.options import DEFAULT, sample_options, unmasked_option
from candels_blend.render import Renderer
from candels_blend.sample import SPLITS, Sample
from candels_blend.stamp_archive import CATALOGUE, read_archive
from candels_blend.targets import METHODS
from skyshards.cli.build_command import build_command
from skyshards.cli.options import option
from skyshards.errors import BuildError
from skyshards.fetch.client import Fetcher
from skyshards.files import file_digest
from skyshards.format import provenance
from skyshards.format.layout import ENGINE_COLUMNS
from skyshards.format.schema import Schema
from skyshards.pipeline.recipe import DEMO, Cost, Recipe, Source
from skyshards.progress import say
from skyshards.text import counted

LIGHT_BYTES, DEFLATED = 500, 0.01
"""Bytes in shards of a blend's other columns, and size of deflated masks relative to their pixels; both measured on
blends of 2 to 5 galaxies."""
BLEND_SECONDS, BYTE_SECONDS = 250e-6, 2.5e-9
"""Seconds to render and pack a blend, and more for each byte of its pixels; measured on two cores."""


def say_left_out(what: str, count: int, of: int) -> None:
    """Print how many galaxies a cut leaves out."""
    say(f"left out by {what}: {count:,} of {counted(of, 'galaxies')}")


@dataclass(frozen=True)
class CandelsBlendRecipe(Recipe):
    """Recipe of candels_blend: each split is a source, whose blends are drawn and rendered when read.

    Parameters
    ----------
    datapath : Path
        Folder of the unpacked archive, which is downloaded if missing.
    n_blends : int
        Number of train and test blends together; a limit caps it.
    sample : Sample
        Options of the draw.
    method : str
        One of `candels_blend.targets.METHODS`.
    zeropoint : float
        Magnitude of flux 1.
    zenodo_url : str
        Server with the archive's record.
    delete : bool
        Delete the archive's .tar.gz file once it is unpacked.
    masked : bool
        Replace neighbours by noise and add noise, or blend the archive's stamps as they are.
    """

    datapath: Path
    n_blends: int = 20_000
    sample: Sample = field(default_factory=Sample)
    method: str = "gg_masks"
    zeropoint: float = ZEROPOINT
    zenodo_url: str = ZENODO_URL
    delete: bool = False
    masked: bool = True

    name = "candels_blend"
    splits = SPLITS
    unit = "splits"
    making = "rendering"

    @property
    def schema(self) -> Schema:
        return schema_of(self.method, self.sample.n_galaxies)

    def options(self) -> dict[str, Any]:
        sample = asdict(self.sample) | {"excluded_types": list(self.sample.excluded_types)}
        # Folders of earlier versions do not tell these.
        sample["n_galaxies"] = None if self.sample.n_galaxies == DEFAULT.n_galaxies else self.sample.n_galaxies
        sample["unmasked"] = None if self.masked else True
        stamps = self.datapath / CATALOGUE  # identifies the archive; exists once that is fetched
        archive = {"stamps_sha256": file_digest(stamps)} if stamps.is_file() else {}
        return sample | {"n_blends": self._limited, "method": self.method, "zeropoint": self.zeropoint} | archive

    @property
    def _limited(self) -> int:
        return self.n_blends if self.limit is None else min(self.n_blends, self.limit)

    def prepare(self, fetcher: Fetcher, folder: Path) -> CandelsBlendRecipe:
        """Download and unpack the archive of stamps, if missing; let a limit cap the sample."""
        if any("-block-" in record.key for record in provenance.read(folder)):
            raise BuildError(f"{folder}: its sources are named as in earlier versions; delete it and build again")
        download(self.datapath, self.zenodo_url, self.delete, fetcher)
        return replace(self, n_blends=self._limited)

    def sources(self, fetcher: Fetcher) -> Iterator[Source]:
        archive = read_archive(self.datapath)
        for complaint in archive.complaints():
            say(f"{self.datapath}: {complaint}")
        folds = folds_of(archive)  # here, since workers do without healpy
        draw = Draw(archive, self.sample, left_out=say_left_out)
        release = DEMO if self.simulated else release_of(self.datapath)
        for split, count in self._counts.items():
            if count:
                next(draw.blends(split))  # before anything is rendered
                yield Source(split, split=split, info=folds, release=release)

    @property
    def _counts(self) -> dict[str, int]:
        return self.sample.split_blends(self.n_blends)

    def cost(self, sources: Sequence[Source]) -> Cost:
        splits = {source.split for source in sources}
        if self.limit is not None:  # the sources after the first one follow
            splits.update(SPLITS[SPLITS.index(sources[0].split) :])
        blends = sum(self._counts[split] for split in splits)
        pixels = [spec for spec in self.schema.specs.values() if spec.heavy]
        kept = LIGHT_BYTES + sum(spec.nbytes * (DEFLATED if spec.deflate else 1) for spec in pixels)
        each = BLEND_SECONDS + BYTE_SECONDS * sum(spec.nbytes for spec in pixels)
        return Cost(0, kept * blends, each * blends, f"{1 / each:,.0f} blends/s")

    def count(self, source: Source, fetched: None) -> int:
        return self._counts[source.split]

    def read_rows(self, source: Source, fetched: None, rows: range) -> Iterator[dict[str, Any]]:
        archive, stamps = load(self.datapath, self.masked)
        drawn = draw_once(self.datapath, self.masked, self.sample, self.n_blends)[source.split][rows.start : rows.stop]
        first = 0 if source.split == "train" else self._counts["train"]
        seed = self.sample.seed
        blender = Blender(archive, Renderer(stamps, seed), seed, source.split, first, self.zeropoint)
        names = [name for name in self.schema.specs if name not in ENGINE_COLUMNS]  # the build fills these in
        columns = blender.columns(np.asarray(rows), drawn, names) | {"fold": folds_of_blends(source.info, drawn)}
        texts = {name: column.tolist() for name, column in columns.items() if column.dtype.kind == "U"}
        for values in zip(*(columns | texts).values(), strict=True):
            yield dict(zip(columns, values, strict=True))


@build_command("candels_blend", not_with_demo=("datapath", "zenodo_url"))
@option(
    "--n_blends",
    "-n",
    type=click.IntRange(1),
    default=20_000,
    metavar="N",
    help="Number of blends, train and test together.",
)
@sample_options
@unmasked_option
@option("--method", type=click.Choice(METHODS), default="gg_masks", help="Target stored beside the masks.")
@option("--zeropoint", type=float, default=ZEROPOINT, metavar="MAG", help="Magnitude of the flux 1.")
@option(
    "--datapath",
    "-d",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the archive's files; missing ones are downloaded. [default: a cache folder]",
)
@option("--zenodo_url", default=ZENODO_URL, metavar="URL", help="Zenodo, or another server with the archive's record.")
@option("--delete", is_flag=True, help="Delete the .tar.gz file once it is unpacked.")
def main(
    n_blends, unmasked, method, zeropoint, datapath, zenodo_url, delete, *, demo, output_dir, **sample
) -> CandelsBlendRecipe:
    """Blended HST CANDELS galaxies: images, masks and fluxes.

    With --limit (or --tiny), the sample has only so many blends.
    """
    if demo is not None:
        # The archive is unpacked for this build only, and deleted when the command ends.
        datapath = demo.folder / "unpacked"
        zenodo_url = demo.zenodo_url
    if datapath is None:
        datapath = platformdirs.user_cache_path("skyshards") / "candels_blend"
    drawn = Sample(**sample)
    return CandelsBlendRecipe(datapath.absolute(), n_blends, drawn, method, zeropoint, zenodo_url, delete, not unmasked)
