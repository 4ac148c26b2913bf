"""Read positions and names from any catalogue: a built dataset, a table file, or a HATS catalogue through LSDB."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from skyshards.crossmatch import TABLE_ID_COLUMNS
from skyshards.errors import FolderError, UsageError
from skyshards.input_tables import positions
from skyshards.input_tables.table_file import open_table as open_file
from skyshards.read.table import Table, open_table

POSITION = ("ra", "dec")
HATS_FILES = ("collection.properties", "hats.properties", "properties")
"""Every HATS collection or catalogue has one of these files in its folder."""


@dataclass(frozen=True)
class Near:
    """Positions in degrees (float64, NaN for none), and the search radius around them in arcsec."""

    ra: np.ndarray
    dec: np.ndarray
    radius: float


@dataclass(frozen=True)
class Catalogue:
    """An open catalogue.

    Attributes
    ----------
    location : str
    names : sequence of str
        Its columns.
    read : callable
        Reads the named columns. A partitioned catalogue may return only the rows near the given positions.
    position : (str, str) or None
        The columns of right ascension and declination, if the catalogue declares them.
    numbered : bool
        Whether row numbers can serve as identifiers.
    table : Table or None
        The table, for a built dataset.
    """

    location: str
    names: Sequence[str]
    read: Callable[[Sequence[str], Near | None], dict[str, Any]]
    position: tuple[str, str] | None = None
    numbered: bool = True
    table: Table | None = None

    def columns(
        self,
        which: str,
        *,
        position: tuple[str, str] | None = None,
        identity: str | None = None,
        on: str | None = None,
        near: Near | None = None,
    ) -> pa.Table:
        """Read the columns for a crossmatch: `ra` and `dec` in degrees, `object_id` or another identifier, and `on`.

        `which` is "a" or "b", for messages.

        Raises
        ------
        UsageError
            If one of these columns is missing.
        """
        there = ", ".join(self.names)
        ra, dec = self._position(position) or (None, None)
        if ra is None and on is None:
            wanted = " and ".join(position or POSITION)
            raise UsageError(f"{self.location}: no columns {wanted} among {there}; name them with `position_{which}`")
        ids = [self._there(identity)] if identity else [name for name in TABLE_ID_COLUMNS if name in self.names][:1]
        if not ids and not self.numbered:
            raise UsageError(
                f"{self.location}: no identifier column found; choose one with `id_{which}`, available: {there}"
            )
        others = dict.fromkeys([*ids, *([self._there(on)] if on else [])])
        found = self.read([name for name in dict.fromkeys([ra, dec, *others]) if name], near)
        columns = {"object_id" if identity and name == identity else name: found[name] for name in others}
        if on:
            columns[on] = found[on]
        if ra and dec:
            columns |= {
                role: self._degrees(found[name], name, role) for role, name in zip(POSITION, (ra, dec), strict=True)
            }
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

    def _degrees(self, values: Any, name: str, role: str) -> np.ndarray:
        try:
            return positions.degrees(values, role)
        except (ValueError, pa.ArrowException) as error:
            raise UsageError(f"{self.location}: column {name}: {error}") from error


def open_catalogue(location: str) -> Catalogue:
    """Open a built dataset, a table file (CSV, Parquet, FITS, ECSV or VOTable) or a HATS catalogue (path or URL).

    Raises
    ------
    FolderError
        If `location` is none of these.
    BuildError
        If a file cannot be read as a table.
    UsageError
        If it is a HATS catalogue and LSDB is not installed.
    """
    path = Path(location).expanduser()
    if "://" not in location:
        if path.is_file():
            return _of_file(path)
        if not path.is_dir():
            raise FolderError(f"{location}: there is no such file or folder")
        location = str(path)
    if "://" not in location and _is_hats(location):
        return _of_hats(location)
    try:
        return _of_table(open_table(location), location)
    except FolderError:
        if not _is_hats(location):
            raise
    return _of_hats(location)


def _of_table(table: Table, location: str) -> Catalogue:
    catalog = table.catalog

    def read(names: Sequence[str], near: Near | None) -> dict[str, Any]:
        return {name: catalog[name] for name in names}

    return Catalogue(location, catalog.column_names, read, table=table)


def _of_file(path: Path) -> Catalogue:
    file = open_file(path)

    def read(names: Sequence[str], near: Near | None) -> dict[str, Any]:
        return {column.name: values for column, values in file.read([file.names.index(name) for name in names])}

    return Catalogue(str(path), file.names, read)


def _is_hats(location: str) -> bool:
    import fsspec

    try:
        filesystem, root = fsspec.core.url_to_fs(location)
        return any(filesystem.exists(f"{root.rstrip('/')}/{name}") for name in HATS_FILES)
    except (ImportError, ValueError, OSError):
        return False


def _of_hats(location: str) -> Catalogue:
    try:
        import hats
        import lsdb
    except ImportError as error:
        raise UsageError(f"{location}: HATS catalogues are read through LSDB: pip install 'skyshards[lsdb]'") from error

    found = hats.read_hats(location)
    about: Any = getattr(found, "main_catalog", found)  # one of several classes with these attributes

    def read(names: Sequence[str], near: Near | None) -> dict[str, Any]:
        search = _search(near)
        catalog = lsdb.open_catalog(
            location, columns=list(names), search_filter=search and lsdb.MOCSearch(search), error_empty_filter=False
        )
        table = pa.Table.from_pandas(catalog.compute(progress_bar=False)[list(names)], preserve_index=False)
        return {name: _plain(table[name]) for name in names}

    info = about.catalog_info
    return Catalogue(location, about.schema.names, read, (info.ra_column, info.dec_column), numbered=False)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.string()) if pa.types.is_large_string(column.type) else column


def _search(near: Near | None) -> Any:
    """Return the sky area to search: the pixels that hold the positions, and their neighbours."""
    if near is None:
        return None
    from astropy import units
    from mocpy import MOC

    # A pixel of order 0 is at least 29 degrees wide everywhere, and half as wide with each order.
    order = min(12, math.floor(math.log2(29.0 / max(near.radius / 3600.0, 1e-3))))
    placed = np.isfinite(near.ra) & np.isfinite(near.dec)
    if order < 0:
        return None
    return MOC.from_lonlat(near.ra[placed] * units.deg, near.dec[placed] * units.deg, max_norder=order).add_neighbours()
