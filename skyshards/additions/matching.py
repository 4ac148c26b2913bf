"""Match the rows of a built dataset with those of a table: by equal names or numbers, or by position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skyshards.errors import BuildError, UsageError
from skyshards.format.catalog_file import CatalogFile
from skyshards.format.layout import SOURCE
from skyshards.input_tables import positions
from skyshards.input_tables.guess import EXACT
from skyshards.input_tables.table_file import TableFile
from skyshards.matching.crossmatch import DEC, RA, TABLE_ID_COLUMNS, columns_of, pairs
from skyshards.text import counted

POSITION = ("ra", "dec")


class Match(NamedTuple):
    """Which row of a table belongs to each row of a dataset.

    Attributes
    ----------
    rows : int64 array
        For each row of the dataset its row in the table, -1 for none.
    height : int
        Number of rows of the table.
    used : set of str
        Columns of the table that served the match.
    words : str
        How rows were matched.
    """

    rows: np.ndarray
    height: int
    used: frozenset[str]
    words: str

    @property
    def matched(self) -> int:
        """Number of rows of the dataset with a row in the table."""
        return int((self.rows >= 0).sum())

    @property
    def used_rows(self) -> int:
        """Number of rows of the table that belong to a row of the dataset."""
        return len(np.unique(self.rows[self.rows >= 0]))


def by_key(catalog: CatalogFile, keys: Sequence[str], file: TableFile, on: tuple[str, str] | None) -> Match:
    """Match rows of equal names or numbers.

    Parameters
    ----------
    catalog : CatalogFile
        The catalogue of the dataset.
    keys : sequence of str
        Its columns of texts and integers.
    file : TableFile
    on : (str, str), optional
        The column in the dataset, and that in the table. By default the first of `object_id`, `iauname` and `id_str`
        that both have (`object_id` with `source`, if the table has that as well), else `object_id` in the dataset and
        the first of these in the table.

    Raises
    ------
    UsageError
        If there is no such column, or no row matches.
    BuildError
        If names are not unique in the table, or cannot be compared.
    """
    ours, theirs = _key_columns(keys, file, on)
    known = pa.chunked_array([_joined([_key(file, name) for name in theirs])])
    wanted = _joined([column.cast(pa.string()) for column in catalog.table(ours).columns])
    if repeated := _repeated(known):
        hint = f"; with column {SOURCE!r}, `on` need not be given" if SOURCE in file.names and on else ""
        name = ", ".join(theirs)
        raise BuildError(f"{file.origin}: column {name}: expected every value once, found {repeated}{hint}")
    found = pc.index_in(wanted, known.combine_chunks().drop_null())
    # `index_in` counts the values that are there, not the rows
    places = np.flatnonzero(pc.is_valid(known).to_numpy(zero_copy_only=False))
    at = found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    rows = np.where(at < 0, -1, np.append(places, -1)[at])
    words = ", ".join(ours) if ours == theirs else f"{ours[0]} = {theirs[0]}"
    match = Match(rows, len(known), frozenset(theirs), f"equal {words}")
    if not match.matched:
        examples = f"{_example(wanted)} here, {_example(known)} in {', '.join(theirs)} of the table"
        raise UsageError(
            f"{file.origin}: none of its {counted(len(known), 'rows')} has the {', '.join(ours)} of one of"
            f" {counted(len(wanted), 'rows')}:"
            f" {examples}; match by other columns with `on`, or by position with `radius_arcsec`"
        )
    return match


def by_position(
    catalog: CatalogFile, file: TableFile, radius_arcsec: Any, position: tuple[str, str] | None = None
) -> Match:
    """Match each row of a dataset with the nearest row of a table within a radius.

    Parameters
    ----------
    catalog : CatalogFile
    file : TableFile
    radius_arcsec : float or Quantity
    position : (str, str), optional
        Columns of right ascension and declination in the table; default `ra` and `dec` in any case.

    Raises
    ------
    UsageError
        If there is no such column, or no row within the radius.
    """
    ra, dec = _position(file, position)
    read = file.read([file.names.index(ra), file.names.index(dec)])
    columns = {
        role: pa.chunked_array([_degrees(file, values, column.name, name)])
        for role, name, (column, values) in zip((RA, DEC), POSITION, read, strict=True)
    }
    ours = columns_of(catalog.table(POSITION), "a", None)
    rows = np.full(len(catalog), -1)
    first, second, _ = pairs(ours, columns, None, radius_arcsec, "nearest")
    rows[first] = second
    words = f"within {getattr(radius_arcsec, 'value', radius_arcsec):g} {getattr(radius_arcsec, 'unit', 'arcsec')}"
    match = Match(rows, len(columns[RA]), frozenset((ra, dec)), words)
    if not match.matched:
        raise UsageError(
            f"{file.origin}: none of its {counted(match.height, 'positions')} lies {words} of one of"
            f" {counted(len(catalog), 'rows')}:"
            f" {_place(ours)} here, {_place(columns)} in {ra}, {dec} of the table; are both in degrees (ICRS)?"
        )
    return match


def _key_columns(keys: Sequence[str], file: TableFile, on: tuple[str, str] | None) -> tuple[list[str], list[str]]:
    if on is None:
        both = [name for name in TABLE_ID_COLUMNS if name in keys and name in file.names]
        other = next((name for name in TABLE_ID_COLUMNS if name in file.names), None)
        if both:
            names = [both[0], SOURCE] if both[0] == "object_id" and SOURCE in file.names else both[:1]
            return names, names
        if other is None:
            raise UsageError(
                f"{file.origin}: no column {' or '.join(TABLE_ID_COLUMNS)}; name one with `on`, or match by position"
                f" with `radius_arcsec`; its columns: {', '.join(file.names)}"
            )
        return ["object_id"], [other]
    ours, theirs = on
    if ours not in keys:
        raise UsageError(f"on: the dataset has no column {ours!r} of names or integers; it has {', '.join(keys)}")
    if theirs not in file.names:
        there = ", ".join(file.names)
        advice = "" if ours != theirs else f"; for a column of another name: {ours},NAME"
        raise UsageError(f"on: {file.origin} has no column {theirs!r}, but {there}{advice}")
    return [ours], [theirs]


def _key(file: TableFile, name: str) -> pa.ChunkedArray:
    """Read a column of names or integers as text; null where missing."""
    place = file.names.index(name)
    if pa.types.is_floating(file.raw.types[place]):
        return _whole(file, name, place)
    [column] = file.look([place], text=[place])
    if column.type is None:
        raise BuildError(f"{file.origin}: column {name}: expected names or integers, found {column.note}")
    return pa.chunked_array([batch for [batch] in file.batches([column])], pa.string())


def _whole(file: TableFile, name: str, place: int) -> pa.ChunkedArray:
    """Read numbers that became floats, as pandas' integers do where some are missing; they must still be exact."""
    [(_, values)] = file.read([place])
    numbers = values.cast(pa.float64()).to_numpy()
    there = np.isfinite(numbers)
    if (there & ((numbers % 1 != 0) | (np.abs(numbers) > EXACT))).any():
        wrong = numbers[there & ((numbers % 1 != 0) | (np.abs(numbers) > EXACT))][0].item()
        raise BuildError(
            f"{file.origin}: column {name}: expected names or integers, found floats such as {wrong!r}, which lose"
            " digits of long numbers; write it as text or 64-bit integers"
        )
    whole = pa.array(np.where(there, numbers, 0).astype(np.int64), mask=~there)
    return pa.chunked_array([whole.cast(pa.string())])


