"""Output file of a crossmatch: Parquet, FITS, VOTable or CSV, by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from skyshards.errors import UsageError
from skyshards.export.catalogue import astropy_table, for_votable
from skyshards.files import clear_errors, replacing
from skyshards.format import parquet_parts
from skyshards.read import join_file
from skyshards.read.table import Table

ASTROPY = {".fits": "fits", ".fit": "fits", ".vot": "votable", ".xml": "votable", ".votable": "votable"}
GROUP_ROWS = 1 << 18
"""Rows of a row group in Parquet."""
FORMATS = (".parquet", ".csv", *ASTROPY)
DESCRIPTIONS = {
    "id_a": "name of the row of A",
    "id_b": "name of the row of B",
    "row_a": "number of the row of A, from 0",
    "row_b": "number of the row of B, from 0",
    "separation": "angle between the positions",
}


def check_name(path: Path) -> None:
    """Raise `UsageError` unless the file name has the extension of a supported format."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"out: expected a name that ends in {', '.join(FORMATS)}, found {str(path)!r}")


def write_pairs(
    schema: pa.Schema, parts: Callable[[], Iterable[pa.Table]], path: Path, a: Table | None, b: Table | None
) -> None:
    """Write pairs, which are given in parts, with descriptions and units if the format has them.

    Parquet and CSV are written a part at a time. Parquet for the tables `a` and `b` of two built datasets becomes a
    join file.
    """
    schema = pa.schema([_described(field) for field in schema])
    with clear_errors(path.parent), replacing(path) as temporary:
        if path.suffix.lower() == ".parquet":
            words = {key.decode(): text for key, text in (_join(a, b, path) if a and b else {}).items()}
            parquet_parts.write(temporary, "pairs", schema, parts, GROUP_ROWS, words)
        elif path.suffix.lower() == ".csv":
            with csv.CSVWriter(temporary, schema) as writer:
                for part in parts():
                    writer.write_table(part.cast(schema))
        else:
            pairs = pa.concat_tables([schema.empty_table(), *(part.cast(schema) for part in parts())])
            known = [_without_nulls(pairs[name]) for name in pairs.column_names]
            form, written = ASTROPY[path.suffix.lower()], pa.table(known, schema=pairs.schema)
            written = for_votable(written) if form == "votable" else written
            astropy_table(written).write(temporary, format=form, overwrite=True)


def _join(a: Table, b: Table, path: Path) -> dict[bytes, str]:
    names = ("a", "b") if a.name == b.name else (a.name, b.name)
    return join_file.metadata({names[0]: (a, "row_a"), names[1]: (b, "row_b")}, ["separation"], path)


def _without_nulls(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(column, "") if pa.types.is_string(column.type) else column


def _described(field: pa.Field) -> pa.Field:
    unit = {"unit": "arcsec"} if field.name == "separation" else {}
    return field.with_metadata({"description": DESCRIPTIONS[field.name]} | unit)
