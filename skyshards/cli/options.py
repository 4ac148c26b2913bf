"""Shared parts of the commands: options, one-line error messages, handling of Ctrl-C."""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skyshards.cli.typed import Option, as_typed
from skyshards.errors import SkyshardsError, UsageError
from skyshards.fetch.waiting import FETCHING_THREADS
from skyshards.files import is_url
from skyshards.text import printable
from skyshards_start import INTERRUPTED

if TYPE_CHECKING:
    from skyshards.cluster import DaskExecutor

HELP = {"help_option_names": ["-h", "--help"]}
"""Context settings of every command."""


def option(*names: str, **attributes) -> Callable:
    """Make a `click.option` with a hyphenated alias for each name with underscores."""
    aliases = [name.replace("_", "-") for name in names if name.startswith("-") and "_" in name]
    attributes.setdefault("show_default", True)
    return click.option(*names, *aliases, cls=Option, **attributes)


class FloatRange(click.FloatRange):
    """A number in a range. Unlike click's, it refuses NaN."""

    def convert(self, value, param, ctx):
        found = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"expected a number, found {value}", param, ctx)
        return found


def on_disk(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Refuse URLs: the callback of parameters of type `click.Path`, which turns :// into :/."""
    if value is not None and (url := re.match(r"([a-z][a-z0-9+]+):/(.*)", str(value))):
        advice = "copy it to disk first" if isinstance(param, click.Argument) else "write to disk, then copy it there"
        found = f"expected a path on disk, found the URL {url[1]}://{url[2].lstrip('/')}; {advice}"
        raise click.BadParameter(found, ctx, param)
    return value


class Output(click.ParamType):
    """Type of a folder on disk (a `Path`) or a URL (text)."""

    name = "path or URL"

    def convert(self, value, param, ctx) -> Path | str:
        if isinstance(value, str) and is_url(value):
            return value
        return Path(os.fsdecode(click.Path(file_okay=False).convert(value, param, ctx)))


DASK = option(
    "--dask",
    metavar="WHERE",
    help="Work in a Dask cluster: the address of a scheduler, whose workers see the same folders; local; or slurm. With"
    " the last two, --workers is the number of workers or jobs to start.",
)

DASK_WORKERS = option(
    "--workers",
    type=click.IntRange(1),
    metavar="N",
    help="Number of workers or jobs that --dask local or slurm starts. [default: usable cores]",
)
"""For commands whose work runs in one process without `--dask`."""

COMMON = (
    option(
        "-o",
        "--output_dir",
        type=Output(),
        help="Folder to build in, or URL of an object store, such as s3://bucket/NAME. [default: data/NAME]",
    ),
    option(
        "--work_dir",
        type=click.Path(path_type=Path, file_okay=False),
        callback=on_disk,
        help="With a URL: folder on disk for the journal, waiting rows and downloads. [default: data/NAME.work]",
    ),
    option("--tiny", is_flag=True, help="Build a sample of five objects (--limit 5)."),
    option("--limit", type=click.IntRange(1), metavar="N", help="Build only the first N objects."),
    option("--dry_run", is_flag=True, help="Print what would be fetched and kept, and how long it takes; then stop."),
    option("--demo", is_flag=True, help="Build simulated galaxies from the bundled archive; needs no network."),
    option(
        "--workers",
        type=click.IntRange(0),
        metavar="N",
        help="Number of processes that read sources; 0: this one. [default: usable cores]",
    ),
    DASK,
    option(
        "--connections", type=click.IntRange(1), default=8, metavar="N", help="Maximum number of concurrent downloads."
    ),
    option(
        "--max_rows_per_shard",
        type=click.IntRange(1),
        metavar="N",
        help="Maximum number of rows in a shard (1: a file per object). [default: 65,536 rows or 512 MiB]",
    ),
    option("--nside", type=click.IntRange(1), default=16, help="HEALPix nside of the partition (a power of two)."),
    option(
        "--store",
        type=click.Choice(["small", "fast"]),
        default="small",
        help="Deflate large columns, or store them uncompressed: faster to read, on more disk.",
    ),
    option("--debug", is_flag=True, help="Show the traceback of an error, and of each failed source."),
)


def in_cluster(dask: str | None, workers: int | None) -> contextlib.AbstractContextManager[DaskExecutor | None]:
    """Connect to the cluster of `--dask`, of whose lack of workers progress lines tell; None without it.

    Raises `UsageError` for a number of workers without a cluster.
    """
    from skyshards.cluster import connected
    from skyshards.progress import stalled

    if dask is None and workers is not None:
        raise UsageError("workers: is for `dask`, with local or slurm")
    return connected(dask, workers, stalled)


@contextlib.contextmanager
def messages(debug: bool = False):
    """Turn errors for the user into one line and an exit status; with `debug`, also print the traceback."""
    try:
        yield
    except SkyshardsError as error:
        if debug:
            click.echo(printable(traceback.format_exc()), err=True)
        kind = click.UsageError if isinstance(error, UsageError) else click.ClickException
        raise kind(printable(as_typed(str(error)))) from error


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a build as Ctrl-C does."""


def _terminate(*_) -> None:
    raise Terminated


@contextlib.contextmanager
def resumable():
    """On Ctrl-C and SIGTERM, tell the user that nothing is lost, and exit."""
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: _terminate}
    if threading.current_thread() is not threading.main_thread():
        handlers = {}
    earlier = {number: signal.signal(number, handler) for number, handler in handlers.items() if _is_minded(number)}
    try:
        yield
    except KeyboardInterrupt as interrupt:
        click.echo(INTERRUPTED, err=True)
        status = 128 + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)
        if any(thread.name.startswith(FETCHING_THREADS) for thread in threading.enumerate()):
            os._exit(status)  # an abandoned request would keep this process alive
        sys.exit(status)
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _is_minded(number: int) -> bool:
    return signal.getsignal(number) is not signal.SIG_IGN  # ignored under nohup