def _joined(columns: Sequence[pa.ChunkedArray]) -> pa.Array:
    parts = [column.combine_chunks() for column in columns]
    parts = [part.combine_chunks() if isinstance(part, pa.ChunkedArray) else part for part in parts]
    return parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, "\0")


def _repeated(known: pa.ChunkedArray) -> str:
    """Describe a value that occurs more than once; "" if there is none."""
    there = known.drop_null()
    if pc.count_distinct(there).as_py() == len(there):
        return ""
    counts = pc.value_counts(there)
    several = counts.filter(pc.greater(counts.field("counts"), 1))
    value, count = several[0]["values"].as_py(), several[0]["counts"].as_py()
    more = f", and {len(several) - 1:,} others more than once" if len(several) > 1 else ""
    return f"{_shown(value)} in {counted(count, 'rows')}{more}"


def _example(values: pa.Array | pa.ChunkedArray) -> str:
    there = values.drop_null()
    return _shown(there[0].as_py()) if len(there) else "nothing"


def _shown(value: str) -> str:
    return ", ".join(repr(part)[:60] for part in value.split("\0"))


def _position(file: TableFile, given: tuple[str, str] | None) -> tuple[str, str]:
    lower = {name.lower(): name for name in reversed(file.names)}
    wanted = given or POSITION
    found = tuple(name if name in file.names else lower.get(name.lower()) for name in wanted)
    if None in found:
        there = ", ".join(file.names)
        raise UsageError(f"position: {file.origin} has no columns {' and '.join(wanted)}, but {there}; name them")
    return found  # type: ignore[return-value]


def _degrees(file: TableFile, values: pa.ChunkedArray, column: str, name: str) -> np.ndarray:
    unit = file.raw.words[file.names.index(column)].unit if file.names.index(column) in file.raw.words else ""
    try:
        found = positions.degrees(values, name)
        return found if unit in ("", "deg") or pa.types.is_string(values.type) else _from_unit(found, unit)
    except (ValueError, pa.ArrowException) as error:
        raise UsageError(f"{file.origin}: column {column}: {error}") from error


def _from_unit(values: np.ndarray, unit: str) -> np.ndarray:
    from astropy import units

    try:
        return units.Quantity(values, units.Unit(unit)).to_value("deg")
    except units.UnitConversionError:
        raise ValueError(f"expected an angle, found the unit {unit}") from None


def _place(columns: Any) -> str:
    ra, dec = (columns[role].cast(pa.float64()).to_numpy() for role in (RA, DEC))
    placed = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    return f"({ra[placed[0]]:.5f}, {dec[placed[0]]:.5f})" if len(placed) else "none"
