"""Crossmatch two tables: nearest neighbours on the sky, or equal names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skyshards.cluster import DaskExecutor, watched
from skyshards.errors import UsageError
from skyshards.matching.neighbours import neighbours, separation, unit_vectors
from skyshards.matching.zones import neighbours_far
from skyshards.progress import stalled
from skyshards.read.angles import degrees
from skyshards.read.random_access import RandomAccess

TABLE_ID_COLUMNS = ("object_id", "iauname", "id_str")
"""Columns that may identify the rows of a table, by preference; without any of them, row numbers do."""

MATCH = ("nearest", "all")
"""Pair a row with the nearest row within the radius, or with all of them."""

RA, DEC = ":ra", ":dec"
"""Positions in degrees, whatever the original columns are called."""


def crossmatch(
    a: Any,
    b: Any,
    radius_arcsec: Any = 1.0,
    *,
    on: str | tuple[str, str] | None = None,
    match: str = "nearest",
    position_a: tuple[str, str] = ("ra", "dec"),
    position_b: tuple[str, str] = ("ra", "dec"),
    executor: DaskExecutor | None = None,
) -> pa.Table:
    """Find pairs of rows of two tables that are the same object.

    By position, each row of `a` is paired with the nearest row of `b` within the radius (edge included), so a row of
    `b` may be in several pairs; of equally near rows, the first is taken. With `match="all"`, it is paired with every
    row of `b` within the radius. Separations are exact across pixel borders, the poles and right ascension 0. By name,
    all rows with equal names are paired.

    Parameters
    ----------
    a, b : Table, pyarrow.Table, astropy.table.Table, SkyCoord or mapping of arrays
        Tables with positions, or with the columns of `on`. Rows without a position (NaN, null, a declination of
        -999) match nothing.
    radius_arcsec : float or Quantity
        Maximum separation; numbers are arcsec.
    on : str or (str, str), optional
        Match by equal values of this column instead, or of one column of each table: `("iauname", "name")`.
    match : {"nearest", "all"}
        Pair a row of `a` with the nearest row of `b` within the radius, or with all of them.
    position_a, position_b : (str, str)
        The columns of right ascension and declination, ICRS. Numbers are degrees; columns with a unit are converted.
    executor : skyshards.cluster.DaskExecutor, optional
        Compare positions in the workers of a Dask cluster: `DaskExecutor(client, folder)`, with a folder that they all
        see and through which positions and pairs go. The pairs are the same.

    Returns
    -------
    pyarrow.Table
        One row per pair, in the order of `a`, then of `b`: `id_a`, `id_b` (object_id, iauname or id_str, else the
        row number), `row_a`, `row_b` (int64), and `separation` (float64, arcsec; NaN if either table has no
        positions).

    Raises
    ------
    UsageError
        If a needed column is missing, the radius is invalid, or `on` is combined with an executor.

    Examples
    --------
    >>> one = table.catalog.slice(3, 1)
    >>> mine = {"RA": one["ra"].to_numpy(), "DEC": one["dec"].to_numpy()}
    >>> pairs = skyshards.crossmatch(table, mine, radius_arcsec=1.0, position_b=("RA", "DEC"))
    >>> pairs["row_a"].to_pylist(), pairs["row_b"].to_pylist()
    ([3], [0])
    """
    both = (on, on) if isinstance(on, str) else on
    columns_a = columns_of(a, "a", both and both[0], position_a)
    columns_b = columns_of(b, "b", both and both[1], position_b)
    rows_a, rows_b, apart = pairs(columns_a, columns_b, both, radius_arcsec, match, executor)
    return pa.table(
        {
            "id_a": _ids(columns_a).take(pa.array(rows_a)),
            "id_b": _ids(columns_b).take(pa.array(rows_b)),
            "row_a": rows_a,
            "row_b": rows_b,
            "separation": pa.array(apart, pa.float64()),
        }
    )


def pairs(
    a: Mapping[str, pa.ChunkedArray],
    b: Mapping[str, pa.ChunkedArray],
    on: tuple[str, str] | None,
    radius_arcsec: Any,
    match: str,
    executor: DaskExecutor | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return matching rows of `a` and of `b` (int64) and their separations (arcsec, NaN if unknown).

    Parameters
    ----------
    a, b : mapping of arrays
        As returned by `columns_of`. The other parameters are those of `crossmatch`.
    """
    if on is not None:
        if executor is not None:
            raise UsageError("dask: is for matching by position; matching by `on` runs here, and takes seconds")
        rows_a, rows_b = _equal(a[on[0]], b[on[1]])
        known = all(RA in columns and DEC in columns for columns in (a, b))
        apart = separation(_vectors(a)[rows_a], _vectors(b)[rows_b]) if known else np.full(len(rows_a), np.nan)
        return rows_a, rows_b, apart
    radius, every = checked(radius_arcsec, match)
    first, second = _vectors(a), _vectors(b)
    if executor is None:
        rows_a, rows_b = neighbours(first, second, radius, every)
    else:
        if executor.folder is None:
            raise UsageError("executor: expected a DaskExecutor with a folder that all workers see, found none")
        with watched(executor.client, stalled):
            rows_a, rows_b = neighbours_far(executor, executor.folder, first, second, radius, every)
    return rows_a, rows_b, separation(first[rows_a], second[rows_b])


