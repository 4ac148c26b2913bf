"""The command `skyshards drop`."""

from __future__ import annotations

from pathlib import Path

import click

from skyshards.cli.options import messages, resumable
from skyshards.cli.typed import Command
from skyshards.text import printable


@click.command("drop", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("name")
def command(folder: Path, name: str) -> None:
    """Take an addition away from a built dataset, with its file; `skyshards info` lists additions."""
    with messages(), resumable():
        from skyshards.additions.run import drop

        drop(folder, name)
    click.echo(printable(f"{folder}: dropped {name}"))
