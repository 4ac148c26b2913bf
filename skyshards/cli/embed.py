"""The command `skyshards embed`."""

from __future__ import annotations

from pathlib import Path

import click

from skyshards.cli.options import DASK, DASK_WORKERS, in_cluster, messages, option, resumable
from skyshards.cli.typed import Command
from skyshards.embed.encoders import MODEL, timm_encoder
from skyshards.embed.run import embed


@click.command("embed", cls=Command)
@click.argument("folder")
@option("--model", metavar="NAME", help=f"Name of a timm model. [default: {MODEL}]")
@option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), default="representations.parquet", help="File to write."
)
@option("--column", default="image", metavar="NAME", help="Column with the images.")
@option("--batch_size", type=click.IntRange(1), default=64, metavar="N", help="Number of images per batch.")
@option("--untrained", is_flag=True, help="Use random weights; needs no network.")
@DASK
@DASK_WORKERS
def command(
    folder: str,
    model: str | None,
    out: Path,
    column: str,
    batch_size: int,
    untrained: bool,
    dask: str | None,
    workers: int | None,
) -> None:
    """Compute representations of a built dataset's images with a neural network; write Parquet keyed by object_id.

    FOLDER is a built dataset or its URL. Rerunning the command resumes an interrupted run.
    """
    with messages(), resumable(), in_cluster(dask, workers) as executor:
        encoder = timm_encoder(model, untrained)
        rows = embed(folder, out, encoder, column=column, batch_size=batch_size, executor=executor)
    click.echo(f"{out}: {rows:,} representations by {encoder.about['model']}")
    if untrained:
        click.echo("Its weights are random: these representations mean nothing.")
