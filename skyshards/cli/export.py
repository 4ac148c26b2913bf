"""The command `skyshards export`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from skyshards.cli.options import DASK, in_cluster, messages, option, resumable
from skyshards.cli.typed import Command
from skyshards.errors import UsageError
from skyshards.export.catalogue import FORMATS, write_catalogue
from skyshards.export.plan import MARGIN_ARCSEC
from skyshards.export.run import TILE_MB, export
from skyshards.join import HOW, join
from skyshards.matching.crossmatch import MATCH
from skyshards.read.joined import JoinedTable
from skyshards.read.table import open_table
from skyshards.text import counted

OF_JOINS = ("radius_arcsec", "on", "match", "how")
"""Options that only `--join` uses."""


@click.command("export", cls=Command)
@click.argument("source")
@click.argument("out")
@option(
    "--format",
    "form",
    type=click.Choice(["hats", *FORMATS]),
    default="hats",
    help="hats: everything; moc: the coverage of the sky; others: the catalogue alone, in one file.",
)
@option(
    "--join",
    "joined",
    multiple=True,
    metavar="FOLDER",
    help="Export the objects that are also in this dataset, with its columns; may be repeated.",
)
@option("--radius_arcsec", type=float, default=1.0, metavar="ARCSEC", help="Maximum separation of joined rows.")
@option("--on", metavar="NAME[,NAME]", help="Join rows with equal values of this column, or these of each dataset.")
@option("--match", type=click.Choice(MATCH), default=MATCH[0], help="Which rows to join with each of SOURCE.")
@option("--how", type=click.Choice(HOW), default=HOW[0], help="left: keep all rows of SOURCE, with nulls.")
@option("--tile_mb", type=float, default=TILE_MB, metavar="MB", help="Approximate maximum size of a tile's file.")
@option("--margin_arcsec", type=float, default=MARGIN_ARCSEC, metavar="ARCSEC", help="Width of the margins; 0: none.")
@option("--url", help="Web page of the dataset, for croissant.json. [default: DOI of the first work cited]")
@option("--published", metavar="DATE", help="Date of publication, for croissant.json. [default: year of that work]")
@option(
    "--workers", type=click.IntRange(0), metavar="N", help="Number of processes; 0: this one. [default: usable cores]"
)
@DASK
@click.pass_context
def command(ctx: click.Context, source: str, out: str, form: str, dask: str | None, **options: Any) -> None:
    """Write a dataset or a join as a HATS collection: Parquet by HEALPix pixel, for LSDB, stock datasets and others.

    SOURCE is the folder of a built dataset, or the Parquet file of a saved join. OUT is a folder, or a URL that fsspec
    supports; with another --format, a file. Rerunning the command resumes an interrupted export.
    """
    with messages(), resumable():
        joined, how = options.pop("joined"), {name: options.pop(name) for name in OF_JOINS}
        if not joined:
            _refuse(ctx, OF_JOINS, "is for exports with --join")
        if form != "hats":
            _refuse(ctx, (*options, "dask"), f"is for --format hats, not {form}")
        content = _join([source, *joined], **how) if joined else source
        if form != "hats":
            count = write_catalogue(content, Path(out), form)
            click.echo(f"{out}: {counted(count, 'rows')}")
            return
        with contextlib.ExitStack() as stack:
            executor = None
            if dask is not None:
                executor = stack.enter_context(in_cluster(dask, options.pop("workers")))
            done = export(content, out, executor=executor, **options)
    margin = f", and {done.margin_rows:,} in their margins" if done.margin_rows else ""
    written = f"{counted(done.written, 'files')} written"
    click.echo(f"{done.place}: {counted(done.rows, 'rows')} in {counted(done.tiles, 'tiles')}{margin} ({written})")


def _refuse(ctx: click.Context, names: Iterable[str], why: str) -> None:
    """Raise `UsageError` for an option that was given although it would be ignored."""
    for name in names:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"{name}: {why}")


def _join(folders: list[str], on: str | None, **how: Any) -> JoinedTable:
    columns = [name.strip() for name in on.split(",")] if on else []
    by = columns[0] if len(columns) == 1 else columns or None
    tables = [open_table(folder, decode=False) for folder in folders]
    names = [table.name for table in tables]
    if twice := [name for name in names if names.count(name) > 1]:
        advice = "export the file that `skyshards crossmatch` writes of them"
        raise UsageError(f"join: expected datasets of different names, found {twice[0]} twice; {advice}")
    return join(*tables, on=by, **how)
