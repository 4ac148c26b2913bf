"""Readers of a folder's Parquet files in other programs, for the contract."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import registry
from astropy.table import Table


def read_votable(path):
    schema = pq.read_schema(path)
    if "parquet.votable" not in registry.get_formats(Table)["Format"]:  # new in astropy 6.1.1 or 7
        return None
    if any(pa.types.is_fixed_size_list(kind) and pa.types.is_string(kind.value_type) for kind in schema.types):
        return None
    return dict(Table.read(path, format="parquet.votable").columns)


def read_polars(path):
    frame = pytest.importorskip("polars").read_parquet(path)
    return {column.name: column.to_list() for column in frame}


def read_duckdb(path):
    columns = pytest.importorskip("duckdb").sql(f"select * from '{path}'").to_arrow_table()
    return dict(zip(columns.column_names, columns.to_pydict().values(), strict=True))


OTHER_PROGRAMS = {
    "astropy": lambda path: dict(Table.read(path).columns),
    "astropy.votable": read_votable,
    "pandas": lambda path: dict(pd.read_parquet(path).items()),
    "polars": read_polars,
    "duckdb": read_duckdb,
}
"""Readers of Parquet files in other programs: values by column name, or None for a known limitation."""
