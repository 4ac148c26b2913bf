"""Bound the memory of a Parquet file before reading it: a few bytes may expand to any number of values."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

LEAST = 256 << 20
"""Bytes of memory that any file may take."""
MAX_INFLATION = 64
"""Memory allowed on top, as a multiple of the file's length; real catalogues take two to ten times that length."""
BATCH = 128
"""Rows per batch when measuring lists of text."""

Open = Callable[[list[str]], pq.ParquetFile]
"""Opens a file once more, with these columns read as dictionaries."""


class MemoryBound:
    """Bounds the memory of a file's columns, which may be read a few at a time.

    Parameters
    ----------
    length : int
        Bytes of the file.
    parquet : pyarrow.parquet.ParquetFile
    names : sequence of str
        All columns that may be read: numbers or text, or lists of a fixed length of these.
    coded : collection of str
        Those of text that stay dictionaries in memory.

    Raises
    ------
    ValueError
        If they would take far more memory than those of a catalogue of this length.
    """

    def __init__(self, length: int, parquet: pq.ParquetFile, names: Sequence[str], coded: Collection[str] = ()):
        self._most, self._metadata = LEAST + MAX_INFLATION * length, parquet.metadata
        paths = [self._metadata.schema.column(n).path for n in range(self._metadata.num_columns)]
        self._places = {
            name: [n for n, path in enumerate(paths) if path == name or path.startswith(f"{name}.")] for name in names
        }
        groups = range(self._metadata.num_row_groups)
        rows = max(self._metadata.num_rows, sum(self._metadata.row_group(group).num_rows for group in groups))
        self._taken = rows * sum(_width(parquet.schema_arrow.field(name).type) for name in names)
        self._stored, self._coded = 0, coded
        self._added: set[tuple[int, str]] = set()
        self._check()

    def add(self, group: int, names: Iterable[str], open_file: Open) -> None:
        """Add columns of a row group to what is read. Raises `ValueError` if all of it would take too much memory."""
        chunks = self._metadata.row_group(group)
        for name in names:
            if (group, name) in self._added:
                continue
            self._added.add((group, name))
            for chunk in map(chunks.column, self._places[name]):
                self._stored += chunk.total_uncompressed_size
                self._check()
                # Plain text takes as much memory as in the file; a dictionary may repeat one long text in all rows.
                folded = chunk.physical_type == "BYTE_ARRAY" and any("DICTIONARY" in each for each in chunk.encodings)
                if folded and name not in self._coded:
                    for texts in _parts(open_file, group, name, is_flat=chunk.path_in_schema == name):
                        self._taken += _text_bytes(texts)
                        self._check()

    def _check(self) -> None:
        if (found := max(self._taken, self._stored)) > self._most:
            raise ValueError(f"its columns take {found:,} bytes of memory, expected at most {self._most:,}")


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
    bound = MemoryBound(length, parquet, names)
    for group in range(parquet.num_row_groups):
        bound.add(group, names, lambda folded: pq.ParquetFile(file, read_dictionary=folded))


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


def _parts(open_file: Open, group: int, name: str, is_flat: bool) -> Iterable[pa.Array]:
    """Yield the texts of a column in a row group."""
    if is_flat:
        return open_file([name]).read_row_group(group, columns=[name]).column(0).chunks
    batches = open_file([]).iter_batches(BATCH, row_groups=[group], columns=[name], use_threads=False)
    return (batch.column(0) for batch in batches)


def _text_bytes(texts: pa.Array) -> int:
    """Return the total bytes of the texts in an array, expanding dictionaries."""
    if pa.types.is_fixed_size_list(texts.type):
        texts = texts.flatten()
    if not pa.types.is_dictionary(texts.type):
        return pc.sum(pc.binary_length(texts)).as_py() or 0
    lengths = pc.binary_length(texts.dictionary).cast(pa.int64())
    return pc.sum(lengths.take(texts.indices)).as_py() or 0
