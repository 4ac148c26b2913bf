"""Read the required catalogue columns from any table that has them; 64-bit identifiers stay exact."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
from astropy.io import votable

from gz_sdss import further_columns
from gz_sdss.cuts import BANDS
from gz_sdss.further_columns import FURTHER, Further
from skyshards.errors import BuildError
from skyshards.files import replacing
from skyshards.input_tables.formats import InMemory
from skyshards.input_tables.guess import Guess, converted
from skyshards.input_tables.positions import degrees
from skyshards.input_tables.table_file import InputColumn, TableFile, open_table

IDENTIFIERS = ("dr7objid", "specobjid", "objid")
"""64-bit identifiers beyond 2**53, which floats cannot hold."""
POSITION = ("ra", "dec")
KEPT = (
    *IDENTIFIERS,
    *POSITION,
    "p_el_debiased",
    "p_cs_debiased",
    "spiral",
    "elliptical",
    "petroR50_r",
    "petroR90_r",
    *(f"modelMag_{band}" for band in BANDS),
    *(f"extinction_{band}" for band in BANDS),
)
"""Columns of the filtered table."""
NEEDED = (*KEPT, *(f"modelMagErr_{band}" for band in BANDS))
"""Columns of the whole table: those kept, and those used only for cuts."""


def safe_to_numeric(col: pd.Series) -> pd.Series:
    """Convert a column to numbers if all its values allow; otherwise return it unchanged.

    Integers with gaps become nullable Int64, so that no identifier passes through a float; other numbers become
    float64, with NaN for missing values. In text, blanks, "nan", "None" and the like are missing values. Times,
    Booleans and integers beyond 64 bits are left unchanged.

    Parameters
    ----------
    col : pandas.Series
    """
    if pd.api.types.is_numeric_dtype(col) or col.dtype.kind in "mM":
        return col
    text = pa.array([str(value) if there else None for value, there in zip(col, col.notna(), strict=True)], pa.string())
    guess = Guess()
    guess.take(text)
    kind = guess.type or pa.float64()
    if not (pa.types.is_signed_integer(kind) or pa.types.is_floating(kind)):
        return col
    numbers = _numbers(converted(text, kind))
    numbers.index, numbers.name = col.index, col.name
    return numbers if numbers.hasnans or not pa.types.is_integer(kind) else numbers.astype("int64")


def _numbers(values: pa.Array | pa.ChunkedArray) -> pd.Series:
    """Integers as nullable Int64, anything else as float64."""
    if pa.types.is_integer(values.type):
        return values.to_pandas(types_mapper=lambda _: pd.Int64Dtype())
    return values.cast(pa.float64()).to_pandas()


def places(table: TableFile) -> dict[str, int]:
    """Locate the columns `NEEDED` in a table, ignoring case.

    If both tables of a join have positions, the float64 ones are taken.

    Raises
    ------
    BuildError
        A column is missing or occurs twice; for positions, unless exactly one of the two is float64.
    """
    names, found, missing = table.names, {}, []
    for name in NEEDED:
        here = _places(name, names)
        if len(here) > 1 and name in POSITION:  # those of float32 are off by up to 0.05 arcsec
            here = [place for place in here if table.raw.types[place] == pa.float64()] or here
        if len(here) > 1:
            kind = " of float64" if name in POSITION else ""
            raise BuildError(
                f"{table.origin}: expected one column {name}{kind}, found {', '.join(names[place] for place in here)};"
                f" remove or rename all but the right one, and name that {name}"
            )
        if here:
            found[name] = here[0]
        else:
            missing.append(name)
    if missing:
        raise BuildError(f"{table.origin}: lacks the columns {', '.join(missing)}; it has {', '.join(names)}")
    return found


def _places(name: str, names: Sequence[str]) -> list[int]:
    """Indices of the names that may denote a column."""
    if name in POSITION:
        # Both tables of the join have positions, and a server renames one: to `ra_` or `ra_1`, say.
        return [place for place, other in enumerate(names) if re.fullmatch(rf"{name}[\W_]*\d?", other, re.IGNORECASE)]
    # `objid` (DR8) and `objID` (DR7) differ only in case, so the exact name comes first.
    exact = [place for place, other in enumerate(names) if other == name]
    return exact or [place for place, other in enumerate(names) if other.lower() == name.lower()]


def typed(
    table: TableFile, keep: Sequence[str] = (), known: Mapping[str, Further] | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Read the required columns, and further ones, with their types.

    Parameters
    ----------
    table : TableFile
    keep : sequence of str
        Names or patterns of further columns.
    known : mapping of str to Further, optional
        What is known of them already, where the table's format cannot say it.

    Returns
    -------
    pandas.DataFrame
        The columns `NEEDED`: identifiers nullable Int64, all others float64, positions in degrees, right ascensions
        from 0 to 360. Then the further ones, which are described by `attrs["further"]`.
    list of str
        Further columns that rows cannot have, and why.

    Raises
    ------
    BuildError
        As for `places`; or a column cannot be converted, or an identifier is a float.
    UsageError
        There is no further column of a name or pattern in `keep`.
    """
    where = places(table)
    more, notes = further_columns.find(table, keep, where, set(NEEDED) - set(KEPT), known)
    likely = {place: pa.int64() if name in IDENTIFIERS else pa.float64() for name, place in where.items()}
    found = table.read(list(where.values()), likely)
    columns = {}
    for name in where:
        column, values = found.pop(0)  # released, so that the table is not in memory twice
        try:
            columns[name] = _typed_column(name, column, values)
        except ValueError as error:
            raise BuildError(f"{table.origin}: column {name}: {error}") from error
    columns |= further_columns.read(table, {name: more[name] for name in more if name not in columns})
    frame = pd.DataFrame(columns, copy=False)
    if more:
        frame.attrs[FURTHER] = {name: list(about) for name, (_, about) in more.items()}
    return frame, notes


def _typed_column(name: str, column: InputColumn, values: pa.ChunkedArray) -> pd.Series:
    if column.type is None and column.note != "empty":
        raise ValueError(f"expected numbers, found {column.note}")
    if name in POSITION:
        return pd.Series(degrees(values, name))
    if name in IDENTIFIERS:
        if column.type not in (pa.int64(), None):
            kind = f"text ({column.note})" if pa.types.is_string(column.type) else column.type
            raise ValueError(f"expected 64-bit integers, found {kind}; identifiers lose digits as floats")
        return _numbers(values.cast(pa.int64()))
    if column.type == pa.string():
        raise ValueError(f"expected numbers, found {column.note}")
    return _numbers(values.cast(pa.float64()))


def of_votable(element: votable.tree.TableElement, origin: str, keep: Sequence[str] = ()) -> pd.DataFrame:
    """Read a VOTable's table, as `typed` does."""
    return typed(TableFile(origin, InMemory.of_votable(element)), keep)[0]


def read_table(path: Path, keep: Sequence[str] = (), known: Mapping[str, Further] | None = None) -> pd.DataFrame:
    """Read a catalogue file, as `typed` does. Raises `BuildError` if it cannot be read, or lacks columns."""
    return typed(open_table(path), keep, known)[0]


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as compressed CSV, whole or not at all; missing values are empty fields."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    with (
        replacing(path) as temporary,
        open(temporary, "wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as file,  # without the temporary file's name
    ):
        has_text = any(pa.types.is_string(kind) or pa.types.is_large_string(kind) for kind in arrow.schema.types)
        pa.csv.write_csv(arrow, file, pa.csv.WriteOptions(quoting_style="needed" if has_text else "none"))
