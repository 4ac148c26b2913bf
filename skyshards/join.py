"""Join several datasets into one table of the objects they have in common."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skyshards.errors import UsageError
from skyshards.matching.crossmatch import columns_of, pairs
from skyshards.read import join_file
from skyshards.read.joined import JoinedTable
from skyshards.read.matches import Matches, part_names
from skyshards.read.table import Table

HOW = ("inner", "left")


def join(
    *tables: Table,
    radius_arcsec: Any = 1.0,
    on: str | Sequence[str] | None = None,
    match: str = "nearest",
    how: str = "inner",
    names: Sequence[str] | None = None,
) -> JoinedTable:
    """Join several datasets into one table of the objects they have in common.

    Each further table is matched with the first as in `crossmatch`: by position with the nearest row within the radius
    (or with every such row), or by name with all rows of equal name. Rows are ordered by the first table, then by the
    second, and so on. All combinations are kept: two matches in one table and three in another make six rows. Only
    the catalogues are read.

    Parameters
    ----------
    *tables : Table
        Two or more tables from `skyshards.open`, or selections of these. Only their rows and columns are joined.
    radius_arcsec : float or Quantity
        Maximum separation; numbers are arcsec.
    on : str or sequence of str, optional
        Match by equal values of this column (or one column for each table) instead of by position.
    match : {"nearest", "all"}
        Match a row of the first table with the nearest row within the radius, or with all of them.
    how : {"inner", "left"}
        Keep only the rows of the first table that have a match in all the others, or all its rows. For the values
        that are missing then, see `skyshards.JoinedTable`.
    names : sequence of str, optional
        Names of the tables in the join; default: the names of their datasets.

    Returns
    -------
    JoinedTable
        Indexed like its tables; each row is `{"gz3d": {...}, "gz_decals": {...}, "separation": ...}`.

    Raises
    ------
    UsageError
        If an option is invalid, two tables have the same name, or a column of `on` is missing.

    Examples
    --------
    >>> import skyshards
    >>> masks, votes = skyshards.open("data/gz3d"), skyshards.open("data/gz_decals")  # doctest: +SKIP
    >>> both = skyshards.join(masks, votes)  # doctest: +SKIP
    >>> both.where("separation < 0.5").select_columns(["gz3d.image", "gz_decals.representation"])[:64]  # doctest: +SKIP
    """
    for table in tables:
        if not isinstance(table, Table):
            advice = "open a folder with skyshards.open, pass all tables to one join, and options by name"
            raise UsageError(f"join: expected tables of built datasets, found {type(table).__name__}; {advice}")
    if len(tables) < 2:
        raise UsageError(f"join: expected two tables or more, found {len(tables)}")
    if how not in HOW:
        raise UsageError(f"how: expected one of {', '.join(HOW)}, found {how!r}")
    called = part_names(tables, names)
    by = [on] * len(tables) if on is None or isinstance(on, str) else list(on)
    if len(by) != len(tables):
        raise UsageError(f"on: expected a column for each of {len(tables)} tables, found {by}")
    first, *others = map(columns_of, tables, called, by)
    found = [
        pairs(first, other, (by[0], name) if by[0] and name else None, radius_arcsec, match)
        for other, name in zip(others, by[1:], strict=True)
    ]
    rows, apart = chained(len(tables[0]), found, how == "left")
    return JoinedTable.of(Matches.of(dict(zip(called, tables, strict=True)), rows, apart, how == "left"))


def open_join(
    path: str | os.PathLike,
    *,
    folders: Mapping[str, str | os.PathLike] | None = None,
    threads: int | None = None,
    decode: bool = True,
    storage_options: dict[str, Any] | None = None,
) -> JoinedTable:
    """Open a join that `JoinedTable.save` wrote, or `skyshards crossmatch` of two built datasets.

    Parameters
    ----------
    path : path
        A Parquet file on disk.
    folders : dict, optional
        New paths or URLs of datasets that have moved, by their names in the join.
    threads, decode, storage_options
        As for `skyshards.open`, for each of the folders.

    Raises
    ------
    FolderError
        If the file is not a saved join, or a folder is missing or was built further since.

    Examples
    --------
    >>> skyshards.open_join("pairs.parquet")[:64]["gz3d"]["image"].shape  # doctest: +SKIP
    (64, 525, 525, 3)
    """
    options = {"threads": threads, "decode": decode, "storage_options": storage_options}
    return JoinedTable.of(join_file.read(path, folders or {}, **options))


def chained(
    length: int, matches: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], left: bool
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Combine the matches of each row of the first table, which has `length` rows, in all ways.

    Parameters
    ----------
    matches : sequence of (int64, int64, float64) arrays
        For each further table: the matched rows of the first (sorted), the rows of the other, and their separations.
    left : bool
        Whether to keep rows without a match.

    Returns
    -------
    list of int64 array, list of float64 array
        For each table (the first included) the row of each combination, -1 for none; for each but the first the
        separation, NaN for none.
    """
    rows, apart = [np.arange(length)], list[np.ndarray]()
    for first, other, separation in matches:
        counts = np.bincount(first, minlength=length)
        starts = np.cumsum(counts) - counts
        counts, starts = counts[rows[0]], starts[rows[0]]
        times = np.maximum(counts, 1) if left else counts
        places = np.repeat(starts - (np.cumsum(times) - times), times) + np.arange(times.sum())
        absent = np.repeat(counts == 0, times)
        places[absent] = len(other)
        rows = [np.repeat(values, times) for values in rows] + [np.append(other, -1)[places]]
        apart = [np.repeat(values, times) for values in apart] + [np.append(separation, np.nan)[places]]
    return rows, apart
