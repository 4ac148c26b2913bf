"""The command `skyshards new`: write the skeleton of a new dataset, with simulated rows."""

from __future__ import annotations

import importlib.util
import keyword
import re
import runpy
import tempfile
from pathlib import Path

import click

from skyshards.cli.data_sets import data_sets
from skyshards.cli.options import messages
from skyshards.cli.typed import Command
from skyshards.errors import UsageError
from skyshards.files import TEMPORARY_PREFIX

TEMPLATE = Path(__file__).parent / "template"
NEXT = """\
{name}: a dataset of made-up galaxies. What to change is marked TODO. Next:
    python {name}/build_parent_sample.py --tiny
    skyshards card {name}    # writes the table of the columns into the card
    pytest {name}
    pip install -e {name}    # then `skyshards build {name}` finds it, wherever it is typed"""


def check_name(name: str) -> None:
    """Raise `UsageError` unless a name is valid for a dataset, and so for a Python package and a folder."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        meant = re.sub(r"\W+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name), flags=re.ASCII).strip("_").lower()
        hint = f", such as {meant}" if re.fullmatch(r"[a-z][a-z0-9_]*", meant) else ""
        raise UsageError(f"{name!r}: expected a name of lower-case letters, digits and underscores{hint}")
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES as stock

    if name in data_sets() or name in stock:
        raise UsageError(f"{name}: there is a dataset of this name already; choose another name")
    if keyword.iskeyword(name) or importlib.util.find_spec(name) is not None:
        raise UsageError(f"{name}: Python has a module or keyword of this name already; choose another name")


def write_new(name: str, parent: Path) -> Path:
    """Write the folder of a new dataset, completely or not at all.

    Raises `UsageError` if the name is invalid, or the folder exists already or cannot be written.
    """
    check_name(name)
    folder = parent / name
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder}: is there already; nothing was written")
    from skyshards.format.own_card import fill_in

    words = name.split("_")
    places = {
        "new_dataset": name,
        "NewDataset": "".join(word.capitalize() for word in words),
        "New dataset": " ".join(filter(None, words)).capitalize(),
    }
    try:
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=parent) as temporary:
            draft = Path(temporary) / name
            draft.mkdir()
            for path in sorted(path for path in TEMPLATE.iterdir() if path.is_file()):
                text = path.read_text(encoding="utf-8")
                for old, new in places.items():
                    text = text.replace(old, new)
                (draft / path.name.replace("new_dataset", name)).write_text(text, encoding="utf-8")
            fill_in(draft, runpy.run_path(str(draft / f"{name}.py"))["SCHEMA"])
            draft.rename(folder)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}; nothing was written") from error
    return folder


@click.command("new", cls=Command)
@click.argument("name")
def command(name: str) -> None:
    """Write the skeleton of a new dataset, with simulated rows, into the folder NAME."""
    with messages():
        write_new(name, Path())
    click.echo(NEXT.format(name=name))
