"""Record the outcome of each source in `sources.parquet`, and failed sources in `failures.csv`.

`sources.parquet` has the columns key, url, bytes, sha256, status ("done", "in part", "left out" or "failed"), error,
total, read and failed (rows), release, and the shard and row of a source's first row and its number of rows. Programs
differ in how they treat nulls, so there are none: missing values are empty text, 0 bytes, 0 rows and row -1.

`failures.csv` lists failed sources, and single rows that failed, with their number in the source.

`tries.csv` lists the sources that took more than one try. Tries depend on the runs, so they have a file of their own:
all other files are the same however often a build was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.csv import ConvertOptions, read_csv, write_csv

from skyshards.errors import FolderError
from skyshards.format import votable
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
_FIELDS = {"bytes": "nbytes"}
"""Columns whose name differs from that in `SourceRecord`."""
_MISSING = {"url": "", "bytes": 0, "sha256": "", "error": "", "total": -1}
_MISSING |= {"release": "", "shard": "", "row": -1, "rows": 0}


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


def write(folder: Path, records: Iterable[SourceRecord], catalog: pa.Table, bad: Iterable[BadRow] = ()) -> None:
    """Write the non-empty files; the catalogue locates each source's rows."""
    records = sorted(records, key=lambda record: record.key)
    schema = pa.schema([*_SCHEMA, *_LATER])
    columns = [[getattr(record, _FIELDS.get(name, name)) for record in records] for name in schema.names]
    table = pa.table(
        [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)], schema=schema
    )
    lies = pa.table({"key": catalog[SOURCE], "shard": catalog[SHARD].cast(pa.string()), "row": catalog[ROW]})
    first = lies.group_by("key", use_threads=False).aggregate([("shard", "first"), ("row", "first"), ("row", "count")])
    first = first.rename_columns({"shard_first": "shard", "row_first": "row", "row_count": "rows"})
    table = table.join(first, "key").sort_by("key")
    filled = [
        pc.fill_null(column, _MISSING[name]) if name in _MISSING else column
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    table = pa.table(filled, schema=pa.schema([*schema, *_PLACE]))
    table = table.replace_schema_metadata(votable.metadata("sources", table))
    pq.write_table(table, folder / SOURCES, compression="zstd")
    urls = {record.key: record.url or "" for record in records}
    failures = [(record.key, "", urls[record.key], record.error) for record in records if record.error]
    failures += [(row.source, str(row.number), urls[row.source], row.error) for row in sorted(bad)]
    if failures:
        shown = [[printable(text) for text in column] for column in zip(*failures, strict=True)]
        write_csv(pa.table(shown, names=["key", "row", "url", "error"]), folder / FAILURES)
    if again := [(record.key, record.tries) for record in records if record.tries > 1]:
        write_csv(pa.table(list(zip(*again, strict=True)), names=["key", "tries"]), folder / TRIES)


def read(folder: Path) -> dict[str, SourceRecord]:
    """Read the outcome of each source by key; empty if nothing was built. Raises `FolderError` for a damaged file."""
    path = folder / SOURCES
    if not path.is_file():
        return {}
    return {record.key: record for record in records(read_table(path, str(path)), _read_tries(folder / TRIES))}


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
    try:
        parquet = pq.ParquetFile(file)
        names = parquet.schema_arrow.names
        if not set(_SCHEMA.names).issubset(names):
            raise ValueError(f"expected columns {', '.join(_SCHEMA.names)}, found {', '.join(names)}")
        schema = pa.schema([*_SCHEMA, *(field for field in _LATER if field.name in names)])
        check_memory(file, parquet, schema.names)
        table = parquet.read(columns=schema.names)
        table.validate(full=True)
        if table.schema.remove_metadata() != schema:
            raise ValueError(f"expected columns {', '.join(schema.names)}, found {', '.join(table.schema.names)}")
        if empty := [name for name in ("key", "status") if table[name].null_count]:
            raise ValueError(f"column {empty[0]!r} lacks values")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FolderError(
            f"{where}: cannot be read ({error}); delete it and build again, which checks all sources"
        ) from error
    return table


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
