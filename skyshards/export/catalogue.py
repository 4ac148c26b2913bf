"""Export the catalogue of a built dataset or a join in astronomical formats, or its sky coverage."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.io.votable.tree import VOTableFile
from astropy.table import Column, MaskedColumn, Table

from skyshards.errors import UsageError
from skyshards.export.content import Content, content_of
from skyshards.files import clear_errors, replacing
from skyshards.format import catalog_schema, healpix, votable
from skyshards.format.columns import in_words
from skyshards.format.layout import SPLIT
from skyshards.read.joined import JoinedTable
from skyshards.read.table import Table as BuiltTable

MOC_ORDER = 10
"""HEALPix order of a coverage map: pixels of 3.4 arcmin."""
SIMULATED = "Simulated data: these galaxies are made up."
_WIDER = {"int8": "int16", "uint16": "int32", "uint32": "int64", "float16": "float32"}
"""Types that FITS and VOTable lack, and the wider types to use instead."""


def write_catalogue(source: str | os.PathLike | BuiltTable | JoinedTable, out: Path, form: str) -> int:
    """Write the light columns of every row to one file; return the number of rows.

    Parameters
    ----------
    source : path, URL, Table or JoinedTable
        A built dataset, the file of a saved join, or a join, as for `export`. Columns of a join are named as there.
    out : Path
        The output file, which must not exist.
    form : str
        "fits", "votable", "csv" or "parquet"; or "moc" for a FITS file of the sky coverage.

    Raises
    ------
    UsageError
        If the file exists, a table is a selection, or the format cannot hold the values.
    FolderError
        If `source` is neither a built dataset nor a join.
    BuildError
        If the disk is full, or the file cannot be written.
    """
    if out.exists():
        raise UsageError(f"{out}: exists already; delete it, or choose another file")
    content = content_of(source)
    with clear_errors(out), replacing(out) as path:
        FORMATS[form](content, path)
    return len(content)


def _light(content: Content) -> pa.Table:
    """Return the columns to write, with descriptions and units; with several splits, also `_split`."""
    fields, columns = catalog_schema.stored_schema(content.specs), dict(content.light())
    columns |= {SPLIT: content.first.values(SPLIT)} if len(content.splits) > 1 else {}
    return pa.table(columns).cast(pa.schema([fields.field(name) for name in columns]))


def _parquet(content: Content, path: Path) -> None:
    table = _light(content)
    pq.write_table(table.replace_schema_metadata(votable.metadata(content.name, table)), path, compression="zstd")


def _csv(content: Content, path: Path) -> None:
    pacsv.write_csv(_as_json(_light(content), pa.types.is_nested), path)


def _as_json(table: pa.Table, which: Callable[[pa.DataType], bool]) -> pa.Table:
    """Convert the lists in columns of matching type to JSON text."""
    for place, field in enumerate(table.schema):
        if which(field.type):
            lists = table[field.name].to_pylist()
            text = [None if values is None else json.dumps(values, ensure_ascii=False) for values in lists]
            table = table.set_column(place, field.with_type(pa.string()), pa.array(text, pa.string()))
    return table


def _fits(content: Content, path: Path) -> None:
    table = astropy_table(_light(content))
    for column in table.columns.values():
        if column.dtype.kind == "U":
            _check_ascii(column)
    hdu = fits.table_to_hdu(table)
    hdu.header["EXTNAME"] = content.name
    for number, column in enumerate(table.columns.values(), 1):
        hdu.header[f"TCOMM{number}"] = column.description.encode("ascii", "replace").decode()
    if content.simulated:
        hdu.header["COMMENT"] = SIMULATED
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path, overwrite=True)


def _check_ascii(column: Column) -> None:
    try:
        np.char.encode(column, "ascii")
    except UnicodeEncodeError as error:
        found = f"expected ASCII in column {column.name!r}, found {error.object!r}"
        raise UsageError(f"FITS holds only ASCII text: {found}; choose another format, such as votable") from None


def _votable(content: Content, path: Path) -> None:
    document = VOTableFile.from_table(astropy_table(for_votable(_light(content))))
    table = document.get_first_table()
    table.name, table.description = content.name, SIMULATED if content.simulated else None
    document.to_xml(str(path))


def for_votable(table: pa.Table) -> pa.Table:
    """Convert the columns that astropy cannot write as VOTable.

    Lists of text or uint64 become JSON, and uint64 becomes int64, or decimal text if a value is too large for that.
    """
    table = _as_json(table, lambda kind: pa.types.is_nested(kind) and kind.value_type in (pa.string(), pa.uint64()))
    for place, field in enumerate(table.schema):
        if field.type == pa.uint64():
            column = table[field.name]
            fits_in = (pc.max(column).as_py() or 0) < 1 << 63
            kind = pa.int64() if fits_in else pa.string()
            table = table.set_column(place, field.with_type(kind), column.cast(kind))
    return table


def astropy_table(light: pa.Table) -> Table:
    """Convert to an astropy table with units, descriptions and class names, in types of FITS and VOTable."""
    table = Table()
    for field in light.schema:
        words = votable.words_of(field)
        names = in_words(json.loads(words.get("classes", "[]")))
        description = words["description"] + (f" ({names})" if names else "")
        values = _array(light[field.name])
        kind = MaskedColumn if isinstance(values, np.ma.MaskedArray) else Column
        table.add_column(kind(values, name=field.name, unit=words.get("unit"), description=description))
    return table


def _array(column: pa.ChunkedArray) -> np.ndarray:
    """Convert a column to an array; nulls become NaN or "", and are masked in other types."""
    values = column.combine_chunks()
    nested = pa.types.is_fixed_size_list(column.type)
    size = column.type.list_size if nested else 1
    flat = values.values.slice(values.offset * size, len(values) * size) if nested else values
    shape = (len(values), size) if nested else (len(values),)
    absent = np.repeat(values.is_null().to_numpy(zero_copy_only=False), size)
    if pa.types.is_string(flat.type):
        texts = zip(flat.to_pylist(), absent.tolist(), strict=True)
        return np.array(["" if is_absent else text for text, is_absent in texts], dtype=str).reshape(shape)
    if absent.any() and pa.types.is_boolean(flat.type):
        flat = flat.cast(pa.int8())  # astropy writes masked bools as true
    array = (flat.fill_null(0) if flat.null_count else flat).to_numpy(zero_copy_only=False)
    array = array.astype(_WIDER.get(array.dtype.name, array.dtype.name))
    if array.dtype.kind == "f":
        array = np.where(absent, np.array(np.nan, array.dtype), array)
    elif absent.any():
        array = np.ma.array(array, mask=absent)
    return array.reshape(shape)


def _moc(content: Content, path: Path) -> None:
    try:
        from mocpy import MOC
    except ImportError:
        raise UsageError("format: moc needs the package mocpy: pip install 'skyshards[hats]'") from None
    ra, dec = (content.first.values(name).to_numpy() for name in ("ra", "dec"))
    pixels = np.unique(healpix.pixel_of(ra, dec, 1 << MOC_ORDER))
    orders = np.full(len(pixels), MOC_ORDER, np.uint8)
    coverage = MOC.from_healpix_cells(pixels.astype(np.uint64), orders, max_depth=MOC_ORDER)
    coverage.save(path, format="fits", overwrite=True)


FORMATS: dict[str, Callable[[Content, Path], None]] = {
    "fits": _fits,
    "votable": _votable,
    "csv": _csv,
    "parquet": _parquet,
    "moc": _moc,
}
