"""What every command shares: options, their help, and errors as one line."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import click

from skyshards.cli.typed import Option, as_typed
from skyshards.errors import SkyshardsError, UsageError

HELP = {"help_option_names": ["-h", "--help"]}
"""Settings of every command."""


def option(*names: str, **attributes) -> Callable:
    """`click.option`, with a hyphenated alias for each name that has underscores."""
    aliases = [name.replace("_", "-") for name in names if name.startswith("-") and "_" in name]
    attributes.setdefault("show_default", True)
    return click.option(*names, *aliases, cls=Option, **attributes)


COMMON = (
    option(
        "-o",
        "--output_dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder to build in. [default: data/NAME]",
    ),
    option("--tiny", is_flag=True, help="Build a sample of five objects (--limit 5)."),
    option("--limit", type=click.IntRange(1), metavar="N", help="Build only the first N objects."),
    option("--dry_run", is_flag=True, help="Say what there is to fetch and to keep, and how long it takes; then stop."),
    option("--demo", is_flag=True, help="Build simulated galaxies from the bundled archive; needs no network."),
    option(
        "--workers",
        type=click.IntRange(0),
        metavar="N",
        help="Processes that read sources; 0 reads them in this one. [default: usable cores]",
    ),
    option(
        "--connections", type=click.IntRange(1), default=8, metavar="N", help="Maximum number of concurrent downloads."
    ),
    option(
        "--max_rows_per_shard",
        type=click.IntRange(1),
        metavar="N",
        help="Maximum number of rows in a shard (1: a file per object). [default: no bound but 512 MiB]",
    ),
    option("--nside", type=click.IntRange(1), default=16, help="HEALPix nside of the partition (a power of two)."),
    option("--debug", is_flag=True, help="Show the traceback of an error, and of each source that fails."),
)


def printable(text: str) -> str:
    """A text whose control characters, which may steer a terminal, are written as escapes."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1] for letter in text)


@contextlib.contextmanager
def messages(debug: bool = False):
    """One line and an exit status for every error that is meant for the user; with `debug`, its traceback, too."""
    try:
        yield
    except SkyshardsError as error:
        if debug:
            traceback.print_exc()
        kind = click.UsageError if isinstance(error, UsageError) else click.ClickException
        raise kind(printable(as_typed(str(error)))) from error


@contextlib.contextmanager
def resumable():
    """Say on Ctrl-C that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("Interrupted. The same command goes on from here.", err=True)
        sys.exit(130)
