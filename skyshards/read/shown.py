"""Which rows of a table are shown, and what is shown of each."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skyshards.errors import FolderError, UsageError
from skyshards.format.columns import select
from skyshards.text import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skyshards.pictures.html import Thumbnail
    from skyshards.pictures.legend import Legend
    from skyshards.read.random_access import RandomAccess

FIRST = 6
"""Number of rows shown where none are named."""
NEAREST = 3
"""Number of similar names in an error message."""
MOST = 100
"""Maximum number of rows in a figure, or shown by the command."""
PANEL, THUMBNAIL = 1000, 384
"""Longer side of a picture in a figure, and in HTML, in pixels."""
BATCH = 8
"""Number of rows read at once."""
_POOL = 500
"""Number of names among which the most similar are looked for, of each kind."""


class Shown(NamedTuple):
    """A row as it is shown: its position in the table, name, labels, picture if it has one, and the masks' legend."""

    position: int
    name: str
    caption: str
    picture: np.ndarray | None
    legend: Legend = ()


def positions(table: RandomAccess, keys: Any, *, numerals: bool = False) -> list[int]:
    """Return the positions of rows given by position (integers) or by name (text), in their order.

    All rows of a name are meant where several share it. None means the first rows.

    Parameters
    ----------
    table : Table or JoinedTable
    keys : int, str, sequence of these, or None
    numerals : bool
        Take text that is no row's name, but the number of one, from 0, for a position.

    Raises
    ------
    IndexError
        If a position is out of range.
    KeyError
        If no row has one of the names; the message lists the most similar ones.
    TypeError
        If a key is neither an integer nor text.
    """
    if keys is None:
        return list(range(min(FIRST, len(table))))
    keys = [_plain(key) for key in (keys if _are_several(keys) else [keys])]
    rows = rows_by_name(table, {key for key in keys if isinstance(key, str)})
    found: list[int] = []
    for key in keys:
        if isinstance(key, int):
            found.append(_within(key, len(table)))
        elif key in rows:
            found += rows[key]
        elif numerals and key.isdecimal() and int(key) < len(table):
            found.append(int(key))
        else:
            numbers = f", and rows are numbered 0 to {len(table) - 1}" if numerals and key.isdecimal() else ""
            raise KeyError(_unknown(table, key) + numbers)
    return found


def rows_by_name(table: RandomAccess, names: Iterable[str]) -> dict[str, list[int]]:
    """Return the positions of the rows that have one of these names."""
    column = table._asked(table._naming)
    places = np.flatnonzero(pc.is_in(column, value_set=pa.array(sorted(names), pa.string())).to_numpy())
    rows: dict[str, list[int]] = {}
    for place, name in zip(places.tolist(), column.take(pa.array(places)).to_pylist(), strict=True):
        rows.setdefault(name, []).append(place)
    return rows


def nearest(word: str, names: pa.ChunkedArray) -> list[str]:
    """Return the names most similar to a word, of any number: those that share one half of it, and neighbours in order.

    Those that begin with the word are first. `difflib`, which would take minutes for all names, ranks the others.
    """
    half = (len(word) + 1) // 2
    pool: set[str] = set()
    for part in {word[:half], word[half:]} - {""}:
        pool.update(names.filter(pc.match_substring(names, part, ignore_case=True)).slice(0, _POOL).to_pylist())
    before = pc.less(names, word)
    pool.update(_ends(names.filter(before), "descending"), _ends(names.filter(pc.invert(before)), "ascending"))
    longer = sorted(name for name in pool if word and name.lower().startswith(word.lower()))
    return [*longer, *difflib.get_close_matches(word, sorted(pool.difference(longer)), NEAREST, 0.5)][:NEAREST]


