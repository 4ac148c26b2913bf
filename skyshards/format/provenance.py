"""Record the outcome of each source in `sources.parquet`, and failed sources in `failures.csv`.

`sources.parquet` has the columns key, url, bytes, sha256, status ("done", "in part", "left out" or "failed"), error,
total, read and failed (rows), release, and the shard and row of a source's first row and its number of rows. Programs
differ in how they treat nulls, so there are none: missing values are empty text, 0 bytes, 0 rows and row -1.

`failures.csv` lists failed sources, and single rows that failed, with their number in the source.

`tries.csv` lists the sources that took more than one try. Tries depend on the runs, so they have a file of their own:
all other files are the same however often a build was interrupted.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.csv import ConvertOptions, read_csv, write_csv

from skyshards.errors import FolderError
from skyshards.format import parquet_parts
from skyshards.format.catalog_file import CatalogFile
from skyshards.format.layout import FAILURES, ROW, SHARD, SOURCE, SOURCES, TRIES
from skyshards.format.parquet_bounds import check_memory
from skyshards.text import printable

_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), metadata={"description": "name of the source"}),
        pa.field("url", pa.string(), metadata={"description": "where it came from; empty if nothing was fetched"}),
        pa.field("bytes", pa.int64(), metadata={"description": "size; 0 if nothing was fetched", "unit": "byte"}),
        pa.field("sha256", pa.string(), metadata={"description": "digest of it; empty if nothing was fetched"}),
        pa.field(
            "status",
            pa.string(),
            metadata={"description": "done, in part, left out or failed"},
        ),
        pa.field("error", pa.string(), metadata={"description": "why it failed; empty if it did not"}),
    ]
)
_LATER = pa.schema(
    [
        pa.field("total", pa.int64(), metadata={"description": "rows that it has; -1 if unknown"}),
        pa.field("read", pa.int64(), metadata={"description": "rows read, from its first row on"}),
        pa.field("failed", pa.int64(), metadata={"description": "rows among them that failed (see failures.csv)"}),
        pa.field("release", pa.string(), metadata={"description": "release of the archive; empty if unknown"}),
    ]
)
"""Absent in folders of earlier versions: either the first three, or all."""
_PLACE = pa.schema(
    [
        pa.field("shard", pa.string(), metadata={"description": "shard of its first row; empty if it gave no row"}),
        pa.field("row", pa.int32(), metadata={"description": "position of its first row in the shard; -1 if none"}),
        pa.field("rows", pa.int64(), metadata={"description": "how many rows it gave"}),
    ]
)
_COUNTS = ("shard", "row", "rows")
_FIELDS = {"bytes": "nbytes"}
"""Columns whose name differs from that in `SourceRecord`."""
_MISSING = {"url": "", "bytes": 0, "sha256": "", "error": "", "total": -1}
_MISSING |= {"release": "", "shard": "", "row": -1, "rows": 0}


BATCH = 1 << 12
"""Records that are in memory at once."""
GROUP_ROWS = 1 << 15
"""Rows of a row group."""


class Origin(NamedTuple):
    """The source of a row.

    `source` is its key; `url`, `nbytes` and `sha256` describe the downloaded file, and are None if nothing was
    downloaded. `release` is the release of the archive that it belongs to, such as "SDSS DR17, GZ3D v4_0_0"; None if
    that is unknown.
    """

    source: str
    url: str | None
    nbytes: int | None
    sha256: str | None
    release: str | None = None


class SourceRecord(NamedTuple):
    """The outcome of one source.

    `status` is "done", "in part" (a limit cut its rows), "left out" (the options exclude all its rows) or "failed"; in
    the journal of a build also "begun". `total` is the number of rows that the source has (None if unknown), `read` how
    many of them were read, from the first on, and `failed` how many of these failed. `error` says why the source
    failed, or why the rest of one that is "in part" could not be fetched. `release` is as in `Origin`.
    """

    key: str
    url: str | None
    nbytes: int | None
    sha256: str | None
    status: str
    error: str | None
    tries: int
    total: int | None = None
    read: int = 0
    failed: int = 0
    release: str | None = None

    @property
    def missing(self) -> int:
        """Rows of a source that is there in part that were not read; 0 if unknown."""
        return self.total - self.read if self.status == "in part" and self.total is not None else 0


class BadRow(NamedTuple):
    """A row of a source that failed: its number in the source, and why."""

    source: str
    number: int
    error: str


def write(
    folder: Path, records: Callable[[], Iterable[SourceRecord]], catalog: CatalogFile, bad: Iterable[BadRow] = ()
) -> None:
    """Write the non-empty files; the catalogue locates each source's rows.

    `records` gives all records in the order of their keys, each time it is called.
    """
    lies = places(catalog)
    shards = pa.array([shard.path for shard in catalog.manifest.shards], pa.string())

    def parts() -> Iterator[pa.Table]:
        found = iter(records())
        while batch := list(islice(found, BATCH)):
            yield _part(batch, lies, shards)

    parquet_parts.write(folder / SOURCES, "sources", pa.schema([*_SCHEMA, *_LATER, *_PLACE]), parts, GROUP_ROWS)
    again, failures, urls = [], [], {}
    for record in records():
        if record.error:
            failures.append((record.key, "", record.url or "", record.error))
        if record.failed:
            urls[record.key] = record.url or ""
        if record.tries > 1:
            again.append((record.key, record.tries))
    failures += [(row.source, str(row.number), urls[row.source], row.error) for row in sorted(bad)]
    if failures:
        shown = [[printable(text) for text in column] for column in zip(*failures, strict=True)]
        write_csv(pa.table(shown, names=["key", "row", "url", "error"]), folder / FAILURES)
    if again:
        write_csv(pa.table(list(zip(*again, strict=True)), names=["key", "tries"]), folder / TRIES)


def places(catalog: CatalogFile) -> pa.Table:
    """Return the number of the shard and the row of each source's first row, and how many it has, sorted by key."""
    found = [pa.table({"key": pa.array([], pa.string()), **{name: pa.array([], pa.int64()) for name in _COUNTS}})]
    for part in catalog.parts([SOURCE, SHARD, ROW]):
        codes = pa.chunked_array([chunk.indices.cast(pa.int64()) for chunk in part[SHARD].chunks])
        lies = pa.table({"key": part[SOURCE], "shard": codes, "row": part[ROW].cast(pa.int64())})
        first = lies.group_by("key", use_threads=False)
        first = first.aggregate([("shard", "first"), ("row", "first"), ("row", "count")])
        found.append(first.rename_columns(["key", *_COUNTS]))
    together = pa.concat_tables(found)
    found.clear()
    ordered = together.take(pc.sort_indices(together["key"])).combine_chunks()  # in a stable order
    del together  # a copy of all keys
    if not len(ordered):
        return ordered
    keys = ordered["key"].combine_chunks()
    starts = np.flatnonzero(np.append(True, pc.not_equal(keys[1:], keys[:-1]).to_numpy(zero_copy_only=False)))
    if len(starts) == len(ordered):  # no source has rows in several row groups
        return ordered
    rows = np.add.reduceat(ordered["rows"].to_numpy(), starts)
    return ordered.take(pa.array(starts)).set_column(3, "rows", pa.array(rows))


