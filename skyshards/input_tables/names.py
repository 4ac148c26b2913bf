"""Names of a catalogue's columns in a dataset that has columns of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def stored_names(names: Sequence[str], taken: Collection[str]) -> list[str]:
    """Choose unique names for the stored columns, as published if possible.

    Characters that separate nested columns (`.`, `/`, `\\`) and unprintable ones become `_`. Names that begin with `_`
    are reserved and get the prefix `column`, names in `taken` the prefix `published_`, and duplicates a suffix `_2`,
    `_3`, ...

    Parameters
    ----------
    names : sequence of str
        Published names, none of them empty.
    taken : collection of str
        Names of the dataset's own columns.

    Returns
    -------
    list of str
        Stored names, in the order of `names`.
    """
    stored: list[str] = []
    for published in names:
        name = "".join("_" if letter in "./\\" or not letter.isprintable() else letter for letter in published.strip())
        if name.startswith("_"):
            name = f"column{name}"
        if name in taken:
            name = f"published_{name}"
        if name in stored or name in taken:
            name = next(other for other in (f"{name}_{n}" for n in range(2, len(names) + 3)) if other not in stored)
        stored.append(name)
    return stored
