"""Crossmatch tables that memory need not hold: in zones of declination, by files that all workers see.

Each table becomes runs of unit vectors in order of z. A zone is a range of z of the first table, with what the second
has within the radius. Its pairs are a run in order of the first table's rows; ranges of these are merged.
"""

from __future__ import annotations

import contextlib
import pickle
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from skyshards.files import TEMPORARY_PREFIX
from skyshards.format.parquet_parts import in_groups
from skyshards.matching import runs
from skyshards.matching.area import Area
from skyshards.matching.neighbours import Pairs, chord, finite, search, separation
from skyshards.matching.runs import Run
from skyshards.processes import results

RUN = 1 << 18
"""Rows of a table that are sorted at once."""
ZONE = 1 << 19
"""Rows of both tables in a zone, without those around it."""
MERGED = 1 << 18
"""Pairs that are merged at once."""

VECTOR = ("z", "x", "y")


@dataclass(frozen=True)
class Spooled:
    """Some rows of a table, in runs; `inside` marks the pixels that they lie in, packed, if an order was given."""

    runs: list[Run]
    rows: int
    inside: np.ndarray | None
    id_type: pa.DataType | None


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Give the beginning of the names of files, which are removed at the end, or by `hold` if this is killed."""
    stem = folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    try:
        yield stem
    finally:
        for path in folder.glob(f"{stem.name}*"):
            path.unlink(missing_ok=True)


def spool(
    batches: Iterable[tuple[np.ndarray, pa.Array | None]], first: int, stem: Path, order: int | None, near: Area | None
) -> Spooled:
    """Write rows as runs.

    Parameters
    ----------
    batches : iterable of (float64 array [rows, 3], array or None)
        Unit vectors (rows with NaN are left out) and identifiers.
    first : int
        Number of the first row.
    stem : Path
        Beginning of the files' names.
    order : int or None
        Order of the HEALPix pixels to return.
    near : Area or None
        Leave out rows outside.
    """
    count, id_type = 0, None
    inside = None if order is None else Area.nothing(order)

    def placed() -> Iterator[pa.Table]:
        nonlocal count, id_type
        for vectors, ids in batches:
            rows = finite(vectors)
            if near is not None:
                rows = rows[near.holds(vectors[rows])]
            if inside is not None:
                Area.mark(inside, vectors[rows])
            x, y, z = vectors[rows].T
            columns = {"z": z, "x": x, "y": y, "row": first + count + rows}
            if ids is not None:
                columns["id"], id_type = ids.take(pa.array(rows)), ids.type
            count += len(vectors)
            yield pa.table(columns)

    groups = enumerate(in_groups(placed(), RUN))
    found = [runs.write(Path(f"{stem}-{number}"), table.sort_by("z")) for number, table in groups if len(table)]
    return Spooled(found, count, None if inside is None else np.packbits(inside), id_type)


def pairs(
    executor: Executor, stem: Path, first: Sequence[Run], second: Sequence[Run], radius: float, every: bool
) -> list[Run]:
    """Find the pairs of two tables.

    Returns
    -------
    runs, one after the other
        Columns `row_a`, `row_b`, `separation` in arcsec, and `id_a` and `id_b` if the tables have identifiers; ordered
        by row_a, then by row_b.
    """
    index = Path(f"{stem}-runs")
    index.write_bytes(pickle.dumps([[run.without_marks() for run in side] for side in (first, second)]))
    zones = enumerate(runs.ranges([*first, *second], ZONE)) if second else ()
    calls = ((index, Path(f"{stem}-zone-{number}"), zone, radius, every) for number, zone in zones)
    found = [run for run in results(_search_zone, calls, None, executor) if run is not None]
    index.write_bytes(pickle.dumps([run.without_marks() for run in found]))
    parts = enumerate(runs.ranges(found, MERGED))
    return list(results(_merge, ((index, Path(f"{stem}-pairs-{n}"), part) for n, part in parts), None, executor))


def neighbours_far(
    executor: Executor, folder: Path, first: np.ndarray, second: np.ndarray, radius: float, every: bool
) -> Pairs:
    """Find the same as `neighbours` in the workers of an executor, which see `folder`."""
    with scratch(folder) as stem:
        a, b = (
            spool([(vectors, None)], 0, Path(f"{stem}-{side}"), None, None).runs
            for side, vectors in (("a", first), ("b", second))
        )
        found = pairs(executor, stem, a, b, radius, every)
        rows_a, rows_b = (
            np.concatenate([np.zeros(0, np.int64), *(runs.mapped(run)[name].to_numpy() for run in found)])
            for name in ("row_a", "row_b")
        )
    return rows_a, rows_b


def _search_zone(index: Path, out: Path, zone: tuple[float, float], radius: float, every: bool) -> Run | None:
    """Search a zone in a worker."""
    first, second = pickle.loads(index.read_bytes())
    (low, high), wide = zone, chord(radius)
    asked = runs.between(first, low, high)
    there = runs.between(second, low - wide, np.nextafter(high + wide, np.inf)) if asked else []
    if not there:
        return None
    a, b = (pa.concat_tables(parts).combine_chunks() for parts in (asked, there))
    vectors_a, vectors_b = (np.stack([side[name].to_numpy() for name in "xyz"], axis=-1) for side in (a, b))
    numbers_a, numbers_b = (side["row"].to_numpy() for side in (a, b))
    places_a, places_b = search(vectors_a, vectors_b, numbers_b, radius, every)
    if not len(places_a):
        return None
    order = np.lexsort((numbers_b[places_b], numbers_a[places_a]))
    places_a, places_b = places_a[order], places_b[order]
    apart = separation(vectors_a[places_a], vectors_b[places_b])
    found = {"row_a": numbers_a[places_a], "row_b": numbers_b[places_b], "separation": apart}
    for name, side, places in (("id_a", a, places_a), ("id_b", b, places_b)):
        if "id" in side.column_names:
            found[name] = side["id"].take(pa.array(places))
    return runs.write(out, pa.table(found))


def _merge(index: Path, out: Path, part: tuple[int, int]) -> Run:
    """Merge the pairs of a range of rows of the first table in a worker."""
    table = pa.concat_tables(runs.between(pickle.loads(index.read_bytes()), *part)).combine_chunks()
    order = np.lexsort((table["row_b"].to_numpy(), table["row_a"].to_numpy()))
    return runs.write(out, table.take(pa.array(order)))