def checked(radius_arcsec: Any, match: str) -> tuple[float, bool]:
    """Return the radius in arcsec, and whether all rows within it are paired. Raises `UsageError` if one is invalid."""
    radius = degrees(radius_arcsec, "radius_arcsec") * 3600.0 if hasattr(radius_arcsec, "to_value") else radius_arcsec
    if not isinstance(radius, (int, float, np.number)) or not 0 <= radius <= 648_000:
        raise UsageError(f"radius_arcsec: expected 0 to 648000 (180 degrees), found {radius_arcsec!r:.60}")
    if match not in MATCH:
        raise UsageError(f"match: expected one of {', '.join(MATCH)}, found {match!r}")
    return float(radius), match == "all"


def columns_of(
    table: Any, which: str, name: str | None, position: tuple[str, str] = ("ra", "dec")
) -> dict[str, pa.ChunkedArray]:
    """Return the columns to match on as Arrow arrays: positions as `RA` and `DEC`, identifiers, and `name`.

    Raises `UsageError` if `name` is missing or, without a `name`, a position column.
    """
    if hasattr(table, "icrs"):
        table = {"ra": np.atleast_1d(table.icrs.ra.deg), "dec": np.atleast_1d(table.icrs.dec.deg)}
        position = ("ra", "dec")
    if not isinstance(table, (RandomAccess, pa.Table)) and not hasattr(table, "keys"):
        expected = "expected a table, SkyCoord or mapping of arrays"
        raise UsageError(f"table {which}: {expected}, found {table!r:.200}; open a built dataset with skyshards.open")
    if isinstance(table, RandomAccess):
        names, values = list(table._askable), table._asked
    else:
        names = [str(column) for column in (table.column_names if isinstance(table, pa.Table) else table.keys())]
        values = table.__getitem__
    if isinstance(position, str) or len(position) != 2:
        raise UsageError(f"position_{which}: expected two columns, ra and dec, found {position!r}")
    missing = [column for column in ([name] if name else position) if column not in names]
    if missing:
        there = f"expected a column {missing[0]!r}, found {', '.join(names)}"
        advice = "on=(name in a, name in b)" if name else f'position_{which}=("RA", "DEC")'
        raise UsageError(f"table {which}: {there}; name its columns with {advice}")
    columns = {column: _arrow(values(column)) for column in names if column in (*TABLE_ID_COLUMNS, name)}
    if set(position) <= set(names):
        for role, column in zip((RA, DEC), position, strict=True):
            columns[role] = _arrow(_in_degrees(values(column), f"table {which}, column {column!r}"))
    return columns


def _in_degrees(values: Any, name: str) -> Any:
    """Convert a column of angles to degrees; one without a unit is in degrees already."""
    unit = getattr(values, "unit", None)
    if unit is None:
        return values
    if not hasattr(values, "to_value"):  # a Column or MaskedColumn of astropy
        factor = degrees(1.0 * unit, name)
        return values.filled(np.nan) * factor if np.ma.isMaskedArray(values) else np.asarray(values) * factor
    return degrees(values, name)


def _arrow(values: Any) -> pa.ChunkedArray:
    if not isinstance(values, (pa.Array, pa.ChunkedArray)):
        values = np.ma.asanyarray(getattr(values, "value", values))
        mask = np.ma.getmaskarray(values) if np.ma.isMaskedArray(values) else None
        values = np.asarray(values)
        # Arrow takes only native byte order, and columns from FITS files are big-endian.
        values = values.astype(values.dtype.newbyteorder("="))
        values = pa.array(values.tolist() if values.dtype.kind in "SU" else values, mask=mask)
        values = values.cast(pa.string()) if pa.types.is_binary(values.type) else values
    return values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])


def _ids(columns: Mapping[str, pa.ChunkedArray]) -> pa.ChunkedArray:
    name = next((name for name in TABLE_ID_COLUMNS if name in columns), None)
    if name is not None:
        return columns[name]
    length = len(next(iter(columns.values())))
    return pa.chunked_array([pa.array(np.arange(length))])


def _vectors(columns: Mapping[str, pa.ChunkedArray]) -> np.ndarray:
    return unit_vectors(*(columns[role].cast(pa.float64()).to_numpy(zero_copy_only=False) for role in (RA, DEC)))


def _equal(first: pa.ChunkedArray, second: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs of rows with equal values, ordered by the first, then by the second; nulls match nothing."""
    try:
        second = second.cast(first.type)
    except pa.ArrowInvalid:  # numbers on one side, text on the other
        first, second = first.cast(pa.string()), second.cast(pa.string())
    left = pa.table({"value": first, "row_a": np.arange(len(first))})
    right = pa.table({"value": second, "row_b": np.arange(len(second))})
    left, right = (side.filter(pc.is_valid(side["value"])) for side in (left, right))
    pairs = left.join(right, "value", join_type="inner").sort_by([("row_a", "ascending"), ("row_b", "ascending")])
    return pairs["row_a"].to_numpy(), pairs["row_b"].to_numpy()
