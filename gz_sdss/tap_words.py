"""Descriptions, units and UCDs of columns in a TAP service's own metadata, TAP_SCHEMA (TAP 1.1, section 4)."""

from __future__ import annotations

import re

import pandas as pd

from gz_sdss.further_columns import FURTHER, Further
from gz_sdss.tap_jobs import run_query, tap_service
from skyshards.errors import BuildError
from skyshards.input_tables.formats import InMemory
from skyshards.input_tables.table_file import TableFile
from skyshards.input_tables.words import Words, of_text

MOST_COLUMNS = 100_000
"""Maximum number of answers: many tables may have a column of one name."""
_TABLE = re.compile(r'\b(?:FROM|JOIN)\s+("?[\w.]+"?(?:\."?\w+"?)*)', re.IGNORECASE)


def complete_words(table: pd.DataFrame, tap_url: str, query: str) -> None:
    """Add what TAP_SCHEMA says of the further columns of a result that have neither unit nor UCD there.

    They stay as they are where it says nothing either, or cannot be asked: nothing depends on it.

    Parameters
    ----------
    table : pandas.DataFrame
        Its `attrs["further"]` is completed in place.
    tap_url : str
    query : str
        ADQL, whose tables count: others may have columns of the same names.
    """
    further = {name: Further(*values) for name, values in table.attrs.get(FURTHER, {}).items()}
    bare = {name: about for name, about in further.items() if not (about.unit or about.ucd)}
    if not bare:
        return
    tables = {_plain(name) for name in _TABLE.findall(query)}
    names = sorted({spelling for name in bare for spelling in (name, name.lower()) if re.fullmatch(r"\w+", name)})
    condition = ", ".join(f"'{name}'" for name in names)
    asked = "SELECT table_name, column_name, description, unit, ucd FROM TAP_SCHEMA.columns WHERE column_name IN "
    try:
        result = run_query(tap_service(tap_url), f"{asked}({condition})", MOST_COLUMNS).resultstable
        file = TableFile(tap_url, InMemory.of_votable(result))
        rows = zip(*(values.to_pylist() for _, values in file.read(range(5), text=range(5))), strict=True)
        found = {str(name).lower(): of_text(*words) for place, name, *words in rows if _plain(str(place)) in tables}
    except BuildError:
        return
    for name, about in bare.items():
        more = found.get(name.lower(), Words())
        words = (one or other for one, other in zip(about[1:], more, strict=True))
        table.attrs[FURTHER][name] = [about.dtype, *words]


def _plain(table: str) -> str:
    """Name of a table without quotes and schema, in lower case: services spell schemas in many ways."""
    return table.replace('"', "").rpartition(".")[2].lower()
