"""Match two catalogues by position, a part at a time: in threads of this process, or in the workers of a cluster."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from skyshards.matching import runs
from skyshards.matching.area import Area
from skyshards.matching.catalogue import POSITION, Catalogue, Chosen, Part, degrees
from skyshards.matching.neighbours import unit_vectors
from skyshards.matching.runs import Run
from skyshards.matching.zones import Spooled, pairs, scratch, spool
from skyshards.processes import results


@dataclass(frozen=True)
class Found:
    """Pairs of two catalogues in files, and the numbers of rows that were read.

    `read` gives the pairs in order, a part at a time: `id_a`, `id_b` (row numbers, if a catalogue has no identifiers),
    `row_a`, `row_b` and `separation` in arcsec.
    """

    schema: pa.Schema
    read: Callable[[], Iterable[pa.Table]]
    pairs: int
    rows_a: int
    rows_b: int


@contextlib.contextmanager
def catalogue_pairs(
    executor: Executor,
    folder: Path,
    a: tuple[Catalogue, Chosen],
    b: tuple[Catalogue, Chosen],
    radius: float,
    every: bool,
) -> Iterator[Found]:
    """Find the pairs of two catalogues; what this gives can be read in the block.

    Parameters
    ----------
    executor : Executor
        Its workers read the parts of catalogues that are shared; others are read here.
    folder : Path
        For files; all workers see it.
    a, b : (Catalogue, Chosen)
        The catalogues, and their columns.
    radius : float
        In arcsec.
    every : bool
        Pair a row of `a` with every row of `b` within the radius, not only the nearest.
    """
    order = Area.order_of(radius)
    with scratch(folder) as stem:
        first = _spooled(executor, Path(f"{stem}-a"), *a, order, None)
        near = None if first.inside is None else Area.around(np.unpackbits(first.inside).astype(bool))
        second = _spooled(executor, Path(f"{stem}-b"), *b, None, near)
        found = pairs(executor, stem, first.runs, second.runs, radius, every)
        kinds = {"id_a": first.id_type or pa.int64(), "id_b": second.id_type or pa.int64()}
        schema = pa.schema([*kinds.items(), ("row_a", pa.int64()), ("row_b", pa.int64()), ("separation", pa.float64())])
        count = sum(run.rows for run in found)
        yield Found(schema, lambda: map(_with_ids, found), count, first.rows, second.rows)


def _spooled(
    executor: Executor, stem: Path, catalogue: Catalogue, chosen: Chosen, order: int | None, near: Area | None
) -> Spooled:
    parts = catalogue.parts(chosen.names)
    if near is not None:
        parts = [part for part in parts if part.pixels is None or near.overlaps(*part.pixels)]
    area = None
    if near is not None:
        area = Path(f"{stem}-area.npy")
        np.save(area, near.bits)
    about = catalogue.location, chosen, order, near and near.order, area
    calls = ((part, Path(f"{stem}-{number}"), *about) for number, part in enumerate(parts))
    workers = None if catalogue.shared else 0
    found = list(results(_spool_part, calls, workers, executor))
    types = [each.id_type for each in found if each.id_type is not None]
    inside = None
    if order is not None:
        marks = [np.packbits(Area.nothing(order)), *(each.inside for each in found)]
        inside = functools.reduce(np.bitwise_or, marks)
    all_runs = [run for each in found for run in each.runs]
    return Spooled(all_runs, sum(each.rows for each in found), inside, types[0] if types else None)


def _spool_part(
    part: Part, stem: Path, location: str, chosen: Chosen, order: int | None, near: int | None, area: Path | None
) -> Spooled:
    """Read a part, in a worker or here."""

    def batches() -> Iterator[tuple[np.ndarray, pa.Array | None]]:
        for batch in part.batches():
            assert chosen.position is not None  # checked before
            angles = (
                degrees(location, name, batch[name], role) for role, name in zip(POSITION, chosen.position, strict=True)
            )
            yield unit_vectors(*angles), batch[chosen.identity] if chosen.identity else None

    return spool(batches(), part.first, stem, order, None if area is None else Area(near or 0, np.load(area)))


def _with_ids(run: Run) -> pa.Table:
    table = runs.mapped(run)
    ids = {name: table[name if name in table.column_names else f"row{name[2:]}"] for name in ("id_a", "id_b")}
    return pa.table(ids | {name: table[name] for name in ("row_a", "row_b", "separation")})
