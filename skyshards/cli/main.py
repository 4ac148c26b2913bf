"""The command `skyshards`: a group of commands."""

from __future__ import annotations

import difflib
import importlib
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import click

from skyshards.cli.data_sets import data_sets
from skyshards.cli.options import HELP, messages, on_disk
from skyshards.cli.typed import Command, one_line
from skyshards.files import is_url
from skyshards.text import printable
from skyshards.version import __version__


class _Group(click.Group):
    """Command group with one-line error messages, and commands imported only when called.

    `elsewhere` maps the name of such a command to the module that has it as `command`, and its help line.
    """

    command_class = Command

    def __init__(self, *args, elsewhere: Mapping[str, tuple[str, str]] = MappingProxyType({}), **attributes):
        super().__init__(*args, **attributes)
        self._elsewhere = elsewhere

    def make_context(self, info_name, args, parent=None, **extra) -> click.Context:
        typed = list(args)
        with one_line():
            try:
                return super().make_context(info_name, args, parent, **extra)
            except click.NoSuchOption as error:
                if self.commands:
                    raise
                raise click.UsageError(
                    self._name_one_first(error.ctx.command_path if error.ctx else str(info_name), typed)
                ) from error

    def _name_one_first(self, program: str, typed: list[str]) -> str:
        """Error message for options without a dataset before them."""
        there = self.list_commands(None)
        name = next((word for word in [*typed, *there] if word in there), "NAME")
        line = shlex.join([*program.split(), name, *(word for word in typed if word != name)])
        python = "python " if line.partition(" ")[0].endswith(".py") else ""
        return f"name a dataset first ({', '.join(there)}), such as: {python}{line}"

    def invoke(self, ctx):
        with one_line():
            return super().invoke(ctx)

    def resolve_command(self, ctx, args):
        name, there = args[0], self.list_commands(ctx)
        if name not in there:
            what = "command" if self.commands else "dataset"
            nearest = difflib.get_close_matches(name.lower().replace("-", "_"), there, 1, 0.5)
            hint = f"did you mean {nearest[0]}? " if nearest else ""
            raise click.UsageError(f"no {what} {name!r}; {hint}There are: {', '.join(there)}")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx) -> list[str]:
        return [*super().list_commands(ctx), *self._elsewhere]

    def get_command(self, ctx, name: str) -> click.Command | None:
        if name not in self._elsewhere:
            return super().get_command(ctx, name)
        return importlib.import_module(self._elsewhere[name][0]).command

    def format_commands(self, ctx, formatter) -> None:
        lines = [(name, command.get_short_help_str(100)) for name, command in self.commands.items()]
        lines += [(name, line) for name, (_, line) in self._elsewhere.items()]
        with formatter.section("Commands"):
            formatter.write_dl(lines)


class _DataSets(_Group):
    """Command group of the build commands of all installed datasets."""

    def list_commands(self, ctx) -> list[str]:
        with messages():
            return list(data_sets())

    def get_command(self, ctx, name: str) -> click.Command:
        with messages():
            return data_sets()[name].command()

    def format_commands(self, ctx, formatter) -> None:
        with formatter.section("Datasets"):
            formatter.write_dl([(name, data_set.summary) for name, data_set in data_sets().items()])


@click.group(
    cls=_Group,
    context_settings=HELP,
    elsewhere={
        "add": ("skyshards.cli.add", "Put the columns of a table beside a built dataset."),
        "crossmatch": ("skyshards.cli.crossmatch", "Match the rows of two catalogues by position or identifier."),
        "card": ("skyshards.cli.card", "Write the columns table of a dataset's own card, and check the card."),
        "cite": ("skyshards.cli.cite", "Print BibTeX entries and acknowledgements for built datasets."),
        "drop": ("skyshards.cli.drop", "Take added columns away from a built dataset."),
        "embed": ("skyshards.cli.embed", "Compute representations of a built dataset's images."),
        "export": (
            "skyshards.cli.export",
            "Write a built dataset as a HATS collection, for LSDB and Parquet readers.",
        ),
        "new": ("skyshards.cli.new", "Write the skeleton of a new dataset."),
        "page": ("skyshards.cli.page", "Write a page of a built dataset: sky, counts, histograms, gallery."),
        "repack": ("skyshards.cli.repack", "Write a built dataset again, for fast reading or little disk."),
        "show": ("skyshards.cli.show", "Show the picture and values of single rows."),
    },
)
@click.version_option(__version__)
def main() -> None:
    """Galaxy-morphology datasets that a training loop can read at the speed of the disk."""


@main.group(cls=_DataSets, context_settings=HELP)
def build() -> None:
    """Build a dataset: a folder of HEALPix-partitioned HDF5 shards."""


@main.command()
@click.argument("folder")
def info(folder: str) -> None:
    """Print the content of a built dataset, and the progress of an unfinished build.

    FOLDER may be a URL.
    """
    with messages():
        from skyshards.format.layout import CATALOG
        from skyshards.pipeline.status import how_far

        unfinished = None if is_url(folder) else how_far(Path(folder))
        if unfinished is None or (Path(folder) / CATALOG).exists():
            from skyshards.verify import describe

            click.echo(printable(describe(folder)))
        if unfinished:
            click.echo(printable(unfinished))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path), callback=on_disk)
def verify(folder: Path) -> None:
    """Check every file of a built dataset.

    This checks hashes, counts, dtypes, order, pixels, and the catalogue against the shards.
    """
    with messages():
        from skyshards.verify import problems

        found = list(problems(folder))
    for problem in found:
        click.echo(printable(problem), err=True)
    if found:
        sys.exit(1)
    click.echo(f"{folder}: all is well")