def _part(batch: Sequence[SourceRecord], places: pa.Table, shards: pa.Array) -> pa.Table:
    """Return the rows of `sources.parquet` for some records."""
    schema = pa.schema([*_SCHEMA, *_LATER])
    columns = {}
    for name, kind in zip(schema.names, schema.types, strict=True):
        values = [getattr(record, _FIELDS.get(name, name)) for record in batch]
        columns[name] = pa.array([_MISSING.get(name) if value is None else value for value in values], kind)
    keys = columns["key"]
    lies = places.take(located(keys, places))
    columns["shard"] = shards.take(lies["shard"].combine_chunks())
    columns["row"], columns["rows"] = lies["row"].cast(pa.int32()), lies["rows"]
    filled = {name: pc.fill_null(columns[name], _MISSING[name]) for name in _PLACE.names}
    return pa.table({**columns, **filled}, schema=pa.schema([*schema, *_PLACE]))


def located(keys: pa.Array, places: pa.Table) -> pa.Array:
    """Return the row of each key in the table of `places`; null for keys without rows. Fast for keys in order."""
    found, numbers = places["key"], range(len(places))
    first = bisect_left(numbers, pc.min(keys).as_py(), key=lambda number: found[number].as_py())
    last = bisect_right(numbers, pc.max(keys).as_py(), key=lambda number: found[number].as_py())
    within = pc.index_in(keys, found.slice(first, last - first).combine_chunks())
    return pc.add(within, pa.scalar(first, pa.int64()))


