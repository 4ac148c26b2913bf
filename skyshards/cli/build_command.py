"""Decorator that makes a dataset's build command."""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from skyshards.cli.options import COMMON, HELP, in_cluster, messages, resumable
from skyshards.cli.typed import Command, as_typed
from skyshards.errors import UsageError
from skyshards.text import counted


def build_command(name: str, *, not_with_demo: Sequence[str] = ()) -> Callable[[Callable], click.Command]:
    """Turn the function that makes a dataset's recipe into its build command (a decorator).

    The function is called with the command's own options, and the keywords `demo` (a running
    `demo_archive.DemoArchive`, or None) and `output_dir`. Its docstring is the command's help. The build sets the
    recipe's `limit` (5 for `--tiny`) and `simulated`.

    Parameters
    ----------
    name : str
        Name of the dataset.
    not_with_demo : sequence of str
        Names of the command's own options that say where the data are, which `--demo` does itself.
    """

    def decorate(make_recipe: Callable) -> click.Command:
        @functools.wraps(make_recipe)
        def command(
            output_dir,
            work_dir,
            tiny,
            limit,
            dry_run,
            demo,
            workers,
            dask,
            connections,
            max_rows_per_shard,
            nside,
            store,
            debug,
            **own,
        ) -> None:
            if tiny and limit:
                raise click.UsageError(as_typed("`tiny` cannot be combined with `limit`: it means --limit 5"))
            limit = 5 if tiny else limit
            output_dir = output_dir or Path("data") / name
            with messages(debug), resumable(), contextlib.ExitStack() as stack:
                from skyshards.pipeline.build import build
                from skyshards.pipeline.object_store import destination

                if debug:
                    logging.basicConfig(format="%(message)s")
                    logging.getLogger("skyshards").setLevel(logging.DEBUG)
                archive = None
                if demo:
                    from demo_archive import DemoArchive

                    _refuse_given(not_with_demo)

                    archive = stack.enter_context(DemoArchive())
                folder, _ = destination(output_dir, work_dir, name, None)
                recipe = make_recipe(demo=archive, output_dir=folder, **own)
                executor = None
                if dask is not None and not dry_run:
                    executor = stack.enter_context(in_cluster(dask, workers))
                summary = build(
                    recipe,
                    output_dir,
                    limit=limit,
                    workers=None if executor else workers,
                    executor=executor,
                    connections=connections,
                    max_rows_per_shard=max_rows_per_shard,
                    nside=nside,
                    store=store,
                    simulated=demo,
                    dry_run=dry_run,
                    work_dir=work_dir,
                )
            if dry_run:
                click.echo(f"{summary.location}: {summary.plan}")
                return
            _report(summary, recipe.simulated or demo)
            sys.exit(1 if summary.failed else 0)

        for add in reversed(COMMON):
            command = add(command)
        return click.command(name, cls=Command, context_settings=HELP)(command)

    return decorate


def _refuse_given(names: Sequence[str]) -> None:
    """Raise `UsageError` if one of these options is given beside `--demo`."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise UsageError(f"`demo` cannot be combined with `{name}`")


def _report(summary, simulated: bool) -> None:
    """Print a summary of the build, and the lines that load the dataset."""
    from skyshards.format.provenance import FAILURES

    left_out = f" {summary.left_out:,} left out by the options," if summary.left_out else ""
    click.echo(
        f"{summary.location}: {counted(summary.rows, 'rows')} in {counted(summary.shards, 'shards')},"
        f" {summary.nbytes / 1e6:,.1f} MB ({counted(summary.added, 'rows')} added,"
        f" {counted(summary.failed, 'sources')} failed,{left_out} {summary.elapsed:.1f} s)"
    )
    if simulated:
        click.echo("This dataset contains simulated galaxies only.")
    if summary.failed_rows:
        count, place = counted(summary.failed_rows, "rows"), summary.folder / FAILURES
        click.echo(f"{count} failed, listed in {place}; to retry, delete that file and rerun the command.", err=True)
    if summary.missing_rows:
        click.echo(
            f"Not read yet: {counted(summary.missing_rows, 'rows')} of sources read in part; a build with a higher"
            " limit, or none, goes on.",
            err=True,
        )
    if summary.failed:
        click.echo(
            f"Failed sources are listed in {summary.folder / FAILURES}; rerun the same command to retry them.", err=True
        )
    if summary.rows:
        before, named = "", f'"{summary.folder}"'
        if summary.url is not None:  # stock `datasets` opens no URLs of object stores
            before, named = "    import skyshards\n", f'"skyshards", data_dir="{summary.url}"'
        click.echo(
            f"\nLoad it with\n{before}"
            "    from datasets import load_dataset\n"
            f'    ds = load_dataset({named}, split="train", streaming=True).with_format("numpy")\n'
            "or, at random and faster, with\n"
            "    import skyshards\n"
            f'    table = skyshards.open("{summary.location}")'
        )
