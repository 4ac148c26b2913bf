"""The command `skyshards repack`."""

from __future__ import annotations

from pathlib import Path

import click

from skyshards.cli.options import messages, on_disk, option, resumable
from skyshards.cli.typed import Command
from skyshards.text import counted, printable


@click.command("repack", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path), callback=on_disk)
@click.argument("out", type=click.Path(path_type=Path, file_okay=False), callback=on_disk)
@option("--store", type=click.Choice(["small", "fast"]), required=True, help="How to store large columns.")
@option("--workers", type=click.IntRange(0), metavar="N", help="Number of processes; 0: this one. [default: all cores]")
def command(folder: Path, out: Path, store: str, workers: int | None) -> None:
    """Write a built dataset to the folder OUT, with its large columns stored otherwise.

    `fast` stores them uncompressed, so that rows are read several times faster, on more disk. Columns that are
    nearly empty (deflate shrinks them 100-fold) stay deflated. `small` deflates them again. Values, sources,
    additions, citations and the card stay the same. Rerun an interrupted command to resume it.
    """
    with messages(), resumable():
        from skyshards.pipeline.repack import repack
        from skyshards.progress import size

        done = repack(folder, out, store, workers=workers)
    count = f"{counted(done.rows, 'rows')} in {counted(done.shards, 'shards')}"
    words = f"{count}, {size(done.nbytes)}, before {size(done.nbytes_before)}"
    click.echo(printable(f"{out}: {words}"))
