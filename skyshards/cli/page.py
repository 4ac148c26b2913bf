"""The command `skyshards page`."""

from __future__ import annotations

from pathlib import Path

import click

from skyshards.cli.options import messages, option
from skyshards.cli.typed import Command
from skyshards.text import printable


@click.command("page", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@option("-o", "--output_dir", type=click.Path(path_type=Path), default="page", help="Folder of the page.")
def command(folder: Path, output_dir: Path) -> None:
    """Write a page of a built dataset: its sky, counts, histograms, and a gallery to sort and filter.

    Open its index.html from disk, or publish the folder on any web server. Rerunning the command replaces the page.
    """
    with messages():
        from skyshards.page.write import write_page

        done = write_page(folder, output_dir)
    sample = "all" if done.shown == done.rows else f"a sample of {done.shown:,} of"
    click.echo(printable(f"{done.index}: {sample} {done.rows:,} rows, {done.nbytes / 1e6:.1f} MB"))
