"""The command `skyshards show`: pictures and small values of single rows."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skyshards.cli.options import messages, option
from skyshards.cli.typed import Command
from skyshards.errors import UsageError
from skyshards.text import counted, printable

if TYPE_CHECKING:
    from PIL.Image import Image

    from skyshards.read.joined import JoinedTable
    from skyshards.read.shown import Shown
    from skyshards.read.table import Table

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
WIDEST = 48
"""Maximum width of a column, in letters; longer words reach into the next."""


@click.command("show", cls=Command)
@click.argument("folder")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the picture to this PNG or JPEG file."
)
@option("--size", type=click.IntRange(16, 4096), default=320, metavar="PIXELS", help="Longer side of each picture.")
def command(folder: str, ids: tuple[str, ...], out: Path | None, size: int) -> None:
    """Show rows of a built dataset: their picture, and their small values as text.

    FOLDER is a built dataset, its URL, or a join file that `skyshards crossmatch` wrote. ID is an object_id; a whole
    number that is no object_id is a row number, from 0. Without IDs, the first rows are shown.

    Without -o, the picture opens in a viewer if there is a display.
    """
    with messages():
        from skyshards.read.shown import shown

        if out is not None and out.suffix.lower() not in FORMATS:
            raise UsageError(f"out: expected a name that ends in {', '.join(FORMATS)}, found {str(out)!r}")
        table = _opened(folder)
        rows = _rows(table, ids)
        found = shown(table, rows, size)
        for lines in _paragraphs(table, found):
            click.echo(printable("\n".join(lines)) + "\n")
        if all(row.picture is None for row in found):
            note = "these rows have no picture" if found else "the dataset has no rows"
            if out is not None:
                raise UsageError(f"out: {note}; nothing was written")
            click.echo(note, err=True)
        elif out is not None:
            _write(_sheet(found, size), out)
            click.echo(printable(f"{out}: a picture of {counted(len(found), 'rows')}"))
        elif not _open(_sheet(found, size)):
            click.echo("no display to open the picture on; -o FILE.png writes it", err=True)


def _opened(folder: str) -> Table | JoinedTable:
    from skyshards.join import open_join
    from skyshards.read.table import open_table

    return open_join(folder) if folder.lower().endswith(".parquet") else open_table(folder)


def _rows(table: Table | JoinedTable, ids: Sequence[str]) -> list[int]:
    from skyshards.read.shown import MOST, positions

    try:
        rows = positions(table, list(ids) or None, numerals=True)
    except (KeyError, IndexError) as error:
        raise UsageError(error.args[0]) from error
    if len(rows) > MOST:
        raise UsageError(f"expected at most {MOST} rows to show, found {len(rows):,}")
    return rows


def _paragraphs(table: Table | JoinedTable, rows: Sequence[Shown]) -> Iterator[list[str]]:
    """Yield the lines of each row: its name, and its small values in words; of a single row, with descriptions."""
    from skyshards.format.columns import flatten
    from skyshards.pictures.words import in_words

    small = [name for name in table.column_names if name in table._askable]
    schema = {name: table.schema[name] for name in small}
    for row in rows:
        values = flatten(table.select_columns(small)[row.position]) if small else {}
        words = {name: in_words(values[name], column) for name, column in schema.items()}
        caption = f": {row.caption}" if row.caption else ""
        cells = [[name, words[name], *([schema[name].description] if len(rows) == 1 else [])] for name in small]
        yield [f"{row.name} (row {row.position}){caption}", *_aligned(cells)]


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for each row of cells, cut to the terminal's width if there is one."""
    widths = [min(WIDEST, max(map(len, column))) for column in zip(*cells, strict=True)]
    lines = ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    if not sys.stdout.isatty():
        return lines
    width = shutil.get_terminal_size().columns
    return [line if len(line) <= width else line[: width - 1] + "…" for line in lines]


def _sheet(rows: Sequence[Shown], size: int) -> Image:
    from skyshards.pictures.legend import shared
    from skyshards.pictures.sheet import sheet

    words = [[row.name, row.caption] for row in rows]
    return sheet([row.picture for row in rows], words, size, shared(row.legend for row in rows))


def _write(picture: Image, path: Path) -> None:
    from skyshards.files import clear_errors, replacing

    with clear_errors(path.parent), replacing(path) as temporary:
        picture.save(temporary, FORMATS[path.suffix.lower()])


def _open(picture: Image) -> bool:
    """Open a picture in a viewer, if there is one and a display."""
    from PIL import ImageShow

    has_display = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(has_display) and ImageShow.show(picture, "skyshards show")