def read(folder: Path) -> Iterator[SourceRecord]:
    """Read the outcome of each source, in the order of the file; none if nothing was built.

    Raises `FolderError` for a damaged file.
    """
    path = folder / SOURCES
    if path.is_file():
        tries = _read_tries(folder / TRIES)
        for part in _read_parts(path, str(path)):
            yield from records(part, tries)


def records(table: pa.Table, tries: Mapping[str, int] | None = None) -> list[SourceRecord]:
    """Outcome of each source in the table of `read_table`; `tries` by key, where there was more than one."""
    columns = (table[name].to_pylist() for name in table.column_names)
    rows = (dict(zip(table.column_names, values, strict=True)) for values in zip(*columns, strict=True))
    return [_record(row, (tries or {}).get(row["key"], 1)) for row in rows]


def read_bad_rows(folder: Path, records: Iterable[SourceRecord]) -> dict[str, list[BadRow]]:
    """Read the failed rows of the recorded sources from `failures.csv`; an unreadable file is ignored."""
    keys = {printable(record.key): record.key for record in records if record.failed}
    if not keys:
        return {}
    found: dict[str, list[BadRow]] = {}
    try:
        options = ConvertOptions(column_types=dict.fromkeys(("key", "row", "error"), pa.string()))
        table = read_csv(folder / FAILURES, convert_options=options)
        for key, number, error in zip(*(table[name].to_pylist() for name in ("key", "row", "error")), strict=True):
            if number and key in keys:
                found.setdefault(keys[key], []).append(BadRow(keys[key], int(number), error))
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return {}
    return found


def read_table(file: Any, where: str) -> pa.Table:
    """Read the columns of `sources.parquet` (a path or a file object) that do not depend on shards.

    Raises `FolderError`, naming the file as `where`, if it is damaged.
    """
    return pa.concat_tables(_read_parts(file, where))


def _read_parts(file: Any, where: str) -> Iterator[pa.Table]:
    """Read what `read_table` does in parts, at least one."""
    try:
        parquet = pq.ParquetFile(file)
        names = parquet.schema_arrow.names
        if not set(_SCHEMA.names).issubset(names):
            raise ValueError(f"expected columns {', '.join(_SCHEMA.names)}, found {', '.join(names)}")
        schema = pa.schema([*_SCHEMA, *(field for field in _LATER if field.name in names)])
        check_memory(file, parquet, schema.names)
        found = pa.schema([parquet.schema_arrow.field(name) for name in schema.names])
        if found != schema:
            raise ValueError(f"expected columns {', '.join(schema.names)}, found {', '.join(found.names)}")
        yield found.empty_table()
        for batch in parquet.iter_batches(BATCH, columns=schema.names):
            part = pa.Table.from_batches([batch])
            part.validate(full=True)
            if empty := [name for name in ("key", "status") if part[name].null_count]:
                raise ValueError(f"column {empty[0]!r} lacks values")
            yield part
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FolderError(
            f"{where}: cannot be read ({error}); delete it and build again, which checks all sources"
        ) from error


def origin(table: pa.Table, key: str) -> Origin | None:
    """Look up one source in the table of `read_table`; None if it is missing."""
    place = pc.index(table["key"], pa.scalar(key, pa.string())).as_py()
    if place < 0:
        return None
    (record,) = records(table.slice(place, 1))
    return Origin(record.key, record.url, record.nbytes, record.sha256, record.release)


def _read_tries(path: Path) -> dict[str, int]:
    """Read the number of tries by source; an unreadable file is ignored."""
    try:
        table = read_csv(path, convert_options=ConvertOptions(column_types={"key": pa.string(), "tries": pa.int32()}))
        return dict(zip(table["key"].to_pylist(), table["tries"].to_pylist(), strict=True))
    except (pa.ArrowException, OSError, KeyError):
        return {}


def _record(row: Mapping[str, Any], tries: int) -> SourceRecord:
    sha256, total = row["sha256"] or None, row.get("total")
    return SourceRecord(
        row["key"],
        row["url"] or None,
        row["bytes"] if sha256 else None,
        sha256,
        row["status"],
        row["error"] or None,
        tries,
        None if total is None or total < 0 else total,
        row.get("read") or 0,
        row.get("failed") or 0,
        row.get("release") or None,
    )
