"""Catalogue tables on disk and in memory: read from CSV, Parquet or VOTable, with 64-bit identifiers kept exact."""

from __future__ import annotations

import contextlib
import gzip
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from astropy import units
from astropy.coordinates import Angle
from astropy.io import votable

from gz_sdss.cuts import BANDS
from skyshards.errors import BuildError
from skyshards.files import replacing

IDENTIFIERS = ("dr7objid", "specobjid", "objid")
"""64-bit, beyond 2**53: a float cannot hold them."""
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
"""Columns of the whole table: those kept, and those that are only cut on."""
GAPS = ("", "nan", "+nan", "-nan")
"""Texts, in lower case, that stand for a missing number."""


def safe_to_numeric(col: pd.Series) -> pd.Series:
    """A column as numbers if all of it can be numbers; the same column otherwise.

    Integers with gaps become nullable Int64, so that no identifier passes through a float; other numbers become
    float64, with NaN for what is missing. In text, "nan" (in any case) and blanks are missing values. Times, truth
    values and integers beyond 64 bits are left as they are.

    Parameters
    ----------
    col : pandas.Series
    """
    if pd.api.types.is_numeric_dtype(col) or col.dtype.kind in "mM":
        return col
    try:
        numbers = pd.to_numeric(_with_gaps(col), dtype_backend="numpy_nullable")
    except (ValueError, TypeError):
        return col
    if not pd.api.types.is_numeric_dtype(numbers):
        return col
    if not pd.api.types.is_integer_dtype(numbers):
        return _floats(numbers)
    return numbers if numbers.hasnans else numbers.astype(numbers.dtype.numpy_dtype)


def _with_gaps(col: pd.Series) -> pd.Series:
    """The column with nothing where there is a text of `GAPS`: pandas makes floats of integers beside a blank."""
    return col.mask(np.array([isinstance(value, str) and value.strip().lower() in GAPS for value in col], dtype=bool))


def _floats(col: pd.Series) -> pd.Series:
    return pd.Series(col.to_numpy("float64", na_value=np.nan), index=col.index, name=col.name)


def degrees(col: pd.Series, unit: units.Unit) -> pd.Series:
    """Angles as float64 degrees, whether they are numbers or sexagesimal strings such as "10:27:30.5" or "-1 16 06".

    Parameters
    ----------
    col : pandas.Series
    unit : astropy unit
        Of the first part of a sexagesimal string: hour for a right ascension, degree for a declination.

    Raises
    ------
    ValueError
        A string that is no angle.
    """
    numbers = safe_to_numeric(col)
    if pd.api.types.is_numeric_dtype(numbers):
        return _floats(numbers)
    angles = pd.Series(np.nan, index=col.index, name=col.name)
    there = _with_gaps(col).notna()
    angles[there] = Angle(col[there].astype(str).tolist(), unit=unit).degree
    return angles


def typed(names: Sequence[str], column: Callable[[int], pd.Series], origin: str) -> pd.DataFrame:
    """The columns that are needed, found whatever the case of their names, with their types.

    Where both tables of a join gave positions, those of float64 are taken.

    Parameters
    ----------
    names : sequence of str
        Of the columns there are.
    column : callable
        Gives one of them by its place among the names; called for those only that are needed, one after the other.
    origin : str
        Where they come from, for messages.

    Returns
    -------
    pandas.DataFrame
        The columns `NEEDED`: identifiers nullable Int64, all others float64, positions in degrees.

    Raises
    ------
    BuildError
        A column is missing, stands there twice, or cannot be what it should; an identifier is a float; a position
        stands there twice, and not just one of the two is float64.
    """
    table = {}
    missing = []
    for name in NEEDED:
        found = _places(name, names)
        if len(found) > 1 and name in POSITION:  # those of float32 are off by up to 0.05 arcsec
            found = [place for place in found if column(place).dtype == np.float64] or found
        if len(found) > 1:
            kind = " of float64" if name in POSITION else ""
            raise BuildError(
                f"{origin}: expected one column {name}{kind}, found {', '.join(names[place] for place in found)};"
                f" leave out, or give other names to, all but the one that is meant, and name that {name}"
            )
        if not found:
            missing.append(name)
            continue
        try:
            table[name] = _typed_column(name, column(found[0]))
        except (ValueError, TypeError) as error:
            raise BuildError(f"{origin}: column {name}: {error}") from error
    if missing:
        raise BuildError(f"{origin}: lacks the columns {', '.join(missing)}; it has {', '.join(names)}")
    return pd.DataFrame(table)


