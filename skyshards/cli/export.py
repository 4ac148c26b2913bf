"""The command `skyshards export`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import click

from skyshards.cli.options import messages, option, resumable
from skyshards.cli.typed import Command
from skyshards.errors import UsageError
from skyshards.export.catalogue import FORMATS, write_catalogue
from skyshards.export.plan import MARGIN_ARCSEC
from skyshards.export.run import TILE_MB, export


@click.command("export", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("out")
@option(
    "--format",
    "form",
    type=click.Choice(["hats", *FORMATS]),
    default="hats",
    help="hats: everything; moc: the coverage of the sky; others: the catalogue alone, in one file.",
)
@option("--tile_mb", type=float, default=TILE_MB, metavar="MB", help="Approximate maximum size of a tile's file.")
@option("--margin_arcsec", type=float, default=MARGIN_ARCSEC, metavar="ARCSEC", help="Width of the margins; 0: none.")
@option("--url", help="Web page of the dataset, for croissant.json. [default: DOI of the first work cited]")
@option("--published", metavar="DATE", help="Date of publication, for croissant.json. [default: year of that work]")
@option(
    "--workers", type=click.IntRange(0), metavar="N", help="Number of processes; 0: this one. [default: usable cores]"
)
@option("--dask", metavar="ADDRESS", help="Address of a dask.distributed scheduler, to write with its workers instead.")
def command(folder: Path, out: str, form: str, dask: str | None, **options: Any) -> None:
    """Write a built dataset as a HATS collection: Parquet by HEALPix pixel, for LSDB, stock datasets and other readers.

    OUT is a folder, or a URL that fsspec supports; with another --format, a file. Rerunning the command resumes an
    interrupted export.
    """
    with messages(), resumable():
        if form != "hats":
            click.echo(f"{out}: {write_catalogue(folder, Path(out), form):,} rows")
            return
        with _executor(dask) as executor:
            done = export(folder, out, executor=executor, **options)
    margin = f", and {done.margin_rows:,} in their margins" if done.margin_rows else ""
    click.echo(f"{done.place}: {done.rows:,} rows in {done.tiles:,} tiles{margin} ({done.written:,} files written)")


@contextlib.contextmanager
def _executor(address: str | None) -> Iterator[Executor | None]:
    if address is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError:
        raise UsageError("dask: needs the package distributed: pip install 'skyshards[dask]'") from None
    try:
        client = Client(address, timeout=30)
    except (OSError, ValueError) as error:
        raise UsageError(f"dask: no scheduler at {address} ({error})") from None
    with client:
        yield client.get_executor()
