"""Read which galaxies, or files, a catalogue names, by one of several columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from skyshards.errors import BuildError, UsageError
from skyshards.matching.catalogue import Catalogue
from skyshards.matching.open_catalogue import open_catalogue
from skyshards.progress import say
from skyshards.text import counted


def read_rows(
    location: Path, ways: Mapping[tuple[str, ...], Callable[..., Any]], *, simulated: bool | None = None
) -> list[Any]:
    """Read what the rows of a catalogue name, such as files of an archive: each once, in their order.

    Parameters
    ----------
    location : Path
        A table file, a built folder, or a HATS catalogue.
    ways : mapping of columns to a function
        Columns that name something, and the function of their values that says what. The first way is used whose
        columns are there and whose function accepts all rows; its `ValueError` tells what is wrong with a row. Columns
        are found in any case, and with or without `_`. Alternatives are separated by `|`; a `?` at the end marks a
        column that may be missing, whose value is None then. Rows without a value (or with 0) in another column are
        left out.
    simulated : bool, optional
        Refuse a built folder whose galaxies are not simulated (True), or are (False).

    Raises
    ------
    BuildError
        If it cannot be read, has none of the columns, or names nothing; or no way accepts all rows.
    UsageError
        If its galaxies are simulated and others are wanted, or the other way round.
    """
    catalogue = open_catalogue(str(location))
    if simulated is not None and catalogue.table is not None and catalogue.table.simulated != simulated:
        expected, there = ("simulated", "real") if simulated else ("real", "simulated")
        raise UsageError(f"{location}: expected {expected} galaxies, found {there} ones; `demo` is for simulated ones")
    names = {name.lower().replace("_", ""): name for name in reversed(catalogue.names)}
    wrong = []
    for way, parse in ways.items():
        columns = [_named(names, column) for column in way]
        if any(name is None and not column.endswith("?") for column, name in zip(way, columns, strict=True)):
            continue
        try:
            rows = _parsed(catalogue, columns, parse, [column.endswith("?") for column in way])
        except ValueError as error:
            wrong.append(f"{location}: {error}")
            continue
        for reason in wrong:
            say(f"{reason}; {', '.join(name for name in columns if name)} are used instead")
        found = list(dict.fromkeys(row for row in rows if row is not None))
        if without := rows.count(None):
            say(f"{location}: left out {without:,} of {counted(len(rows), 'rows')}, without {columns[0]}")
        if not found:
            raise BuildError(f"{location}: expected galaxies, found none in {counted(len(rows), 'rows')}")
        return found
    choice = " or ".join(", ".join(column.partition("|")[0] for column in way if column[-1] != "?") for way in ways)
    raise BuildError(
        wrong[0] if wrong else f"{location}: expected columns {choice}; found {', '.join(catalogue.names)}"
    )


def whole(value: Any) -> int:
    """Return a number as an integer. Raises `ValueError` for text that is none."""
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"expected a whole number, found {value!r}; store it as text or a 64-bit integer") from None


def _named(names: Mapping[str, str], column: str) -> str | None:
    return next((names[name] for name in column.rstrip("?").split("|") if name in names), None)


def _parsed(catalogue: Catalogue, columns: list[str | None], parse: Callable, optional: list[bool]) -> list[Any]:
    """Parse all rows; None for those without a value in a column that is not optional."""
    found = catalogue.read([name for name in columns if name])
    cells = [found[name].to_pylist() if name else None for name in columns]
    rows: list[Any] = []
    length = max(len(values) for values in cells if values is not None)
    for row in zip(*(values if values is not None else [None] * length for values in cells), strict=True):
        missing = [value is None or value != value or value in (0, "", "0") for value in row]
        try:
            is_empty = any(gap and not may for gap, may in zip(missing, optional, strict=True))
            rows.append(None if is_empty else parse(*row))
        except ValueError as error:
            words = ", ".join(name for name in columns if name)
            raise ValueError(f"column {words}, row {len(rows) + 1:,}: {error}") from error
    return rows
