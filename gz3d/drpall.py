"""MaNGA's table of observations (drpall): which plate-IFUs observed a galaxy."""

from __future__ import annotations

from pathlib import Path

from skyshards.errors import BuildError

NAMES = ("mangaid", "plateifu")


def plate_ifus(path: Path) -> dict[str, str]:
    """Read the plate-IFUs of each galaxy, by MaNGA ID: those of several observations are separated by blanks.

    Raises
    ------
    BuildError
        The file cannot be read as a table, or lacks the columns.
    """
    from skyshards.input_tables.table_file import open_table

    table = open_table(path)
    names = [name.lower() for name in table.names]
    if missing := [name for name in NAMES if name not in names]:
        raise BuildError(
            f"`drpall` {path}: expected columns {' and '.join(NAMES)}, as in MaNGA's drpall file, found no"
            f" {' and no '.join(missing)}"
        )
    places = [names.index(name) for name in NAMES]
    columns = table.look(places, text=places)
    found: dict[str, set[str]] = {}
    for ids, observations in table.batches(columns):
        for mangaid, plateifu in zip(ids.to_pylist(), observations.to_pylist(), strict=True):
            if mangaid and plateifu:
                found.setdefault(mangaid.strip(), set()).add(plateifu.strip())
    return {mangaid: " ".join(sorted(plateifus)) for mangaid, plateifus in found.items()}
