"""Put columns of a table beside a built dataset, and take them away again."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from skyshards.additions.columns import NewColumn, chosen
from skyshards.additions.matching import Match, by_key, by_position
from skyshards.additions.stage import held, put_in_place, written
from skyshards.errors import UsageError
from skyshards.format.addition import with_additions
from skyshards.format.catalog_file import CatalogFile
from skyshards.format.columns import RESERVED_CONFIGS
from skyshards.format.layout import FORMAT_VERSION
from skyshards.format.manifest import Manifest
from skyshards.input_tables.table_file import TableFile, open_table


class Added(NamedTuple):
    """What `skyshards.add` did.

    Attributes
    ----------
    name : str
        Name of the addition.
    columns : tuple of str
        The added columns.
    rows, of : int
        Number of rows of the dataset with values, and of all its rows.
    used, table_rows : int
        Number of rows of the table that belong to a row of the dataset, and of all its rows.
    match : str
        How rows were matched.
    replaced : bool
        Whether an earlier addition of this name was replaced.
    notes : tuple of str
        Columns that were left out, and why.
    """

    name: str
    columns: tuple[str, ...]
    rows: int
    of: int
    used: int
    table_rows: int
    match: str
    replaced: bool
    notes: tuple[str, ...]


def add(
    folder: str | os.PathLike,
    table: str | os.PathLike,
    *,
    name: str | None = None,
    on: str | tuple[str, str] | None = None,
    radius_arcsec: Any = None,
    position: tuple[str, str] | None = None,
    columns: Sequence[str] | None = None,
    prefix: str = "",
    missing: Mapping[str, Any] | None = None,
) -> Added:
    """Put the columns of a table beside a built dataset. No shard is read or written.

    Each row of the dataset gets the values of one row of the table: the one of the same name, or the nearest within a
    radius. Rows without one have null in `catalog.parquet`, and NaN, -1, "", an empty list or the largest unsigned
    integer when they are read. Bools become int8, with -1. The numbered columns feat_0, feat_1, … of `skyshards embed`
    become one vector, `representation`.

    Parameters
    ----------
    folder : path
        The built dataset.
    table : path
        Parquet, CSV, FITS, ECSV or VOTable.
    name : str, optional
        Name of the addition; default: the table's file name. An earlier addition of this name is replaced.
    on : str or (str, str), optional
        The column of names or integers by which rows are matched, or its names in dataset and table. Default: the first
        of `object_id` (with `source`, if the table has it), `iauname` and `id_str` that both have, else `object_id` and
        the first of these in the table.
    radius_arcsec : float or Quantity, optional
        Match by position instead, with the nearest row of the table within this radius.
    position : (str, str), optional
        The table's columns of right ascension and declination (ICRS); default `ra` and `dec`, in any case.
    columns : sequence of str, optional
        The columns to add; default: all but those that served to match rows.
    prefix : str
        Put before the name of each column.
    missing : mapping of str to value, optional
        By column of the table, the value of rows without one.

    Returns
    -------
    Added

    Raises
    ------
    UsageError
        An option is invalid, no row matches, or a column of that name exists.
    BuildError
        The table cannot be read, its names are not unique, the folder cannot be written to, or the disk is full.
    FolderError
        The folder is not a built dataset.

    Examples
    --------
    >>> skyshards.add("data/gz3d", "predictions.parquet", on="object_id")  # doctest: +SKIP
    >>> skyshards.open("data/gz3d").where("p_ring > 0.5")  # doctest: +SKIP
    """
    folder, path = Path(folder), Path(table).expanduser()
    if radius_arcsec is not None and on is not None:
        raise UsageError("`radius_arcsec` cannot be combined with `on`: match by position, or by name")
    if position is not None and radius_arcsec is None:
        raise UsageError("`position` is for matches by position; give `radius_arcsec`")
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    name = _stem(path) if name is None else name
    file = open_table(path)
    with held(folder) as (workspace, before):
        manifest = before.manifest
        _check_name(name, manifest)
        kept = with_additions(manifest, tuple(each for each in manifest.additions if each.name != name))
        match = _match(before, file, (on, on) if isinstance(on, str) else on, radius_arcsec, position)
        found, notes = chosen(file, columns, match.used, prefix, missing or {})
        _check_columns(found, kept, path)
        kept = replace(kept, format=max(kept.format, FORMAT_VERSION))
        addition, new = written(workspace, name, file, found, match, before, kept)
        put_in_place(workspace, before, with_additions(kept, (*kept.additions, addition)), new)
    return Added(
        name,
        tuple(column.spec.path for column in found),
        match.matched,
        len(before),
        match.used_rows,
        match.height,
        match.words,
        name in manifest.added,
        tuple(notes),
    )


def drop(folder: str | os.PathLike, name: str) -> None:
    """Take an addition away from a built dataset, with its file.

    Parameters
    ----------
    folder : path
    name : str
        Name of the addition.

    Raises
    ------
    UsageError
        If there is no such addition.
    BuildError, FolderError
        As for `add`.

    Examples
    --------
    >>> skyshards.drop("data/gz3d", "predictions")  # doctest: +SKIP
    """
    folder = Path(folder)
    with held(folder) as (workspace, before):
        manifest = before.manifest
        if name not in manifest.added:
            there = ", ".join(manifest.added) or "none"
            raise UsageError(f"{folder}: has no addition {name!r}; there are: {there}")
        kept = with_additions(manifest, tuple(each for each in manifest.additions if each.name != name))
        put_in_place(workspace, before, kept, {})


def _stem(path: Path) -> str:
    """Return the name of an addition from a table's file name: predictions, of predictions.parquet."""
    name = path.name.lstrip(".").partition(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)


def _check_name(name: str, manifest: Manifest) -> None:
    if not re.fullmatch(r"\w[\w-]{0,99}", name, re.ASCII):
        raise UsageError(f"name: expected letters, digits, _ and -, found {name!r:.100}")
    if name in RESERVED_CONFIGS or (name in manifest.configs and name not in manifest.added):
        raise UsageError(f"name: {name} is a config of the dataset; give the addition another `name`")


def _match(
    before: CatalogFile,
    file: TableFile,
    on: tuple[str, str] | None,
    radius_arcsec: Any,
    position: tuple[str, str] | None,
) -> Match:
    if radius_arcsec is not None:
        return by_position(before, file, radius_arcsec, position)
    own = (spec for spec in before.manifest.columns if spec.scalar)
    keys = [spec.path for spec in own if spec.dtype == "str" or spec.dtype.startswith(("int", "uint"))]
    return by_key(before, keys, file, on)


def _check_columns(found: Sequence[NewColumn], manifest: Manifest, table: Path) -> None:
    """Raise `UsageError` for a name that the dataset has already, or that no column may have."""
    there = list(manifest.specs)
    advice = "choose others with `columns`, or put a `prefix` before all names"
    for column in found:
        path = column.spec.path
        if any(path == one or path.startswith(f"{one}.") or one.startswith(f"{path}.") for one in there):
            owner = next((each.name for each in manifest.additions if path in each.specs), "the dataset")
            raise UsageError(f"columns: {path!r} of {table} is the name of a column of {owner}; {advice}")
        if path.startswith("_") or "/" in path or "\\" in path or not path.isprintable() or not all(path.split(".")):
            raise UsageError(f"columns: {path!r} of {table} cannot be the name of a column; {advice}")
        there.append(path)
