"""What a build has before it, in words: how many sources, how much to fetch and to keep, and how long it takes."""

from __future__ import annotations

from collections.abc import Sequence

from skyshards.pipeline.recipe import Cost, Recipe, Source
from skyshards.progress import duration, size

COMMON_SPEED = 10e6
"""Bytes per second, where nothing but the downloads' size is known of the time they take."""


def plan(recipe: Recipe, pending: Sequence[Source], listed: int) -> str:
    """One line about the sources that are to be read, of so many that were listed."""
    done = f" ({listed - len(pending):,} done already)" if len(pending) < listed else ""
    if not pending:
        return f"nothing to do{done}"
    cost = recipe.cost(pending)
    amounts = [f"{_about(cost.fetch_bytes)} to fetch", f"{_about(cost.keep_bytes)} to keep", _time(cost)]
    return f"{len(pending):,} {recipe.unit} to do{done}: {', '.join(amounts)}"


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
