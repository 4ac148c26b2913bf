"""Export a built dataset or a join as a HATS collection, to a folder or URL. An interrupted export can be resumed."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skyshards.cluster import as_executor
from skyshards.errors import UsageError
from skyshards.export.content import content_of
from skyshards.export.documentation import text_lengths
from skyshards.export.plan import MARGIN_ARCSEC, make_plan
from skyshards.export.write import Dataset, RowFile, Writing, threads_for, write_rows
from skyshards.files import clear_errors, hold, is_url, remove_unfinished
from skyshards.machine import usable_cores
from skyshards.place import Place
from skyshards.processes import prepare, results
from skyshards.progress import progress, stalled
from skyshards.read.joined import JoinedTable
from skyshards.read.table import Table

if TYPE_CHECKING:
    from distributed import Client

STATE = "export.json"
"""The file written first in an export, with the dataset and options."""
NO_ROWS = ("url", "published")
"""Options on which no file of rows depends: with others, an export is described anew."""
TILE_MB = 300.0
MAX_MARGIN_ARCSEC = 3600.0


@dataclass(frozen=True)
class Exported:
    """Result of an export: rows, tiles, rows in the margin cache, and the number of files `written` by this run."""

    place: str
    rows: int
    tiles: int
    margin_rows: int
    written: int


def export(
    source: str | os.PathLike | Table | JoinedTable,
    out: str | os.PathLike,
    *,
    tile_mb: float = TILE_MB,
    margin_arcsec: float = MARGIN_ARCSEC,
    url: str | None = None,
    published: str | None = None,
    workers: int | None = None,
    executor: Executor | Client | None = None,
    storage_options: dict[str, Any] | None = None,
) -> Exported:
    """Export a built dataset or a join as a HATS collection for LSDB, stock `datasets` and other readers of Parquet.

    In a join, columns are named `gz3d_image`, but `object_id`, `ra` and `dec` of the first dataset keep their names.
    Values of rows that lack a dataset are null.

    Parameters
    ----------
    source : path, URL, Table or JoinedTable
        A built dataset (its folder, or the table of all of it), the file of a saved join, or a join from
        `skyshards.join`.
    out : path or URL
        The destination, a folder or an fsspec URL. It must be empty, or hold an export of the same dataset with the
        same options, which is resumed if it is unfinished. Of a finished one, `url` and `published` can be changed.
    tile_mb : float
        Approximate maximum size of a tile's file in megabytes.
    margin_arcsec : float
        Width of the margin cache in arcsec; 0 for none.
    url, published : str, optional
        The dataset's page and its publication date (such as 2026-01-31) for the Croissant file; default: those of the
        first work in `CITATION.bib`.
    workers : int, optional
        Number of writer processes, 0 to write in this process; default: the number of usable cores.
    executor : concurrent.futures.Executor or distributed.Client, optional
        Used instead of own processes. Its workers must see the same folders under the same paths.
    storage_options : dict, optional
        Options for the file system of `out`. For those of a dataset at a URL, export a table that was opened with them.

    Returns
    -------
    Exported

    Raises
    ------
    UsageError
        If `hats` is not installed, an option is invalid, a table is a selection, or `out` holds anything else.
    FolderError
        If `source` is neither a built dataset nor a join, has no rows, or cannot be read.
    ShardCorrupted
        If a shard does not match its catalogue.
    BuildError
        If another export is writing to `out`, a process died, or the disk is full.
    """
    _check(tile_mb, margin_arcsec)
    content, place = content_of(source), Place(os.fspath(out), storage_options or {})
    if workers != 0 and executor is None:
        prepare(write_rows)
    from skyshards.export import collection, features, hats_files  # these import datasets and hats, which takes seconds

    plan = make_plan(content, tile_mb, margin_arcsec)
    options = {"tile_mb": tile_mb, "margin_arcsec": margin_arcsec, "url": url, "published": published}
    stores = [str(part.store) for part in content.parts.values()]
    with as_executor(executor, stalled) as executor, _held(place, stores):
        there, same = _resume(place, content.state | options)
        if same and hats_files.COLLECTION in there:
            return Exported(place.url, len(plan.order), len(plan.tiles), plan.margin_rows, 0)
        todo = [file for file in plan.files() if file.name not in there]
        schema = features.schema(plan.name, content.specs, plan.several, text_lengths(content))
        writing = Writing(
            {name: Dataset.of(part.table) for name, part in content.parts.items()},
            {name: dict(part.names) for name, part in content.parts.items()},
            content.specs,
            place,
            schema,
            hats_files.parquet_arguments(schema),
        )
        _write(writing, todo, workers, executor)
        collection.write_all(place, plan, schema, url, published)
    return Exported(place.url, len(plan.order), len(plan.tiles), plan.margin_rows, len(todo))


def _write(writing: Writing, todo: list[RowFile], count: int | None, executor: Executor | None) -> None:
    cores = 1 if executor else usable_cores() if count is None else max(1, count)
    calls = ((writing, file, threads) for file, threads in zip(todo, threads_for(todo, cores), strict=True))
    with progress("exporting", "rows", sum(len(file.nbytes) for file in todo)) as bar:
        for rows in results(write_rows, calls, count, executor):
            bar.update(rows)


def _check(tile_mb: float, margin_arcsec: float) -> None:
    if importlib.util.find_spec("hats") is None:
        raise UsageError("an export needs the package hats: pip install 'skyshards[hats]'")
    if not tile_mb > 0:
        raise UsageError(f"tile_mb: expected more than 0, found {tile_mb}")
    if not 0 <= margin_arcsec <= MAX_MARGIN_ARCSEC:
        raise UsageError(f"margin_arcsec: expected 0 to {MAX_MARGIN_ARCSEC:g}, found {margin_arcsec}")


@contextlib.contextmanager
def _held(place: Place, datasets: Iterable[str]) -> Iterator[None]:
    """Lock a local destination for this export, and clean up after killed ones."""
    roots = [f"{_root(location)}/" for location in (place.url, *datasets)]
    if any(roots[0].startswith(root) or root.startswith(roots[0]) for root in roots[1:]):
        raise UsageError(f"{place.url}: an export and the dataset cannot lie within each other; choose another OUT")
    out = place.folder
    if out is None:
        with clear_errors(place.url):
            yield
        return
    busy = f"{out}: another export is writing to it; wait for it, or choose another OUT"
    with clear_errors(out), hold(out, busy, out.with_name(f".{out.name}.lock")):
        remove_unfinished(out, below=True)
        yield


def _root(location: str) -> str:
    """Return a URL of a folder that other URLs can be compared with."""
    on_disk = not is_url(location) or location.startswith("file://")
    folder = Place(location).folder if on_disk else None
    return location.rstrip("/") if folder is None else folder.resolve().as_uri()


def _resume(place: Place, state: dict[str, Any]) -> tuple[set[str], bool]:
    """Return the files of an earlier export of the same rows, and whether all else is the same; write the state."""
    text, there = json.dumps(state, indent=1) + "\n", place.names()
    if STATE in there:
        try:
            found = json.loads(place.read(STATE))
            differing = [name for name in state if found[name] != state[name]]
        except (ValueError, KeyError, TypeError):
            raise UsageError(f"{place.url}/{STATE}: not the state of an export; choose another OUT") from None
        if set(differing) - set(NO_ROWS):
            what = ", ".join(_difference(name, found[name], state[name]) for name in differing)
            raise UsageError(f"{place.url}: holds an export with {what}; delete it, or choose another OUT")
    elif there:
        raise UsageError(f"{place.url}: holds files that are not part of an export; choose another OUT")
    else:
        differing = list(state)
    if differing:
        with place.writing(STATE) as path:
            path.write_text(text)
    return there, not differing


def _difference(name: str, found: Any, expected: Any) -> str:
    if name.endswith("_sha256"):
        return f"other rows (its {name} differs)"
    return f"{name} = {found!r} instead of {expected!r}"
