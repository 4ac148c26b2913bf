"""Open a catalogue: a built dataset, a table file, or a HATS catalogue."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from skyshards.errors import FolderError
from skyshards.files import is_url
from skyshards.input_tables.formats import Parquet
from skyshards.input_tables.table_file import InputColumn, TableFile
from skyshards.input_tables.table_file import open_table as open_file
from skyshards.matching.catalogue import Batches, Catalogue, Part, plain
from skyshards.matching.hats_catalogue import is_hats, of_hats
from skyshards.read.table import Table, open_table

PART_ROWS = 1 << 18
"""Rows of a part at least, if its row groups are smaller."""


def open_catalogue(location: str) -> Catalogue:
    """Open a built dataset, a table file (CSV, Parquet, FITS, ECSV or VOTable) or a HATS catalogue (path or URL).

    Raises
    ------
    FolderError
        If `location` is none of these.
    BuildError
        If a file cannot be read as a table.
    UsageError
        If it is a HATS catalogue and hats is not installed.
    """
    path = Path(location).expanduser()
    if not is_url(location):
        if path.is_file():
            return _of_file(path.absolute())
        if not path.is_dir():
            raise FolderError(f"{location}: there is no such file or folder")
        location = str(path)
    if not is_url(location) and is_hats(location):
        return of_hats(location)
    try:
        return _of_table(open_table(location), location)
    except FolderError:
        if not is_hats(location):
            raise
    return of_hats(location)


def _of_table(table: Table, location: str) -> Catalogue:
    here = not is_url(location)
    file = table._data.columns.file

    def parts(names: Sequence[str]) -> list[Part]:
        found = []
        for groups in _gathered(np.diff(file.bounds).tolist()):
            read: Callable[[], Batches] = functools.partial(_read_groups, table, groups, list(names))
            if here:
                where = str(Path(location).absolute())
                read = functools.partial(_read_shared, where, table._data.state, groups, list(names))
            found.append(Part(int(file.bounds[groups[0]]), read))
        return found

    return Catalogue(location, table._askable, parts, here, table=table)


def _read_groups(table: Table, groups: Sequence[int], names: Sequence[str]) -> Batches:
    file = table._data.columns.file
    for group in groups:
        yield {name: plain(column) for name, column in file.read(group, names).items()}


def _read_shared(location: str, state: str, groups: Sequence[int], names: Sequence[str]) -> Batches:
    return _read_groups(_opened(location, state), groups, names)


@functools.lru_cache(maxsize=2)
def _opened(location: str, state: str) -> Table:
    """Open a folder in a worker, as it was when the crossmatch began."""
    table = open_table(location)
    if table._data.state != state:
        raise FolderError(f"{location}: was built further during the crossmatch; run the same command again")
    return table


def _of_file(path: Path) -> Catalogue:
    file = open_file(path)

    def parts(names: Sequence[str]) -> list[Part]:
        columns = file.look([file.names.index(name) for name in names])
        if not isinstance(file.raw, Parquet):
            return [Part(0, functools.partial(_read_file, file, columns))]
        counts = file.raw.group_rows
        firsts = np.cumsum([0, *counts]).tolist()
        return [
            Part(firsts[groups[0]], functools.partial(_read_parquet, path, groups, columns))
            for groups in _gathered(counts)
        ]

    return Catalogue(str(path), file.names, parts, isinstance(file.raw, Parquet))


def _read_file(file: TableFile, columns: Sequence[InputColumn]) -> Batches:
    for batch in file.batches(columns):
        yield {column.name: values for column, values in zip(columns, batch, strict=True)}


def _read_parquet(path: Path, groups: Sequence[int], columns: Sequence[InputColumn]) -> Batches:
    return _read_file(TableFile(str(path), Parquet(path, groups)), columns)


def _gathered(counts: Iterable[int]) -> list[list[int]]:
    """Gather successive row groups, of which the numbers of rows are given, into parts of `PART_ROWS` rows."""
    found: list[list[int]] = []
    held = PART_ROWS
    for group, count in enumerate(counts):
        if held >= PART_ROWS:
            found.append([])
            held = 0
        found[-1].append(group)
        held += count
    return found
