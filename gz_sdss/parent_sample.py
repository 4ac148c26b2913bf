"""Which galaxies of a catalogue are in the sample."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from gz_sdss.cuts import Cuts, one_row_a_galaxy
from gz_sdss.further_columns import FURTHER, find
from gz_sdss.gz_sdss import SINGLE
from gz_sdss.tables import KEPT, places, typed
from skyshards.errors import BuildError
from skyshards.input_tables.table_file import open_table
from skyshards.progress import say
from skyshards.text import counted


def read_catalog(path: Path, keep: Sequence[str]) -> pd.DataFrame:
    """Read the table of `--catalog`, and print which of its columns are left out."""
    table = open_table(path)
    used = places(table)
    further, _ = find(table, keep, used, ())
    there = {*used.values(), *(place for place, _ in further.values())}
    if unused := [name or f"column {place + 1}" for place, name in enumerate(table.names) if place not in there]:
        say(f"{path.name}: columns left out, unless `keep_columns` names them: {', '.join(unused)}")
    found, notes = typed(table, keep)
    if notes:
        say(f"{path.name}: columns that rows cannot have: {', '.join(notes)}")
    return found


def passing(whole: pd.DataFrame, cuts: Cuts, origin: str) -> pd.DataFrame:
    """Select the galaxies of a catalogue that pass the cuts, by dr7objid, and print how many do not.

    Raises
    ------
    BuildError
        No galaxy passes.
    """
    further = whole.attrs.get(FURTHER, {})
    # Cut on the stored values: single precision as in PhotoObj, even if a file has them as text.
    whole = whole.astype(dict.fromkeys(SINGLE, "float32")).astype(dict.fromkeys(SINGLE, "float64"))
    passed = whole.loc[cuts.mask(whole), [*KEPT, *further]]
    if outside := len(whole) - len(passed):
        say(f"outside the cuts: {outside:,} of {counted(len(whole), 'galaxies')}")
    kept = one_row_a_galaxy(passed).sort_values("dr7objid", ignore_index=True)
    if dropped := len(passed) - len(kept):
        say(f"left out: {counted(dropped, 'rows')} without identifier or position, or a galaxy's second")
    if kept.empty:
        raise BuildError(f"{origin}: none of {counted(len(whole), 'galaxies')} passes the cuts; loosen them")
    kept.attrs[FURTHER] = further
    return kept
