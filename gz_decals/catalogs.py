"""The catalogues of Galaxy Zoo DECaLS, read by batches of rows and only as far as they are kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from skyshards.errors import BuildError

NAMES = ("iauname", "id_str")
SCALES = ("scale", "pixel_scale", "pixscale")
_PATH = re.compile(r"(.+_)?(loc|path)")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
SMOOTH, FEATURED = "smooth-or-featured_smooth_fraction", "smooth-or-featured_featured-or-disk_fraction"
EDGE_ON, FACE_ON = "disk-edge-on_yes_fraction", "disk-edge-on_no_fraction"


@dataclass(frozen=True)
class Layout:
    """Which columns of a catalogue's file are what. `values` are kept under their published names: (name, dtype)."""

    path: Path
    name: str
    ra: str | None
    dec: str | None
    scale: str | None
    image: str | None
    values: tuple[tuple[str, str], ...]

    @property
    def read(self) -> list[str]:
        parts = (self.name, self.ra, self.dec, self.scale, self.image)
        return [*(part for part in parts if part), *(name for name, _ in self.values)]


def layout(path: Path) -> Layout:
    """Look at the columns of a catalogue (.csv or .parquet), without reading it.

    Kept are all its numbers and truth values, under the names they were published with; lists (the parameters of the
    posteriors in the automatic catalogue) and text are not.

    Raises
    ------
    BuildError
        If it cannot be read, or has no column with the galaxies' names.
    """
    with _clear_errors(path):
        schema = pq.read_schema(path) if path.suffix == ".parquet" else next(_csv_batches(path)).schema
    names = schema.names
    name = next((name for name in NAMES if name in names), None)
    if name is None:
        found = ", ".join(names[:20])
        raise BuildError(f"{path}: expected a column {' or '.join(NAMES)} with the galaxies' names, found {found}")
    images = sorted((other for other in names if _PATH.fullmatch(other)), key=lambda other: "relative" not in other)
    both = "ra" in names and "dec" in names
    scale = next((other for other in SCALES if other in names), None)
    special = {*NAMES, "ra", "dec", scale, *images}
    values = []
    for field in schema:
        dtype = _dtype(field)
        if field.name not in special and dtype is not None and not field.name.startswith(("__", "Unnamed")):
            values.append((field.name, dtype))
    ra, dec = ("ra", "dec") if both else (None, None)
    return Layout(path, name, ra, dec, scale, next(iter(images), None), tuple(values))


def _dtype(field: pa.Field) -> str | None:
    if pa.types.is_boolean(field.type):
        return "bool"
    if pa.types.is_integer(field.type):
        return "int64"
    if pa.types.is_floating(field.type):
        return "float64" if pa.types.is_float64(field.type) else "float32"
    return None


@dataclass(frozen=True)
class Catalog:
    """The galaxies of a catalogue that passed the cut, in its order; `outside` counts the others."""

    layout: Layout
    rows: pa.Table
    outside: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def names(self) -> list[str]:
        return self.rows[self.layout.name].to_pylist()

    @property
    def images(self) -> list[str]:
        """What the catalogue calls each galaxy's image: a path, or the galaxy's name."""
        paths = self.rows[self.layout.image].to_pylist() if self.layout.image else [None] * len(self)
        return [path or name for path, name in zip(paths, self.names, strict=True)]

    def row(self, number: int) -> dict[str, Any]:
        """One galaxy: `iauname`, `ra`, `dec`, `scale` (NaN where there is none), and `values` by published name."""
        part = self.layout

        def number_of(column: str | None) -> float:
            value = self.rows[column][number].as_py() if column else None
            return np.nan if value is None else float(value)

        values = {name: self.rows[name][number].as_py() for name, _ in part.values}
        floats = {name for name, dtype in part.values if dtype.startswith("float")}
        return {
            "iauname": self.rows[part.name][number].as_py(),
            "ra": number_of(part.ra),
            "dec": number_of(part.dec),
            "scale": number_of(part.scale),
            "values": {name: np.nan if value is None and name in floats else value for name, value in values.items()},
        }


def read(part: Layout, max_smooth: float | None = None, max_edge_on: float | None = None) -> Catalog:
    """Read a catalogue, a batch of rows at a time.

    Parameters
    ----------
    max_smooth, max_edge_on : float, optional
        Keep galaxies only whose smooth and edge-on fractions are less than these. Where a catalogue has only the
        opposite fraction (featured, face-on), 1 minus it counts. A galaxy without the fraction is outside.

    Raises
    ------
    BuildError
        If it cannot be read, lacks what is cut on, or names a galaxy twice.
    """
    columns = part.read
    kept, outside = [], 0
    with _clear_errors(part.path):
        for batch in _batches(part.path, columns):
            table = pa.table({name: _narrow(batch[name], dict(part.values).get(name)) for name in columns})
            if part.name == "id_str" or not pa.types.is_string(table[part.name].type):
                place = table.column_names.index(part.name)
                table = table.set_column(place, part.name, table[part.name].cast(pa.string()))
            inside = _inside(part.path, table, max_smooth, max_edge_on)
            outside += len(table) - pc.sum(inside).as_py() if len(table) else 0
            kept.append(table.filter(inside))
    rows = pa.concat_tables(kept).combine_chunks()
    counts = rows[part.name].value_counts()
    twice = [entry["values"] for entry in counts.filter(pc.greater(counts.field("counts"), 1)).to_pylist()[:3]]
    if twice:
        raise BuildError(f"{part.path}: expected every galaxy once, found {', '.join(map(str, twice))} more than once")
    if rows[part.name].null_count:
        raise BuildError(f"{part.path}: {rows[part.name].null_count} rows have no {part.name}, expected one in each")
    return Catalog(part, rows, outside)


def _narrow(column: pa.Array, dtype: str | None) -> pa.Array:
    if dtype is None:
        return column
    return column.cast(pa.bool_() if dtype == "bool" else pa.from_numpy_dtype(np.dtype(dtype)))


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


def _batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    if path.suffix == ".parquet":
        with pq.ParquetFile(path, pre_buffer=False) as file:
            yield from file.iter_batches(1 << 16, columns=columns)
    else:
        yield from _csv_batches(path)


def _csv_batches(path: Path) -> Iterator[pa.RecordBatch]:
    options = pa.csv.ConvertOptions(column_types=dict.fromkeys(NAMES, pa.string()))
    with pa.csv.open_csv(path, convert_options=options) as reader:
        yield from reader


class _clear_errors:
    """Says which catalogue it is that cannot be read."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, (pa.ArrowException, OSError, StopIteration, KeyError)):
            hint = "is it whole, and a .csv or .parquet file?"
            raise BuildError(f"{self.path}: cannot be read as a catalogue ({error}); {hint}") from error
