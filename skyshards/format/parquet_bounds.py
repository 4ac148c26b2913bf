"""Bound the memory of a Parquet file before reading it: a few bytes may expand to any number of values."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

LEAST = 256 << 20
"""Bytes of memory that any file may take."""
MAX_INFLATION = 64
"""Memory allowed on top, as a multiple of the file's length; real catalogues take two to ten times that length."""
BATCH = 128
"""Rows per batch when measuring lists of text."""


def check_memory(file: str | Path | io.BytesIO, parquet: pq.ParquetFile, names: Sequence[str]) -> None:
    """Raise `ValueError` if columns of a file would take far more memory than a catalogue of its length.

    Parameters
    ----------
    file : path or io.BytesIO
    parquet : pyarrow.parquet.ParquetFile
        The same file, opened.
    names : sequence of str
        Columns of numbers or text, or lists of a fixed length of these.
    """
    length = len(file.getbuffer()) if isinstance(file, io.BytesIO) else os.path.getsize(file)
    most, metadata = LEAST + MAX_INFLATION * length, parquet.metadata
    places = [n for n in range(metadata.num_columns) if metadata.schema.column(n).path.partition(".")[0] in names]
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = [group.column(n) for group in groups for n in places]
    rows = max(metadata.num_rows, sum(group.num_rows for group in groups))
    fixed = rows * sum(_width(parquet.schema_arrow.field(name).type) for name in names)
    _check(max(fixed, sum(chunk.total_uncompressed_size for chunk in chunks)), most)
    # Plain text takes as much memory as in the file; a dictionary may repeat one long text in all rows.
    folded = {chunk.path_in_schema for chunk in chunks if _is_folded(chunk)}
    for name in names:
        if any(path == name or path.startswith(f"{name}.") for path in folded):
            is_flat = name in folded
            opened = pq.ParquetFile(file, read_dictionary=[name] if is_flat else None)
            for batch in _parts(opened, name, is_flat):
                fixed += _text_bytes(batch)
                _check(fixed, most)


def _check(found: int, most: int) -> None:
    if found > most:
        raise ValueError(f"its columns take {found:,} bytes of memory, expected at most {most:,}")


def _width(kind: pa.DataType) -> int:
    """Return the bytes of a value in memory, without the characters of text."""
    if pa.types.is_dictionary(kind):
        return _width(kind.index_type)
    if pa.types.is_fixed_size_list(kind):
        return kind.list_size * _width(kind.value_type)
    if pa.types.is_string(kind):
        return 4
    if not pa.types.is_primitive(kind):
        raise ValueError(f"a column of the type {kind}, expected numbers or text")
    return max(1, kind.bit_width // 8)


def _is_folded(chunk: pq.ColumnChunkMetaData) -> bool:
    return chunk.physical_type == "BYTE_ARRAY" and any("DICTIONARY" in encoding for encoding in chunk.encodings)


def _parts(parquet: pq.ParquetFile, name: str, is_flat: bool) -> Any:
    if not is_flat:
        return (batch.column(0) for batch in parquet.iter_batches(BATCH, columns=[name], use_threads=False))
    groups = (parquet.read_row_group(n, columns=[name]) for n in range(parquet.num_row_groups))
    return (chunk for group in groups for chunk in group.column(0).chunks)


def _text_bytes(texts: pa.Array) -> int:
    """Return the total bytes of the texts in an array, expanding dictionaries."""
    if pa.types.is_fixed_size_list(texts.type):
        texts = texts.flatten()
    if not pa.types.is_dictionary(texts.type):
        return pc.sum(pc.binary_length(texts)).as_py() or 0
    lengths = pc.binary_length(texts.dictionary).cast(pa.int64())
    return pc.sum(lengths.take(texts.indices)).as_py() or 0
