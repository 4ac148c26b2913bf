"""Build candels_blend: from the archive of galaxy stamps to shards of blends, without a file per blend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
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
from candels_blend.columns import BLOCK, Blender, folds_of, folds_of_pairs, load, source_key
from candels_blend.download import ZENODO_URL, download
from candels_blend.draw import SPLITS, Sample, draw_sample
from candels_blend.options import sample_options
from candels_blend.render import Renderer
from candels_blend.stamp_archive import CATALOGUE, read_archive
from candels_blend.targets import METHODS
from skyshards.cli.build_command import build_command
from skyshards.cli.options import option
from skyshards.fetch.client import Fetcher
from skyshards.files import file_digest
from skyshards.format.layout import ENGINE_COLUMNS
from skyshards.format.schema import Schema
from skyshards.pipeline.recipe import Cost, Recipe, Source
from skyshards.progress import say

BLEND_BYTES = 66e3
"""Bytes of shards per blend with masks; measured on 2,000 blends of the real stamps."""
BLENDS_A_SECOND = 2_000
"""Blends rendered and packed per second on two cores (benchmarks/README.md)."""


def say_left_out(what: str, count: int, of: int) -> None:
    """Print how many galaxies a cut leaves out."""
    say(f"{count:,} of {of:,} galaxies are left out by {what}")


@dataclass(frozen=True)
class CandelsBlendRecipe(Recipe):
    """Recipe of candels_blend: each source is a block of blends, drawn when listed and rendered when read.

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
    """

    datapath: Path
    n_blends: int = 20_000
    sample: Sample = field(default_factory=Sample)
    method: str = "gg_masks"
    zeropoint: float = ZEROPOINT
    zenodo_url: str = ZENODO_URL
    delete: bool = False

    name = "candels_blend"
    splits = SPLITS
    unit = "blocks of blends"
    making = "rendering"

    @property
    def drawn(self) -> int:
        """Number of blends to build."""
        return self.n_blends if self.limit is None else min(self.n_blends, self.limit)

    @property
    def schema(self) -> Schema:
        return schema_of(self.method)

    def options(self) -> dict[str, Any]:
        sample = asdict(self.sample) | {"excluded_types": list(self.sample.excluded_types)}
        stamps = self.datapath / CATALOGUE  # identifies the archive; exists once that is fetched
        archive = {"stamps_sha256": file_digest(stamps)} if stamps.is_file() else {}
        return sample | {"n_blends": self.drawn, "method": self.method, "zeropoint": self.zeropoint} | archive

    def prepare(self, fetcher: Fetcher, folder: Path) -> CandelsBlendRecipe:
        """Download and unpack the archive of stamps, if missing."""
        download(self.datapath, self.zenodo_url, self.delete, fetcher)
        return self

    def sources(self, fetcher: Fetcher) -> Iterator[Source]:
        archive = read_archive(self.datapath)
        for complaint in archive.complaints():
            say(f"{self.datapath}: {complaint}")
        pairs = draw_sample(archive, self.sample, self.drawn, left_out=say_left_out)
        folds = folds_of(archive)
        for split in SPLITS:
            for start in range(0, len(pairs[split]), BLOCK):
                block = pairs[split][start : start + BLOCK]
                info = start, block, folds_of_pairs(folds, block)  # here, since workers do without healpy
                yield Source(source_key(split, start // BLOCK), split=split, info=info)

    def cost(self, sources: Sequence[Source]) -> Cost:
        blends = sum(len(pairs) for _, pairs, _ in (source.info for source in sources))
        keep = None if self.method == "single_images" else BLEND_BYTES * blends
        return Cost(0, keep, blends / BLENDS_A_SECOND, f"{BLENDS_A_SECOND:,} blends/s")

    def read(self, source: Source, fetched: None) -> Iterator[dict[str, Any]]:
        start, pairs, folds = source.info
        archive, stamps = load(self.datapath)
        first = 0 if source.split == "train" else self.sample.split_blends(self.drawn)["train"]
        seed = self.sample.seed
        blender = Blender(archive, Renderer(stamps, seed), seed, source.split, first, self.zeropoint)
        names = [name for name in self.schema.specs if name not in ENGINE_COLUMNS]  # the build fills these in
        columns = blender.columns(np.arange(start, start + len(pairs)), pairs, names) | {"fold": folds}
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
@option("--method", type=click.Choice(METHODS), default="gg_masks", help="Target stored beside the two masks.")
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
    n_blends, method, zeropoint, datapath, zenodo_url, delete, *, demo, output_dir, **sample
) -> CandelsBlendRecipe:
    """Blended pairs of HST CANDELS galaxies: images, masks and fluxes.

    With --limit (or --tiny), the sample has only so many blends.
    """
    if demo is not None:
        # The archive is unpacked for this build only, and deleted when the command ends.
        datapath = demo.folder / "unpacked"
        zenodo_url = demo.zenodo_url
    if datapath is None:
        datapath = platformdirs.user_cache_path("skyshards") / "candels_blend"
    return CandelsBlendRecipe(datapath, n_blends, Sample(**sample), method, zeropoint, zenodo_url, delete)