def shown(table: RandomAccess, rows: Sequence[int], size: int | None) -> list[Shown]:
    """Read the pictures of rows, the longer side at most `size` pixels, with their names and labels.

    Raises
    ------
    ShardCorrupted
        If a row is damaged.
    """
    drawing = table.drawing
    names = table._asked(table._naming).take(pa.array(rows, pa.int64())).to_pylist()
    if not drawing.columns:
        return [Shown(row, name, "", None) for row, name in zip(rows, names, strict=True)]
    read, found = table._view(select(table._leaves, drawing.columns), table._index, None), []
    for start in range(0, len(rows), BATCH):  # memory for a few images at a time
        some = list(rows[start : start + BATCH])
        for row, name, values in zip(some, names[start:], read.__getitems__(some), strict=False):
            picture = drawing.picture(values, size)
            found.append(Shown(row, name, drawing.caption(values), picture, drawing.legend(values)))
    return found


def plot(table: RandomAccess, keys: Any) -> Figure:
    """Draw rows, given as for `positions`, with matplotlib, a panel each; see `RandomAccess.plot`."""
    from skyshards.pictures.figure import figure
    from skyshards.pictures.legend import shared

    rows = positions(table, keys)
    if not 0 < len(rows) <= MOST:
        raise UsageError(f"rows: expected 1 to {MOST} rows to plot, found {len(rows):,}")
    if not table.drawing.columns:
        raise UsageError(f"no column has images to plot: {', '.join(table.column_names)}")
    found = shown(table, rows, PANEL)
    titles = ["\n".join(filter(None, (row.name, row.caption))) for row in found]
    return figure([row.picture for row in found], titles, shared(row.legend for row in found))


def html(table: RandomAccess, title: str, place: str) -> str:
    """Return the HTML of a table in notebooks. It never raises: rows that cannot be drawn say why."""
    from skyshards.pictures.html import Thumbnail, page
    from skyshards.pictures.legend import shared

    rows = positions(table, None)
    legends: list[Legend] = []
    try:
        drawn = shown(table, rows, THUMBNAIL)
        found = [Thumbnail(f"{row.position}: {row.name}", row.caption, row.picture) for row in drawn]
        legends = [row.legend for row in drawn]
    except FolderError as error:  # a server that does not answer would be waited for at each row
        found = [_problem("", error)]
    except Exception:
        found = [_thumbnail(table, row) for row in rows]
    return page(title, place, found, table.schema, shared(legends))


def _thumbnail(table: RandomAccess, row: int) -> Thumbnail:
    """Show a row among which some cannot be drawn."""
    from skyshards.pictures.html import Thumbnail

    try:
        (found,) = shown(table, [row], THUMBNAIL)
        return Thumbnail(f"{row}: {found.name}", found.caption, found.picture)
    except Exception as error:
        return _problem(str(row), error)


def _problem(title: str, error: Exception) -> Thumbnail:
    from skyshards.pictures.html import Thumbnail

    return Thumbnail(title, "", None, f"cannot be drawn: {error}"[:500])


def _are_several(keys: Any) -> bool:
    return isinstance(keys, Iterable) and not isinstance(keys, (str, bytes)) and getattr(keys, "ndim", 1) != 0


def _plain(key: Any) -> int | str:
    key = key.as_py() if hasattr(key, "as_py") else key
    if isinstance(key, str):
        return str(key)
    try:
        if isinstance(key, (bool, np.bool_)):
            raise TypeError
        return operator.index(key)
    except TypeError:
        raise TypeError(f"expected row numbers and object_ids, found {key!r:.60}") from None


def _within(position: int, length: int) -> int:
    if not -length <= position < length:
        ids = "; object_ids are text" if abs(position) > 10**9 else ""
        raise IndexError(f"row {position} is out of range for a table of {counted(length, 'rows')}{ids}")
    return position % length


def _unknown(table: RandomAccess, name: str) -> str:
    near = nearest(name, table._asked(table._naming))
    hint = f"; similar: {', '.join(near)}" if near else ""
    return f"no row has {table._naming} {name!r} (searched {counted(len(table), 'rows')}){hint}"


def _ends(names: pa.ChunkedArray, order: str) -> list[str]:
    """Return the first names in an order."""
    if not len(names):
        return []
    options = pc.SelectKOptions(k=min(_POOL, len(names)), sort_keys=[("name", order)])
    table = pa.table({"name": names})
    return table.take(pc.select_k_unstable(table, options=options))["name"].to_pylist()
