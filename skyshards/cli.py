"""The command `skyshards build | info | verify | cite | embed`, and what makes the build command of a data set."""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import click

from skyshards.errors import SkyshardsError, UsageError

DATA_SETS = {
    "gz3d": "Galaxy Zoo 3D masks of MaNGA galaxies",
    "gz_sdss": "Galaxy Zoo labels, SDSS colour cutouts",
    "candels_blend": "blended HST CANDELS galaxies, their masks and fluxes",
    "gz_decals": "Galaxy Zoo DECaLS rings, votes and representations",
}
"""Data sets by the name of their folder, with a line about each. Its `build_parent_sample.py` has the command."""


HELP = {"help_option_names": ["-h", "--help"]}
"""Settings of every command."""


def option(*names: str, **attributes) -> Callable:
    """`click.option`, with a hyphenated alias for each name that has underscores."""
    aliases = [name.replace("_", "-") for name in names if "_" in name]
    attributes.setdefault("show_default", True)
    return click.option(*names, *aliases, **attributes)


_COMMON = (
    option(
        "-o",
        "--output_dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder to build in. [default: data/NAME]",
    ),
    option("--tiny", is_flag=True, help="Build a sample of five."),
    option("--limit", type=click.IntRange(1), metavar="N", help="Build N objects only."),
    option("--demo", is_flag=True, help="Use the bundled archive of simulated galaxies; needs no network."),
    option(
        "--workers", type=click.IntRange(1), metavar="N", help="Processes that read sources. [default: usable cores]"
    ),
    option("--connections", type=click.IntRange(1), default=8, metavar="N", help="Downloads at once, at most."),
    option(
        "--max_rows_per_shard",
        type=click.IntRange(1),
        metavar="N",
        help="Split pixels with more rows (1: a file per object).",
    ),
    option("--nside", type=click.IntRange(1), default=16, help="HEALPix resolution of the partition (a power of two)."),
)


def build_command(name: str) -> Callable[[Callable], click.Command]:
    """Make a data set's build command from the function that makes its recipe.

    The function gets the command's own options, and by keyword `demo` (a running `skyshards.demo.DemoArchive`, or
    None), `limit` (5 for `--tiny`; or None) and `output_dir`. Its docstring is the command's help.
    """

    def decorate(make_recipe: Callable) -> click.Command:
        @functools.wraps(make_recipe)
        def command(output_dir, tiny, limit, demo, workers, connections, max_rows_per_shard, nside, **own) -> None:
            if tiny and limit:
                raise click.UsageError("--tiny is --limit 5: give one of the two")
            limit = 5 if tiny else limit
            output_dir = output_dir or Path("data") / name
            with messages(), resumable(), contextlib.ExitStack() as stack:
                from skyshards.build import build

                archive = None
                if demo:
                    from skyshards.demo import DemoArchive

                    archive = stack.enter_context(DemoArchive())
                recipe = make_recipe(demo=archive, limit=limit, output_dir=output_dir, **own)
                summary = build(
                    recipe,
                    output_dir,
                    limit=limit,
                    workers=workers,
                    connections=connections,
                    max_rows_per_shard=max_rows_per_shard,
                    nside=nside,
                    simulated=demo,
                )
            _report(summary, name, demo)
            sys.exit(1 if summary.failed else 0)

        for add in reversed(_COMMON):
            command = add(command)
        return click.command(name, context_settings=HELP)(command)

    return decorate


@contextlib.contextmanager
def messages():
    """One line and an exit status for every error that is meant for the user."""
    try:
        yield
    except UsageError as error:
        raise click.UsageError(str(error)) from error
    except SkyshardsError as error:
        raise click.ClickException(str(error)) from error


@contextlib.contextmanager
def resumable():
    """Say on Ctrl-C that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("Interrupted. The same command goes on from here.", err=True)
        sys.exit(130)


def _report(summary, name: str, demo: bool) -> None:
    """What was built, and the lines that load it."""
    from skyshards.sources import FAILURES

    click.echo(
        f"{summary.folder}: {summary.rows:,} rows in {summary.shards:,} shards, {summary.nbytes / 1e6:,.1f} MB"
        f" ({summary.added:,} rows added, {summary.failed:,} sources failed, {summary.elapsed:.1f} s)"
    )
    if demo:
        click.echo("All of it is simulated: these galaxies are made up.")
    if summary.failed:
        click.echo(
            f"Why sources failed: {summary.folder / FAILURES}. The same command tries only those again.", err=True
        )
    if summary.rows:
        click.echo(
            "\nLoad it with\n"
            "    from datasets import load_dataset\n"
            f'    ds = load_dataset("{summary.folder}", split="train", streaming=True).with_format("numpy")\n'
            "or, at random and faster, with\n"
            "    import skyshards\n"
            f'    table = skyshards.open("{summary.folder}")'
        )


@contextlib.contextmanager
def _one_line():
    """Keep click from printing two more lines before the one that says what is wrong."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        error.ctx = None
        raise


class _Group(click.Group):
    """A group that says in one line what is wrong with its arguments, and imports a command only when it is called.

    `elsewhere` has, by command, the module whose `command` or `main` it is, and a line about it.
    """

    def __init__(self, *args, elsewhere: Mapping[str, tuple[str, str]] = MappingProxyType({}), **attributes):
        super().__init__(*args, **attributes)
        self._elsewhere = elsewhere

    def make_context(self, *args, **attributes) -> click.Context:
        with _one_line():
            return super().make_context(*args, **attributes)

    def invoke(self, ctx):
        with _one_line():
            return super().invoke(ctx)

    def list_commands(self, ctx) -> list[str]:
        return [*super().list_commands(ctx), *self._elsewhere]

    def get_command(self, ctx, name: str) -> click.Command | None:
        if name not in self._elsewhere:
            return super().get_command(ctx, name)
        module = importlib.import_module(self._elsewhere[name][0])
        return getattr(module, "main", None) or module.command

    def format_commands(self, ctx, formatter) -> None:
        lines = [(name, command.get_short_help_str(100)) for name, command in self.commands.items()]
        lines += [(name, line) for name, (_, line) in self._elsewhere.items()]
        with formatter.section("Commands" if self.commands else "Data sets"):
            formatter.write_dl(lines)


@click.group(
    cls=_Group,
    context_settings=HELP,
    elsewhere={
        "cite": ("skyshards.cite", "Print what to cite for built data sets."),
        "embed": ("skyshards.embed", "Compute representations of a built data set's images."),
    },
)
@click.version_option(package_name="skyshards")
def main() -> None:
    """Galaxy-morphology data sets that a training loop can read at the speed of the disk."""


@main.group(cls=_Group, elsewhere={name: (f"{name}.build_parent_sample", line) for name, line in DATA_SETS.items()})
def build() -> None:
    """Build a data set: a folder of HEALPix-partitioned HDF5 shards."""


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def info(folder: Path) -> None:
    """Print what a built data set holds."""
    with messages():
        from skyshards.verify import describe

        click.echo(describe(folder))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def verify(folder: Path) -> None:
    """Check every file of a built data set: hashes, counts, dtypes, order, pixels, and that catalogue and shards
    agree.
    """
    with messages():
        from skyshards.verify import problems

        found = list(problems(folder))
    for problem in found:
        click.echo(problem, err=True)
    if found:
        sys.exit(1)
    click.echo(f"{folder}: all is well")
