"""The command `skyshards add`."""

from __future__ import annotations

from pathlib import Path

import click

from skyshards.cli.options import messages, option, resumable
from skyshards.cli.typed import Command
from skyshards.errors import UsageError
from skyshards.text import counted, printable

Names = tuple[str, ...]


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> Names | None:
    return None if value is None else tuple(name.strip() for name in value.split(","))


@click.command("add", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("table", type=click.Path(path_type=Path))
@option("--on", callback=_names, metavar="NAME[,NAME]", help="Match equal values of this column, or these two of FOLDER"
        " and TABLE. [default: object_id (and source), iauname or id_str]")  # fmt: skip
@option("--radius_arcsec", type=float, metavar="ARCSEC", help="Match the nearest position within this radius instead.")
@option("--position", callback=_names, metavar="RA,DEC", help="Columns with positions in TABLE. [default: ra,dec]")
@option("--columns", callback=_names, metavar="NAME,...", help="Columns to add. [default: all others]")
@option("--prefix", default="", metavar="TEXT", help="Put this before the name of each column.")
@option("--name", metavar="NAME", help="Name of the addition. [default: the name of the file]")
@option("--missing", multiple=True, metavar="NAME=VALUE", help="Value of a column in rows without one; may be repeated."
        " [default: NaN, -1, empty text or list]")  # fmt: skip
def command(
    folder: Path,
    table: Path,
    on: Names | None,
    radius_arcsec: float | None,
    position: Names | None,
    columns: Names | None,
    prefix: str,
    name: str | None,
    missing: tuple[str, ...],
) -> None:
    """Put the columns of a table beside a built dataset: predictions, embeddings, somebody's catalogue.

    TABLE is Parquet, CSV, FITS, ECSV or VOTable. Shards are neither read nor written. Tables, builders, exports and the
    card know the columns from then on; a further build keeps them. An addition of the same name is replaced; `skyshards
    drop` takes it away.
    """
    with messages(), resumable():
        from skyshards.additions.run import add

        if on is not None and not (len(on) <= 2 and all(on)):
            raise UsageError(f"on: expected a column, or one of FOLDER and one of TABLE, found {','.join(on)!r}")
        if position is not None and not (len(position) == 2 and all(position)):
            raise UsageError(f"position: expected two columns, such as RAJ2000,DEJ2000, found {','.join(position)!r}")
        done = add(
            folder,
            table,
            name=name,
            on=(on[0], on[-1]) if on else None,
            radius_arcsec=radius_arcsec,
            position=(position[0], position[1]) if position else None,
            columns=columns,
            prefix=prefix,
            missing=dict(map(_fill, missing)),
        )
    for note in done.notes:
        click.echo(printable(note), err=True)
    names = ", ".join(done.columns[:6]) + (", …" if len(done.columns) > 6 else "")
    what = f"{counted(len(done.columns), 'columns')} ({names})"
    click.echo(printable(f"{folder}: {'replaced' if done.replaced else 'added'} {done.name}: {what}"))
    spare = done.table_rows - done.used
    click.echo(
        f"values in {done.rows:,} of {counted(done.of, 'rows')}, matched by {done.match};"
        f" no match for {spare:,} of {counted(done.table_rows, 'rows')} of the table"
    )


def _fill(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise UsageError(f"missing: expected NAME=VALUE, found {text!r}")
    return name, value
