"""Read positions and names from any catalogue: a built dataset, a table file, or a HATS catalogue."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from skyshards.crossmatch import TABLE_ID_COLUMNS
from skyshards.errors import FolderError, UsageError
from skyshards.files import is_url
from skyshards.input_tables import positions
from skyshards.input_tables.formats import Parquet
from skyshards.input_tables.table_file import InputColumn, TableFile
from skyshards.input_tables.table_file import open_table as open_file
from skyshards.read.table import Table, open_table

POSITION = ("ra", "dec")
HATS_FILES = ("collection.properties", "hats.properties", "properties")
"""Every HATS collection or catalogue has one of these files in its folder."""
PART_ROWS = 1 << 18
"""Rows of a part at least, if its row groups are smaller."""
NUMBER_BITS = 32
"""Rows of a HATS catalogue are numbered by partition, which shifted by this number of bits is that of its first row."""

Batches = Iterator[dict[str, Any]]
"""Columns of some rows by name, as Arrow arrays."""


@dataclass(frozen=True)
class Part:
    """Rows of a catalogue that are read together.

    Attributes
    ----------
    first : int
        Number of the first row.
    batches : callable
        Reads the rows, a batch at a time.
    pixels : (int, int64 array) or None
        An order, and the HEALPix pixels of it that hold all rows.
    """

    first: int
    batches: Callable[[], Batches]
    pixels: tuple[int, np.ndarray] | None = None


@dataclass(frozen=True)
class Chosen:
    """Columns of a catalogue for a crossmatch: positions, which may be missing, and an identifier, if there is one."""

    position: tuple[str, str] | None
    identity: str | None

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys([*(self.position or ()), *([self.identity] if self.identity else [])]))


@dataclass(frozen=True)
class Catalogue:
    """An open catalogue.

    Attributes
    ----------
    location : str
    names : sequence of str
        Its columns.
    parts : callable
        Returns the parts in which the named columns are read, in the order of their rows.
    shared : bool
        Whether other processes can read the parts: they are pickled, and read from files.
    position : (str, str) or None
        The columns of right ascension and declination, if the catalogue declares them.
    numbered : bool
        Whether row numbers can serve as identifiers.
    table : Table or None
        The table, for a built dataset.
    """

    location: str
    names: Sequence[str]
    parts: Callable[[Sequence[str]], list[Part]]
    shared: bool
    position: tuple[str, str] | None = None
    numbered: bool = True
    table: Table | None = None

    def read(self, names: Sequence[str]) -> dict[str, pa.ChunkedArray]:
        """Read all rows of the named columns."""
        batches = [batch for part in self.parts(names) for batch in part.batches()]
        found = {name: [chunk for batch in batches for chunk in _chunks(batch[name])] for name in names}
        return {name: pa.chunked_array(chunks) if chunks else _NOTHING for name, chunks in found.items()}

    def chosen(self, which: str, position: tuple[str, str] | None, identity: str | None, needed: bool) -> Chosen:
        """Choose the columns of positions and the identifier; `which` is "a" or "b", for messages.

        Raises
        ------
        UsageError
            If `identity` is missing, or the positions, which are `needed`.
        """
        there = ", ".join(self.names)
        found = self._position(position)
        if found is None and needed:
            wanted = " and ".join(position or POSITION)
            raise UsageError(f"{self.location}: no columns {wanted} among {there}; name them with `position_{which}`")
        ids = [self._there(identity)] if identity else [name for name in TABLE_ID_COLUMNS if name in self.names][:1]
        if not ids and not self.numbered:
            raise UsageError(
                f"{self.location}: no identifier column found; choose one with `id_{which}`, available: {there}"
            )
        return Chosen(found, ids[0] if ids else None)

    def columns(
        self, which: str, on: str, *, position: tuple[str, str] | None = None, identity: str | None = None
    ) -> pa.Table:
        """Read the columns to match by equal values of `on`, with positions `ra` and `dec` in degrees if there are any.

        An identifier that is given is called `object_id`.

        Raises
        ------
        UsageError
            If one of these columns is missing.
        """
        chosen = self.chosen(which, position, identity, False)
        found = self.read(list(dict.fromkeys([*chosen.names, self._there(on)])))
        columns: dict[str, Any] = {on: found[on]}
        if chosen.identity:
            columns = {"object_id" if identity else chosen.identity: found[chosen.identity]} | columns
        for role, name in zip(POSITION, chosen.position or (), strict=False):
            columns[role] = degrees(self.location, name, found[name], role)
        return pa.table(columns)

    def _position(self, given: tuple[str, str] | None) -> tuple[str, str] | None:
        """Choose the position columns: those given, those the catalogue declares, or `ra` and `dec` in any case."""
        wanted = given or self.position or POSITION
        if set(wanted) <= set(self.names):
            return wanted
        lower = {name.lower(): name for name in reversed(self.names)}
        ra, dec = (lower.get(name.lower()) for name in wanted)
        return (ra, dec) if ra and dec else None

    def _there(self, name: str) -> str:
        if name not in self.names:
            raise UsageError(f"{self.location}: no column {name!r}; available: {', '.join(self.names)}")
        return name


_NOTHING = pa.chunked_array([pa.nulls(0)])


def degrees(location: str, name: str, values: Any, role: str) -> np.ndarray:
    """Convert a column of a catalogue, right ascension or declination by `role`, to degrees (NaN where missing)."""
    try:
        return positions.degrees(values, role)
    except (ValueError, pa.ArrowException) as error:
        raise UsageError(f"{location}: column {name}: {error}") from error


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
    if not is_url(location) and _is_hats(location):
        return _of_hats(location)
    try:
        return _of_table(open_table(location), location)
    except FolderError:
        if not _is_hats(location):
            raise
    return _of_hats(location)


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
        yield {name: _plain(column) for name, column in file.read(group, names).items()}


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


def _is_hats(location: str) -> bool:
    import fsspec

    try:
        filesystem, root = fsspec.core.url_to_fs(location)
        return any(filesystem.exists(f"{root.rstrip('/')}/{name}") for name in HATS_FILES)
    except (ImportError, ValueError, OSError):
        return False


def _of_hats(location: str) -> Catalogue:
    where = location if is_url(location) else str(Path(location).absolute())
    try:
        about = _opened_hats(where)
    except ImportError as error:
        raise UsageError(f"{location}: HATS catalogues need the package hats: pip install 'skyshards[hats]'") from error

    def parts(names: Sequence[str]) -> list[Part]:
        return [
            Part(
                number << NUMBER_BITS,
                functools.partial(_read_partition, where, (pixel.order, pixel.pixel), list(names)),
                (pixel.order, np.array([pixel.pixel])),
            )
            for number, pixel in enumerate(about.get_healpix_pixels())
        ]

    info = about.catalog_info
    return Catalogue(location, about.schema.names, parts, True, (info.ra_column, info.dec_column), numbered=False)


@functools.lru_cache(maxsize=2)
def _opened_hats(location: str) -> Any:
    import hats

    found = hats.read_hats(location)
    return getattr(found, "main_catalog", found)  # one of several classes with the same attributes


def _read_partition(location: str, pixel: tuple[int, int], names: Sequence[str]) -> Batches:
    from hats.io import file_io, paths
    from hats.pixel_math import HealpixPixel

    about = _opened_hats(location)
    suffix = about.catalog_info.npix_suffix
    path = paths.pixel_catalog_file(about.catalog_path, HealpixPixel(*pixel), npix_suffix=suffix)
    frame = file_io.read_parquet_file_to_pandas(path, columns=list(names), is_dir=suffix == "/")
    table = pa.Table.from_pandas(frame[list(names)], preserve_index=False)
    yield {name: _plain(table[name]) for name in names}


def _plain(column: Any) -> Any:
    """Convert texts of any type to strings."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.string()) if pa.types.is_large_string(column.type) else column


def _chunks(column: Any) -> list[pa.Array]:
    return column.chunks if isinstance(column, pa.ChunkedArray) else [column]
