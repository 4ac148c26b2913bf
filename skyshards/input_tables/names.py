"""Names for the columns of a catalogue in a dataset that has columns of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def stored_names(names: Sequence[str], taken: Collection[str]) -> list[str]:
    """The names under which columns are stored: as published where that can be, and no name twice.

    A dataset nests columns at a point and HDF5 at a slash, so that both become `_`, as does what cannot be printed. A
    name that begins with `_` is the engine's, and gets `column` before it; one that is `taken`, `published_`; and one
    that is there already, `_2` after it, or `_3`, ...

    Parameters
    ----------
    names : sequence of str
        Not empty.
    taken : collection of str
        Names of the dataset's own columns.
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
