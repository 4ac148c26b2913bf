"""Record the outcome of each source in `sources.parquet`, and failed sources in `failures.csv`.

`sources.parquet` has the columns key, url, bytes, sha256, status ("done", "in part", "left out" or "failed"), error,
and the shard and row of a source's first row and its number of rows. Programs differ in how they treat nulls, so there
are none: missing values are empty text, 0 bytes, 0 rows and row -1.

`tries.csv` lists the sources that took more than one try. Tries depend on the runs, so they have a file of their own:
all other files are the same however often a build was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
_PLACE = pa.schema(
    [
        pa.field("shard", pa.string(), metadata={"description": "shard of its first row; empty if it gave no row"}),
        pa.field("row", pa.int32(), metadata={"description": "position of its first row in the shard; -1 if none"}),
        pa.field("rows", pa.int64(), metadata={"description": "how many rows it gave"}),
    ]
)
_MISSING = {"url": "", "bytes": 0, "sha256": "", "error": "", "shard": "", "row": -1, "rows": 0}


class Origin(NamedTuple):
    """The source of a row.

    `source` is its key; `url`, `nbytes` and `sha256` describe the downloaded file, and are None if nothing was
    downloaded.
    """

    source: str
    url: str | None
    nbytes: int | None
    sha256: str | None


class SourceRecord(NamedTuple):
    """The outcome of one source.

    `status` is "done", "in part" (a limit cut its rows), "left out" (the options exclude all its rows) or "failed".
    """

    key: str
    url: str | None
    nbytes: int | None
    sha256: str | None
    status: str
    error: str | None
    tries: int


def write(folder: Path, records: Iterable[SourceRecord], catalog: pa.Table) -> None:
    """Write the non-empty files; the catalogue locates each source's rows."""
    records = sorted(records, key=lambda record: record.key)
    *columns, _ = list(zip(*records, strict=True)) or [()] * (len(_SCHEMA) + 1)
    table = pa.table(
        [pa.array(column, kind) for column, kind in zip(columns, _SCHEMA.types, strict=True)], schema=_SCHEMA
    )
    lies = pa.table({"key": catalog[SOURCE], "shard": catalog[SHARD].cast(pa.string()), "row": catalog[ROW]})
    first = lies.group_by("key", use_threads=False).aggregate([("shard", "first"), ("row", "first"), ("row", "count")])
    first = first.rename_columns({"shard_first": "shard", "row_first": "row", "row_count": "rows"})
    table = table.join(first, "key").sort_by("key")
    filled = [
        pc.fill_null(column, _MISSING[name]) if name in _MISSING else column
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    table = pa.table(filled, schema=pa.schema([*_SCHEMA, *_PLACE]))
    table = table.replace_schema_metadata(votable.metadata("sources", table))
    pq.write_table(table, folder / SOURCES, compression="zstd")
    failed = table.filter(pc.field("status") == "failed").select(["key", "url", "error"])
    if len(failed):
        shown = [[printable(text) for text in column.to_pylist()] for column in failed.columns]
        write_csv(pa.table(shown, names=failed.column_names), folder / FAILURES)
    if again := [(record.key, record.tries) for record in records if record.tries > 1]:
        write_csv(pa.table(list(zip(*again, strict=True)), names=["key", "tries"]), folder / TRIES)


def read(folder: Path) -> dict[str, SourceRecord]:
    """Read the outcome of each source by key; empty if nothing was built. Raises `FolderError` for a damaged file."""
    path = folder / SOURCES
    if not path.is_file():
        return {}
    table = read_table(path, str(path))
    tries = _read_tries(folder / TRIES)
    columns = (table[name].to_pylist() for name in _SCHEMA.names)
    return {values[0]: _record(values, tries.get(values[0], 1)) for values in zip(*columns, strict=True)}


def read_table(file: Any, where: str) -> pa.Table:
    """Read the columns of `sources.parquet` (a path or a file object) that do not depend on shards.

    Raises `FolderError`, naming the file as `where`, if it is damaged.
    """
    try:
        parquet = pq.ParquetFile(file)
        names = parquet.schema_arrow.names
        if not set(_SCHEMA.names).issubset(names):
            raise ValueError(f"expected columns {', '.join(_SCHEMA.names)}, found {', '.join(names)}")
        check_memory(file, parquet, _SCHEMA.names)
        table = parquet.read(columns=_SCHEMA.names)
        table.validate(full=True)
        if table.schema.remove_metadata() != _SCHEMA:
            raise ValueError(f"expected columns {', '.join(_SCHEMA.names)}, found {', '.join(table.schema.names)}")
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
    record = _record([table[name][place].as_py() for name in _SCHEMA.names], 1)
    return Origin(record.key, record.url, record.nbytes, record.sha256)


def _read_tries(path: Path) -> dict[str, int]:
    """Read the number of tries by source; an unreadable file is ignored."""
    try:
        table = read_csv(path, convert_options=ConvertOptions(column_types={"key": pa.string(), "tries": pa.int32()}))
        return dict(zip(table["key"].to_pylist(), table["tries"].to_pylist(), strict=True))
    except (pa.ArrowException, OSError, KeyError):
        return {}


def _record(values: Sequence[Any], tries: int) -> SourceRecord:
    key, url, nbytes, sha256, status, error = values
    return SourceRecord(key, url or None, nbytes if sha256 else None, sha256 or None, status, error or None, tries)
