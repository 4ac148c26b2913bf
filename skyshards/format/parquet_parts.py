"""Write a Parquet file with a VOTable's metadata from parts, of which no more than a row group is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from skyshards.format import votable

Parts = Callable[[], Iterable[pa.Table]]
"""Gives the rows of a table in order, in parts of any length, each time it is called."""


def write(
    path: Path,
    name: str,
    schema: pa.Schema,
    parts: Parts,
    group_rows: int,
    metadata: Mapping[str, str] | None = None,
    options: Callable[[pa.Table], Mapping[str, Any]] = lambda first: {},
) -> None:
    """Write the parts, which are asked for twice: what texts they have must be known before the first is written.

    The bytes do not depend on how rows are divided into parts.

    Parameters
    ----------
    path : Path
    name : str
        Name of the table.
    schema : pyarrow.Schema
        Of each part; fields carry `description` and `unit`.
    parts : callable
    group_rows : int
        Rows of a row group.
    metadata : mapping, optional
        Further metadata.
    options : callable
        Returns options of `pyarrow.parquet.ParquetWriter` for the first row group.
    """
    lengths = {field.name: 1 for field in schema if votable.is_text(field.type)}
    chosen: Mapping[str, Any] | None = None
    for group in in_groups(parts(), group_rows):
        chosen = options(group) if chosen is None else chosen
        lengths = {column: max(length, votable.text_length(group[column])) for column, length in lengths.items()}
    stored = schema.with_metadata(votable.metadata_of(name, schema, lengths) | dict(metadata or {}))
    with pq.ParquetWriter(
        path, stored, compression="zstd", **(options(schema.empty_table()) if chosen is None else chosen)
    ) as writer:
        if chosen is None:
            writer.write_table(stored.empty_table())
        for group in in_groups(parts(), group_rows):
            writer.write_table(group.cast(stored), group_rows)


def in_groups(parts: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Yield the rows of tables in tables of `rows` rows, but for the last, with contiguous columns."""
    held: list[pa.Table] = []
    count = 0
    for part in parts:
        while len(part):
            head = part.slice(0, rows - count)
            part = part.slice(len(head))
            held.append(head)
            count += len(head)
            if count == rows:
                yield _joined(held)
                count = 0
    if held:
        yield _joined(held)


def _joined(tables: list[pa.Table]) -> pa.Table:
    """Join tables, and empty their list, so that they are not in memory twice."""
    table = pa.concat_tables(tables)
    tables.clear()
    for place, field in enumerate(table.schema):
        table = table.set_column(place, field, pa.chunked_array([table[place].combine_chunks()], field.type))
    return table