def _places(name: str, names: Sequence[str]) -> list[int]:
    """The places, among the names that there are, of those that a column may have."""
    if name in POSITION:
        # Both tables of the join have positions, and a server renames one: to `ra_` or `ra_1`, say.
        return [place for place, other in enumerate(names) if re.fullmatch(rf"{name}[\W_]*\d?", other, re.IGNORECASE)]
    # `objid` (DR8) and `objID` (DR7) differ in case alone, so the exact name comes first.
    exact = [place for place, other in enumerate(names) if other == name]
    return exact or [place for place, other in enumerate(names) if other.lower() == name.lower()]


def _typed_column(name: str, col: pd.Series) -> pd.Series:
    if name in POSITION:
        return degrees(col, units.hourangle if name == "ra" else units.deg)
    numbers = safe_to_numeric(col)
    if name in IDENTIFIERS:
        if numbers.isna().all():
            return pd.Series(pd.NA, index=col.index, dtype="Int64")
        if not pd.api.types.is_integer_dtype(numbers):
            raise ValueError(f"expected 64-bit integers, found {col.dtype}; identifiers lose digits as floats")
        return numbers.astype("Int64")
    if not pd.api.types.is_numeric_dtype(numbers):
        odd = (repr(value) for value in col.dropna() if not _is_number(value))
        raise ValueError(f"expected numbers, found {next(odd, f'{col.dtype} with integers beyond 64 bits')}")
    return _floats(numbers)


def _is_number(value: object) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def of_votable(element: votable.tree.TableElement, origin: str) -> pd.DataFrame:
    """The table of a VOTable, as `typed` gives it; integers do not pass through float, not even where some are NULL."""

    def column(place: int) -> pd.Series:
        array = element.array[element.array.dtype.names[place]]
        values, mask = np.ma.getdata(array), np.ma.getmaskarray(array)
        if values.dtype.kind == "i":
            return pd.Series(pd.arrays.IntegerArray(values.astype("int64"), mask))
        if values.dtype.kind == "f":
            return pd.Series(np.where(mask, np.nan, values))
        text = [value.decode() if isinstance(value, bytes) else value for value in values.tolist()]
        return pd.Series(text, dtype=object).mask(mask)

    return typed([field.name for field in element.fields], column, origin)


def read_table(path: Path) -> pd.DataFrame:
    """A catalogue from a file: CSV (also compressed), Parquet, or VOTable (`.vot`, `.xml`, `.votable`).

    Returns
    -------
    pandas.DataFrame
        As `typed` gives it.

    Raises
    ------
    BuildError
        The file cannot be read, or lacks columns.
    """
    suffix = path.name.removesuffix(".gz").rpartition(".")[2].lower()
    try:
        if suffix in ("vot", "xml", "votable"):
            return of_votable(votable.parse_single_table(str(path), verify="ignore"), str(path))
        arrow = pa.parquet.read_table(path) if suffix in ("parquet", "pq") else _read_csv(path)
    except (OSError, EOFError, ValueError, pa.ArrowException, IndexError) as error:
        raise BuildError(f"{path}: no table of CSV, Parquet or VOTable can be read from it: {error}") from error

    def column(place: int) -> pd.Series:
        values = arrow.column(place)
        if pa.types.is_integer(values.type):  # with gaps in it, pandas would make it float
            return values.to_pandas(types_mapper=lambda _: pd.Int64Dtype())
        return values.to_pandas()

    return typed(arrow.column_names, column, str(path))


def _read_csv(path: Path) -> pa.Table:
    """The table, with types found in it. To find them takes all of its text at once, so likely ones are tried first."""
    with pa.csv.open_csv(path) as reader:
        names = reader.schema.names
    if set(NEEDED) <= set(names) and all(len(_places(name, names)) == 1 for name in NEEDED):
        likely = {name: pa.int64() if name in IDENTIFIERS else pa.float64() for name in NEEDED}
        options = pa.csv.ConvertOptions(column_types=likely, include_columns=list(NEEDED))
        with contextlib.suppress(pa.ArrowInvalid):
            return pa.csv.read_csv(path, convert_options=options)
    return pa.csv.read_csv(path, convert_options=pa.csv.ConvertOptions(strings_can_be_null=True))


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, compressed, whole or not at all; what is missing is an empty field."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    with replacing(path) as temporary, gzip.GzipFile(temporary, "wb", compresslevel=1, mtime=0) as file:
        pa.csv.write_csv(arrow, file, pa.csv.WriteOptions(quoting_style="none"))
