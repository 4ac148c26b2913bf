"""Read the catalogues of Galaxy Zoo DECaLS in batches of rows, keeping only what is needed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gz_decals.gz_decals import FIXED
from skyshards.errors import BuildError
from skyshards.input_tables.names import stored_names
from skyshards.input_tables.positions import degrees
from skyshards.input_tables.table_file import InputColumn, TableFile, open_table
from skyshards.text import counted

NAMES = ("iauname", "id_str")
SCALES = ("scale", "pixel_scale", "pixscale")
_PATH = re.compile(r"(.+_)?(loc|path)")
_ROW_NUMBERS = re.compile(r"(__.*|Unnamed.*)?")
"""Names that pandas gives its index column."""
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
SMOOTH, FEATURED = "smooth-or-featured_smooth_fraction", "smooth-or-featured_featured-or-disk_fraction"
EDGE_ON, FACE_ON = "disk-edge-on_yes_fraction", "disk-edge-on_no_fraction"


@dataclass(frozen=True)
class Layout:
    """Columns of a catalogue file and their roles.

    Attributes
    ----------
    roles : dict of str -> InputColumn
        Columns for "name", "ra", "dec", "scale" and "image" (its path), if present.
    values : tuple of (str, str)
        Name and dtype of each stored column; `columns` locates it in the file.
    notes : tuple of str
        Columns that are left out or renamed, and why.
    """

    path: Path
    roles: dict[str, InputColumn]
    values: tuple[tuple[str, str], ...]
    columns: tuple[InputColumn, ...]
    notes: tuple[str, ...] = ()


def layout(path: Path) -> Layout:
    """Find the roles of a catalogue's columns, in any format that `open_table` reads.

    Numbers and Booleans are kept, under their published names as far as `stored_names` allows. Lists (the posterior
    parameters in the automatic catalogue) and text are dropped.

    Raises
    ------
    BuildError
        If it cannot be read, or has no column with the galaxies' names.
    """
    table = open_table(path)
    places = _roles(table)
    text = [place for role, place in places.items() if role in ("name", "image")]
    columns = table.look(text=text)
    roles = {role: columns[place] for role, place in places.items()}
    if "scale" in roles and roles["scale"].type == pa.string():
        raise BuildError(f"{path}: column {roles['scale'].name}: expected numbers, found {roles['scale'].note}")
    kept, left_out = [], []
    for column in columns:
        if column.place in places.values():
            continue
        dtype = _dtype(column)
        if _ROW_NUMBERS.fullmatch(column.name):
            left_out.append(f"{column.name or f'column {column.place + 1}'} (no name but that of row numbers)")
        elif dtype is None:
            why = f"text: {column.note}" if column.type == pa.string() else column.note
            left_out.append(f"{column.name} ({why})")
        else:
            kept.append((column, dtype))
    names = stored_names([column.name for column, _ in kept], FIXED)
    renamed = [f"{column.name} -> {name}" for (column, _), name in zip(kept, names, strict=True) if column.name != name]
    notes = {"columns left out": left_out, "columns stored under another name": renamed}
    return Layout(
        path,
        roles,
        tuple((name, dtype) for name, (_, dtype) in zip(names, kept, strict=True)),
        tuple(column for column, _ in kept),
        tuple(f"{path.name}: {words}: {', '.join(found)}" for words, found in notes.items() if found),
    )


def _roles(table: TableFile) -> dict[str, int]:
    """Positions of the columns with a role, such as the name."""
    found = {}
    wanted = {"name": NAMES, "ra": ("ra",), "dec": ("dec",), "scale": SCALES}
    for role, names in wanted.items():
        here = next(([p for p, n in enumerate(table.names) if n == name] for name in names if name in table.names), [])
        if len(here) > 1:
            raise BuildError(f"{table.origin}: expected one column {table.names[here[0]]}, found {len(here)}")
        if here:
            found[role] = here[0]
    if "name" not in found:
        there = ", ".join(table.names[:20])
        raise BuildError(
            f"{table.origin}: expected a column {' or '.join(NAMES)} with the galaxies' names, found {there}"
        )
    if not {"ra", "dec"} <= set(found):
        found = {role: place for role, place in found.items() if role not in ("ra", "dec")}
    paths = [place for place, name in enumerate(table.names) if _PATH.fullmatch(name)]
    if paths:
        found["image"] = min(paths, key=lambda place: "relative" not in table.names[place])
    return found


def _dtype(column: InputColumn) -> str | None:
    """Stored dtype of a column. Missing values are NaN, so integers and Booleans with gaps become floats, or text if
    they would lose digits."""
    if column.type is None or column.type == pa.string():
        return None
    if column.type == pa.bool_():
        return "float32" if column.gaps else "bool"
    if pa.types.is_floating(column.type):
        return "float32" if column.type == pa.float32() else "float64"
    if not column.gaps:
        return str(column.type)
    return "float64" if column.exact else "string"


@dataclass(frozen=True)
class Catalog:
    """Galaxies of a catalogue that passed the cuts, in its order; `outside` counts the others.

    `rows` holds the roles of the layout, as `role/name` etc. (no value's name has a slash), and the values.
    """

    layout: Layout
    rows: pa.Table
    outside: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def names(self) -> list[str]:
        return self.rows["role/name"].to_pylist()

    @property
    def images(self) -> list[str]:
        """Each galaxy's image in the catalogue: a path, or the galaxy's name."""
        paths = self.rows["role/image"].to_pylist() if "image" in self.layout.roles else [None] * len(self)
        return [path or name for path, name in zip(paths, self.names, strict=True)]

    def row(self, number: int) -> dict[str, Any]:
        """One galaxy: `iauname`, `ra`, `dec`, `scale` (NaN where unavailable), and `values` by name."""
        values = {name: self.rows[name][number].as_py() for name, _ in self.layout.values}
        missing = {name: "" if dtype == "string" else np.nan for name, dtype in self.layout.values}
        return {
            "iauname": self.rows["role/name"][number].as_py(),
            **{role: self._number(f"role/{role}", number) for role in ("ra", "dec", "scale")},
            "values": {name: missing[name] if value is None else value for name, value in values.items()},
        }

    def _number(self, column: str, number: int) -> float:
        value = self.rows[column][number].as_py() if column in self.rows.column_names else None
        return np.nan if value is None else float(value)


def read(part: Layout, max_smooth: float | None = None, max_edge_on: float | None = None) -> Catalog:
    """Read a catalogue in batches of rows.

    Parameters
    ----------
    max_smooth, max_edge_on : float, optional
        Keep galaxies whose smooth and edge-on fractions are less than these. If a catalogue has only the opposite
        fraction (featured, face-on), 1 minus that is used. Galaxies without the fraction are cut.

    Raises
    ------
    BuildError
        If it cannot be read, lacks a column to cut on, has a galaxy without a name, or names one twice.
    """
    kept, outside = [], 0
    for batch in open_table(part.path).batches([*part.roles.values(), *part.columns]):
        table = _narrowed(part, batch)
        inside = _inside(part.path, table, max_smooth, max_edge_on)
        outside += len(table) - pc.sum(inside).as_py() if len(table) else 0
        kept.append(table.filter(inside))
    if not kept:
        raise BuildError(f"{part.path}: expected galaxies, found no row")
    rows = pa.concat_tables(kept).combine_chunks()
    names, column = rows["role/name"], part.roles["name"].name
    if names.null_count:
        raise BuildError(f"{part.path}: no {column} in {counted(names.null_count, 'rows')}, expected one in each")
    counts = names.value_counts()
    twice = [entry["values"] for entry in counts.filter(pc.greater(counts.field("counts"), 1)).to_pylist()[:3]]
    if twice:
        raise BuildError(f"{part.path}: expected every galaxy once, found {', '.join(twice)} more than once")
    return Catalog(part, rows, outside)


def _narrowed(part: Layout, batch: Sequence[pa.Array]) -> pa.Table:
    """Batch of rows with their roles and values, in the stored dtypes."""
    columns, values = {}, iter(batch)
    for role, column in part.roles.items():
        found = next(values)
        if role in ("ra", "dec"):
            try:
                found = pa.array(degrees(found, role))
            except ValueError as error:
                raise BuildError(f"{part.path}: column {column.name}: {error}") from error
        columns[f"role/{role}"] = found
    for name, dtype in part.values:
        columns[name] = next(values).cast(pa.bool_() if dtype == "bool" else pa.type_for_alias(dtype))
    return pa.table(columns)


def _inside(path: Path, table: pa.Table, max_smooth: float | None, max_edge_on: float | None) -> pa.Array:
    inside = pa.array(np.ones(len(table), bool))
    for bound, column, opposite in ((max_smooth, SMOOTH, FEATURED), (max_edge_on, EDGE_ON, FACE_ON)):
        if bound is None:
            continue
        if column in table.column_names:
            fraction = table[column]
        elif opposite in table.column_names:
            fraction = pc.subtract(1.0, table[opposite])
        else:
            raise BuildError(f"{path}: to cut on it, expected a column {column} or {opposite}; found neither")
        inside = pc.and_(inside, pc.fill_null(pc.less(fraction, bound), False))
    return inside
