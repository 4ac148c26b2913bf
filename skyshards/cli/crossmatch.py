"""The command `skyshards crossmatch`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

from skyshards.cli.options import DASK, DASK_WORKERS, in_cluster, messages, option
from skyshards.cli.typed import Command
from skyshards.cluster import DaskExecutor
from skyshards.errors import UsageError
from skyshards.files import clear_errors, hold, remove_unfinished
from skyshards.machine import usable_cores
from skyshards.matching.crossmatch import MATCH
from skyshards.text import counted, printable

Names = tuple[str, ...]


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> Names | None:
    return None if value is None else tuple(name.strip() for name in value.split(","))


def _check_position(name: str, columns: Names | None) -> None:
    if columns is not None and not (len(columns) == 2 and all(columns)):
        raise UsageError(f"{name}: expected two columns, such as RAJ2000,DEJ2000, found {','.join(columns)!r}")


@contextlib.contextmanager
def _beside(out: Path, executor: DaskExecutor | None) -> Iterator[tuple[Executor, Path]]:
    """Let workers, or threads of this process, read and write in a folder beside the output."""
    folder = out.absolute().with_name(f"{out.name}.parts")
    busy = f"{folder}: another run is writing to it; wait for it, or choose another `out`"
    with clear_errors(folder), hold(folder, busy), contextlib.ExitStack() as stack:
        stack.callback(remove_unfinished, folder)  # of workers that were killed
        if executor is not None:
            yield executor.through(folder), folder
            return
        threads = ThreadPoolExecutor(usable_cores())
        stack.callback(threads.shutdown, cancel_futures=True)
        yield threads, folder


@click.command("crossmatch", cls=Command)
@click.argument("a")
@click.argument("b")
@option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), default="pairs.parquet", help="File to write.")
@option("--radius_arcsec", type=float, default=1.0, metavar="ARCSEC", help="Maximum separation of a pair.")
@option("--match", type=click.Choice(MATCH), default=MATCH[0], help="Which rows of B to pair with each row of A.")
@option(
    "--on", callback=_names, metavar="NAME[,NAME]", help="Match equal values of this column, or these two of A and B."
)
@option("--position_a", callback=_names, metavar="RA,DEC", help="Columns with positions in A. [default: ra,dec]")
@option("--position_b", callback=_names, metavar="RA,DEC", help="Columns with positions in B. [default: ra,dec]")
@option("--id_a", metavar="NAME", help="Identifier column of A. [default: object_id, iauname or id_str]")
@option("--id_b", metavar="NAME", help="Identifier column of B. [default: object_id, iauname or id_str]")
@DASK
@DASK_WORKERS
def command(
    a: str,
    b: str,
    out: Path,
    radius_arcsec: float,
    match: str,
    on: Names | None,
    position_a: Any,
    position_b: Any,
    id_a: str | None,
    id_b: str | None,
    dask: str | None,
    workers: int | None,
) -> None:
    """Match the rows of two catalogues by position, or by a common identifier.

    A and B are built datasets, files (CSV, Parquet, FITS, ECSV, VOTable) or HATS catalogues; folders and HATS may be
    URLs. The output format follows from the file name: Parquet, FITS, VOTable or CSV. `skyshards.open_join` reads the
    joined rows of two built datasets from a Parquet file.
    """
    with messages(), contextlib.ExitStack() as stack:
        import pyarrow as pa

        from skyshards.cli.pairs import check_name, write_pairs
        from skyshards.matching.catalogue_pairs import Found, catalogue_pairs
        from skyshards.matching.crossmatch import checked, crossmatch
        from skyshards.matching.open_catalogue import open_catalogue

        check_name(out)
        _check_position("position_a", position_a)
        _check_position("position_b", position_b)
        if on is not None and not (len(on) <= 2 and all(on)):
            raise UsageError(f"on: expected a column, or one of A and one of B, found {','.join(on)!r}")
        if on is not None and dask is not None:
            raise UsageError("dask: is for matching by position; matching by `on` runs here, and takes seconds")
        radius, every = checked(radius_arcsec, match)
        executor, folder = stack.enter_context(_beside(out, stack.enter_context(in_cluster(dask, workers))))
        first, second = open_catalogue(a), open_catalogue(b)
        if on is not None:
            rows_a = first.columns("a", on[0], position=position_a, identity=id_a)
            rows_b = second.columns("b", on[-1], position=position_b, identity=id_b)
            pairs = crossmatch(rows_a, rows_b, on=(on[0], on[-1]))
            found = Found(pairs.schema, lambda: [pairs], len(pairs), len(rows_a), len(rows_b))
        else:
            chosen_a = first.chosen("a", position_a, id_a, True)
            chosen_b = second.chosen("b", position_b, id_b, True)
            sides = (first, chosen_a), (second, chosen_b)
            found = stack.enter_context(catalogue_pairs(executor, folder, *sides, radius, every))
        unnumbered = [f"row_{which}" for which, of in (("a", first), ("b", second)) if not of.numbered]
        names = [name for name in found.schema.names if name not in unnumbered]
        schema = pa.schema([found.schema.field(name) for name in names])
        parts = lambda: (part.select(names) for part in found.read())  # noqa: E731
        write_pairs(schema, parts, out, first.table, second.table)
    how = f"equal {on[0]}" if on else f'within {radius_arcsec:g}"'
    click.echo(
        printable(
            f"{out}: {counted(found.pairs, 'pairs')} {how} of {counted(found.rows_a, 'rows')} of {a}"
            f" and {found.rows_b:,} of {b}"
        )
    )
