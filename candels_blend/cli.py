"""The command `candels-blender`: download, produce, concatenate and convert."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

import click

from candels_blend import npy_files as files
from candels_blend.blends import ZEROPOINT
from candels_blend.download import ZENODO_URL, download
from candels_blend.draw import draw_sample
from candels_blend.options import sample_options, unmasked_option
from candels_blend.sample import SPLITS, Sample
from candels_blend.stamp_archive import read_archive
from candels_blend.targets import METHODS
from skyshards.cli.options import HELP, messages, option
from skyshards.cli.typed import Group
from skyshards.fetch.client import Fetcher
from skyshards.machine import usable_cores
from skyshards.progress import progress, say, waiting
from skyshards.text import counted
from skyshards.version import __version__

LOG = "candels-blender.log"
WORTH_PROCESSES = 4000
"""Number of blends from which starting processes pays off."""
FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group(cls=Group, context_settings=HELP)
@click.version_option(__version__)
def main() -> None:
    """Blend HST CANDELS galaxies, as candels-blender does."""


@main.command("download")
@option("-o", "--output_dir", type=FOLDER, default=Path("data"), help="Folder to unpack the archive in.")
@option("--delete", is_flag=True, help="Delete the .tar.gz file once it is unpacked.")
@option("--zenodo_url", default=ZENODO_URL, metavar="URL", help="Zenodo, or another server with the archive's record.")
@messages()
def download_archive(output_dir: Path, delete: bool, zenodo_url: str) -> None:
    """Fetch the archive of galaxy stamps (Zenodo record 2604740, 120 MB) and unpack it."""
    download(output_dir, zenodo_url, delete, Fetcher(on_wait=waiting, progress=progress))
    click.echo(f"=> {output_dir}: {counted(len(read_archive(output_dir).rows), 'galaxies')}")


@main.command()
@option(
    "--n_blends",
    "-n",
    type=click.IntRange(0),
    default=100,
    metavar="N",
    help="Number of blends, train and test together.",
)
@sample_options
@unmasked_option
@option("--datapath", "-d", type=FOLDER, default=Path("data"), help="Folder of the unpacked archive.")
@option(
    "--workers", type=click.IntRange(1), metavar="N", help="Processes. [default: usable cores, one for a few blends]"
)
@messages()
def produce(n_blends: int, unmasked: bool, datapath: Path, workers: int | None, **options) -> None:
    """Write single blends with their masks, and their catalogues.

    \b
    The folder output-s_SEED-n_N gets, for train and test:
      {split}_blend_000000.npy      the galaxies, float32 [128, 128, 2] (or more)
      {split}_blend_seg_000000.npy  their masks, uint8 [2, 128, 128] (or more)
      {split}_catalogue.csv         (its shift_x is along y, and its shift_y along x)
    and candels-blender.log, with the configuration and each rejected pair.
    """
    sample = Sample(**options)
    folder = Path(f"output-s_{sample.seed}-n_{n_blends}")
    archive = read_archive(datapath)
    with files.new_folder(folder) as unfinished, _log(unfinished / LOG) as log:
        settings = {"n_blends": n_blends, "datapath": datapath, "unmasked": unmasked} | asdict(sample)
        log.info("configuration: %s", ", ".join(f"{name}={value}" for name, value in settings.items()))
        for complaint in archive.complaints():
            say(complaint)
            log.warning(complaint)
        ids = archive.catalogue["ID"].tolist()
        pairs = draw_sample(
            archive,
            sample,
            n_blends,
            lambda g1, g2: log.info("rejected: no shift for galaxies %d and %d", ids[g1], ids[g2]),
            lambda what, count, of: say(f"left out by {what}: {count:,} of {counted(of, 'galaxies')}"),
        )
        for split in SPLITS:
            files.write_catalogue(unfinished / files.catalogue_name(split), archive, pairs[split])
        if workers is None:
            workers = usable_cores() if n_blends >= WORTH_PROCESSES else 1
        files.SingleFiles(datapath.resolve(), unfinished.resolve(), sample.seed, not unmasked).write(pairs, workers)
    click.echo(f"=> {folder}: {len(pairs['train'])} train and {len(pairs['test'])} test blends")


class _log:
    """Context manager: a logger that writes to a file."""

    def __init__(self, path: Path):
        self._handler = logging.FileHandler(path, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def __enter__(self) -> logging.Logger:
        log = logging.Logger("candels-blender", logging.INFO)
        log.addHandler(self._handler)
        return log

    def __exit__(self, *_) -> None:
        self._handler.close()


@main.command()
@option("--image_dir", "-d", type=FOLDER, required=True, help="Folder that `produce` wrote.")
@option("--method", "-m", type=click.Choice(METHODS), required=True, help="The target to stack beside the blends.")
@option("--delete", is_flag=True, help="Delete the single files once all stacks are safely on disk.")
@messages()
def concatenate(image_dir: Path, method: str, delete: bool) -> None:
    """Stack the single blends and a target made of them.

    \b
    {split}_blends.npy is the sum of the galaxies; {split}_METHOD.npy is, channels last but for gg_masks,
      gg_masks       the mask of galaxy 1, of galaxy 2: [n, 2, 128, 128]
      ogg_masks      overlap, galaxy 1, galaxy 2
      bogg_masks     background, overlap, galaxy 1 without overlap, galaxy 2 without overlap
      single_images  the galaxies
    and so on for more galaxies.
    """
    single = files.concatenate(image_dir, method)
    for split in SPLITS:
        click.echo(f"=> {image_dir / split}_blends.npy and {image_dir / split}_{method}.npy")
    if delete:
        for path in single:
            path.unlink(missing_ok=True)
        click.echo(f"{counted(len(single), 'single files')} deleted")


@main.command()
@option("--image_dir", "-d", type=FOLDER, required=True, help="Folder that `produce` wrote.")
@option("--zeropoint", type=float, default=ZEROPOINT, help="Magnitude of the flux 1.")
@messages()
def convert(image_dir: Path, zeropoint: float) -> None:
    """Write the galaxies' fluxes, 10 ** (-0.4 (mag - zeropoint)), as {split}_flux.npy [n, galaxies]."""
    for path in files.write_flux(image_dir, zeropoint):
        click.echo(f"=> {path}")
