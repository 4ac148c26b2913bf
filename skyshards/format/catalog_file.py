"""An opened `catalog.parquet`: its manifest, and columns that are read and checked when they are wanted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skyshards.errors import FolderError, NewerFormat
from skyshards.files import open_regular
from skyshards.format.catalog_checks import Checks, is_coded
from skyshards.format.catalog_schema import REPEATED, schema
from skyshards.format.catalog_statistics import Extent, extent
from skyshards.format.layout import CATALOG, CRC32
from skyshards.format.manifest import Manifest
from skyshards.format.parquet_bounds import MemoryBound
from skyshards.format.votable import is_text, length_key, text_length
from skyshards.text import counted

KEY = b"skyshards"
"""The key of the manifest in the file's metadata."""


class CatalogFile:
    """The catalogue of a built dataset, opened.

    Only the footer is read at first. The file stays open, so that what is read later belongs to the same build, even if
    another build has replaced it. Threads and forked processes may share it.

    Parameters
    ----------
    source : path or bytes
        The file, or its content.
    folder : str
        The dataset's folder, for messages.

    Raises
    ------
    FolderError
        If it is not a valid catalogue; so does `read`.
    """

    def __init__(self, source: Path | bytes, folder: str):
        self._folder = folder
        with self._named_errors():
            self._content = pa.py_buffer(source) if isinstance(source, bytes) else _Descriptor(source)
            parquet = self._open(list(REPEATED))
            self._metadata = parquet.metadata
            words = self._metadata.metadata
            self.manifest = Manifest.from_json(words[KEY].decode())
            self.schema = schema(self.manifest.specs, self.manifest.additions)
            keys = {field.name: length_key(field.name).encode() for field in self.schema if is_text(field.type)}
            self._lengths = {name: int(words[key]) for name, key in keys.items() if key in words}
            found = parquet.schema_arrow.remove_metadata()
            self._stored = frozenset(found.names)
            unread = {name for name in self.schema.names if name.startswith(CRC32)} - self._stored
            if found != pa.schema([field for field in self.schema if field.name not in unread]).remove_metadata():
                raise ValueError("its columns differ from its manifest")
            length = self._content.size if isinstance(self._content, pa.Buffer) else self._content.length
            self._bound = MemoryBound(length, parquet, found.names, REPEATED)
            self._checks = Checks(self.manifest)
            groups = range(self._metadata.num_row_groups)
            counts = [self._metadata.row_group(group).num_rows for group in groups]
            if any(count < 0 for count in counts) or sum(counts) != self._metadata.num_rows:
                raise ValueError("its row groups do not add up")
            self.bounds = np.cumsum([0, *counts])
            """The first row of each row group, and the number of rows."""

    def __len__(self) -> int:
        return int(self.bounds[-1])

    def longest(self, name: str) -> int | None:
        """The length of the longest text of a column in characters; None in folders of format 0, which do not tell."""
        return self._lengths.get(name)

    def read(self, group: int, names: Sequence[str], threads: bool = False) -> dict[str, pa.Array]:
        """Read columns of a row group, with those that are needed to check them. Dictionaries are the manifest's."""
        wanted = list(dict.fromkeys(each for name in names for each in self._checks.needed(name)))
        there = [name for name in wanted if name in self._stored]
        length = int(self.bounds[group + 1] - self.bounds[group])
        with self._named_errors():
            self._bound.add(group, there, self._open)
            table = self._open(list(REPEATED)).read_row_group(group, columns=there, use_threads=threads)
            if len(table) != length:
                raise ValueError(f"row group {group} has {counted(len(table), 'rows')}, expected {length}")
            table.validate(full=True)
            columns = {name: _joined(table[name]) for name in there}
            columns |= {name: self._checks.coded(name, column) for name, column in columns.items() if is_coded(name)}
            self._checks.check(columns)
            for name, column in columns.items():
                longest = self.longest(name)
                if longest is not None and text_length(column) > longest:
                    raise ValueError(f"column {name!r} has longer texts than it declares")
        return {name: columns.get(name, pa.nulls(length, pa.uint32())) for name in wanted}  # folders of format 0

    def extents(self, name: str) -> list[Extent]:
        """Return the statistics of a column in each row group; of lists, and columns that are not there, nothing."""
        paths = (self._metadata.schema.column(n).path for n in range(self._metadata.num_columns))
        place = next((n for n, path in enumerate(paths) if path == name), None)
        groups = map(self._metadata.row_group, range(self._metadata.num_row_groups))
        return [Extent() if place is None else extent(group.column(place)) for group in groups]

    def part(self, group: int, names: Sequence[str]) -> pa.Table:
        """Read columns of a row group as a table."""
        fields = [self.schema.field(name) for name in names]
        columns = self.read(group, names, threads=True)
        return pa.table([columns[field.name] for field in fields], schema=pa.schema(fields))

    def parts(self, names: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Read some or all columns of all rows, one row group at a time."""
        names = self.schema.names if names is None else names
        return (self.part(group, names) for group in range(len(self.bounds) - 1))

    def lacking(self, name: str) -> int:
        """Number of rows without a value of a column."""
        return sum(part[name].null_count for part in self.parts([name]))

    def table(self, names: Sequence[str] | None = None) -> pa.Table:
        """Read some or all columns of all rows."""
        schema = self.schema if names is None else pa.schema([self.schema.field(name) for name in names])
        return pa.concat_tables([schema.remove_metadata().empty_table(), *self.parts(names)])

    def _open(self, folded: list[str]) -> pq.ParquetFile:
        """Open the file once more, as it is not to be shared by threads; with some columns read as dictionaries."""
        if isinstance(self._content, pa.Buffer):
            source = pa.BufferReader(self._content)
        else:  # not a file in Python: Arrow's threads would ask for an interpreter that ends, and abort the process
            source = pa.OSFile(f"/dev/fd/{self._content.number}")
        return pq.ParquetFile(
            source,
            metadata=getattr(self, "_metadata", None),
            read_dictionary=folded,
            page_checksum_verification=True,
        )

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except NewerFormat as error:
            raise NewerFormat(f"{self._folder}: {error}") from None
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise FolderError(f"{self._folder}: {CATALOG} cannot be read ({error}); build the dataset again") from error


def _joined(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array."""
    if column.num_chunks == 1:
        return column.chunk(0)
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.nulls(0, column.type)


class _Descriptor:
    """The descriptor of a regular file, closed with its last reference."""

    def __init__(self, path: Path):
        self.number = open_regular(path)
        self.length = os.fstat(self.number).st_size

    def __del__(self):
        if hasattr(self, "number"):
            os.close(self.number)
