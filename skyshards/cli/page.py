"""The command `skyshards page`."""

from __future__ import annotations

import click

from skyshards.cli.options import messages, option
from skyshards.cli.typed import Command
from skyshards.text import counted, printable


@click.command("page", cls=Command)
@click.argument("folder")
@option("-o", "--output_dir", default="page", help="Folder of the page.")
def command(folder: str, output_dir: str) -> None:
    """Write a page of a built dataset: its sky, counts, histograms, and a gallery to sort and filter.

    FOLDER is a built dataset or its URL. Open the page's index.html from disk, or publish the page on any web server.
    Rerunning the command replaces it.
    """
    with messages():
        from skyshards.page.write import write_page

        done = write_page(folder, output_dir)
    sample = "all" if done.shown == done.rows else f"a sample of {done.shown:,} of"
    click.echo(printable(f"{done.index}: {sample} {counted(done.rows, 'rows')}, {done.nbytes / 1e6:.1f} MB"))
