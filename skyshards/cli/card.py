"""The command `skyshards card`: fill in and check the data card of a dataset's own folder."""

from __future__ import annotations

import difflib
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skyshards.cli.data_sets import data_sets, in_words
from skyshards.cli.options import messages, option
from skyshards.cli.typed import Command
from skyshards.errors import BuildError, UsageError
from skyshards.format.layout import CARD, CATALOG
from skyshards.text import counted, printable

if TYPE_CHECKING:
    from skyshards.format.schema import Schema


def own_folder(name: str) -> tuple[Path, Schema]:
    """Find a dataset's own folder, given the folder or the name of a dataset, and import its schema.

    Raises `UsageError` if there is no such dataset, `BuildError` if its package cannot be imported or has no `SCHEMA`.
    """
    path = Path(name)
    if (path / "__init__.py").is_file():
        folder = path.resolve()
        sys.path.insert(0, str(folder.parent))
        package = folder.name
    elif name in (known := data_sets()):
        package = known[name].package
    else:
        if (path / CATALOG).exists():
            raise UsageError(
                f"{name}: a built dataset, whose card the build writes; expected the folder of its package"
            )
        if path.is_dir():
            raise UsageError(f"{name}: expected the folder of a dataset's package, found no __init__.py in it")
        nearest = difflib.get_close_matches(name, known, 1, 0.5)
        hint = f"did you mean {nearest[0]}? " if nearest else ""
        raise UsageError(f"no folder or dataset {name!r}; {hint}There are the datasets {', '.join(known)}")
    try:
        module = importlib.import_module(package)
        schema = module.SCHEMA
    except Exception as error:
        raise BuildError(
            f"{name}: expected {package}.SCHEMA, the columns of the dataset; found {in_words(error)}"
        ) from error
    found = Path(str(module.__file__)).parent
    if path.is_dir() and (path / "__init__.py").is_file() and not found.samefile(path):
        raise BuildError(f"{name}: Python has another package of this name, in {found}; rename one of them")
    return found, schema


@click.command("card", cls=Command)
@click.argument("name")
@option("--check", is_flag=True, help="Write nothing; fail if the card is not up to date.")
def command(name: str, check: bool) -> None:
    """Write the table of columns in a dataset's card, and check the card and the citations.

    NAME is the folder of a dataset's package, such as `skyshards new` writes, or the name of an installed dataset. The
    table goes between two marks in README.md; everything else stays as it is.
    """
    with messages():
        from skyshards.format import own_card

        folder, schema = own_folder(name)
        shown = Path(name) if Path(name).is_dir() else folder
        columns = f"the table of {counted(len(schema.specs), 'columns')}"
        if not check:
            try:
                changed = own_card.fill_in(folder, schema)
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                raise UsageError(f"{shown / CARD}: cannot be filled in: {reason}") from error
            click.echo(printable(f"{shown / CARD}: {columns} is {'written' if changed else 'up to date'}"))
        found = list(own_card.problems(shown, schema))
        for problem in found:
            click.echo(printable(problem), err=True)
        if found:
            sys.exit(1)
        if check:
            click.echo(printable(f"{shown / CARD}: all is well"))
