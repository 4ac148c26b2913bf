"""Estimate of a build, in words: number of sources, bytes to download and to keep, and time."""

from __future__ import annotations

from collections.abc import Sequence

from skyshards.pipeline.recipe import Cost, Recipe, Source
from skyshards.progress import duration, size
from skyshards.text import counted

COMMON_SPEED = 10e6
"""Download speed (bytes per second) assumed where a recipe gives no time."""


def plan(recipe: Recipe, pending: Sequence[Source], listed: int, rows: int = 0, fast: int = 0) -> str:
    """Describe in one line the sources to read, out of `listed` ones, of which some `rows` were read already.

    With a limit, sources that are read in blocks are taken one after the other: their number is not known yet.
    `fast` are the bytes that a row has at most in uncompressed columns; which columns these are depends on the rows.
    """
    parts = [f"{listed - len(pending):,} done already"] if len(pending) < listed else []
    parts += [f"{counted(rows, 'rows')} done already"] if rows else []
    done = f" ({', '.join(parts)})" if parts else ""
    if not pending:
        return f"nothing to do{done}"
    cost = recipe.cost(pending)
    kept = f"{_about(cost.keep_bytes)} to keep" + (f" (uncompressed, up to {size(fast)} a row)" if fast else "")
    amounts = [f"{_about(cost.fetch_bytes)} to fetch", kept, _time(cost)]
    most = recipe.limit if recipe.counts else None
    what = counted(len(pending), recipe.unit) if most is None else f"up to {counted(most, 'rows')}"
    return f"{what} to do{done}: {', '.join(amounts)}"


def _about(nbytes: float | None) -> str:
    if nbytes is None:
        return "an unknown amount"
    return f"about {size(nbytes)}" if nbytes else "nothing"


def _time(cost: Cost) -> str:
    if cost.seconds is not None:
        return f"about {duration(cost.seconds)} at {cost.pace}"
    if cost.fetch_bytes:
        return f"about {duration(cost.fetch_bytes / COMMON_SPEED)} at {size(COMMON_SPEED)}/s"
    return "an unknown time"
