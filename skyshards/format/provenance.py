"""What became of each source of a data set: `sources.parquet`, and those that failed in `failures.csv`.

`sources.parquet` has the columns key, url, bytes, sha256, status ("done", "in part", "left out" or "failed"), tries,
error, and for a source that gave rows the shard and row of the first, and how many rows there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.csv import write_csv

from skyshards.errors import FolderError
from skyshards.format.layout import FAILURES, SOURCES

_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("url", pa.string()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("status", pa.string()),
        ("tries", pa.int32()),
        ("error", pa.string()),
    ]
)


class SourceRecord(NamedTuple):
    """What became of one source.

    `status` is "done", "in part" (a limit cut its rows), "left out" (the options leave out all its rows) or "failed".
    """

    key: str
    url: str | None
    nbytes: int | None
    sha256: str | None
    status: str
    tries: int
    error: str | None


def write(folder: Path, records: Iterable[SourceRecord], catalog: pa.Table) -> None:
    """Write both files, the second if any source failed; the catalogue tells where each source's rows lie."""
    columns = list(zip(*sorted(records), strict=True)) or [()] * len(_SCHEMA)  # keys are unique: sorted by key
    table = pa.table(
        [pa.array(column, kind) for column, kind in zip(columns, _SCHEMA.types, strict=True)], schema=_SCHEMA
    )
    lies = pa.table({"key": catalog["source"], "shard": catalog["_shard"].cast(pa.string()), "row": catalog["_row"]})
    first = lies.group_by("key", use_threads=False).aggregate([("shard", "first"), ("row", "first"), ("row", "count")])
    first = first.rename_columns({"shard_first": "shard", "row_first": "row", "row_count": "rows"})
    table = table.join(first, "key").sort_by("key")
    pq.write_table(table, folder / SOURCES, compression="zstd")
    failed = table.filter(pc.field("status") == "failed").select(["key", "url", "tries", "error"])
    if len(failed):
        write_csv(failed, folder / FAILURES)


def read(folder: Path) -> dict[str, SourceRecord]:
    """What became of each source, by key; empty if nothing was built. Raises `FolderError` for a damaged file."""
    path = folder / SOURCES
    if not path.is_file():
        return {}
    try:
        table = pq.ParquetFile(path).read(columns=_SCHEMA.names)
        table.validate(full=True)
        if table.schema.remove_metadata() != _SCHEMA:
            raise ValueError(f"expected columns {', '.join(_SCHEMA.names)}, found {', '.join(table.schema.names)}")
        if empty := [name for name in ("key", "status", "tries") if table[name].null_count]:
            raise ValueError(f"column {empty[0]!r} lacks values")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FolderError(
            f"{path}: cannot be read ({error}); delete it, and the build looks at all sources again"
        ) from error
    columns = (table[name].to_pylist() for name in _SCHEMA.names)
    return {values[0]: SourceRecord(*values) for values in zip(*columns, strict=True)}
