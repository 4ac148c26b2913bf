"""Read and write joins as Parquet files, which other programs can read too.

The schema metadata give for each dataset the location of its folder (a URL, or a path relative to the file's), a digest
of its shards, and the column of its row numbers (null where a row of a left join has none).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skyshards.errors import FolderError
from skyshards.files import replacing
from skyshards.read.matches import Matches
from skyshards.read.store import LocalStore
from skyshards.read.table import Table, open_table

KEY = b"skyshards.join"
VERSION = 1


def metadata(parts: Mapping[str, tuple[Table, str]], own: Sequence[str], path: Path) -> dict[bytes, str]:
    """Return the metadata that make a Parquet file at `path` a join.

    `parts` are by name each table and the column of its row numbers, `own` the join's own columns.
    """
    tables = []
    for name, (table, rows) in parts.items():
        store = table._data.reader.store
        if isinstance(store, LocalStore):
            where = os.path.relpath(store.root.resolve(), path.absolute().parent.resolve())
        else:
            where = store.url
        tables.append({"name": name, "location": where, "state": table._data.state, "rows": rows})
    return {KEY: json.dumps({"version": VERSION, "tables": tables, "own": list(own)})}


def write(matches: Matches, path: str | os.PathLike) -> None:
    """Write a join to a file, replacing an existing one."""
    path = Path(path)
    columns: dict[str, pa.Array] = {}
    for name, table in matches.parts.items():
        rows = pa.array(matches.rows[name], mask=matches.rows[name] < 0)
        columns |= {f"id_{name}": table._asked("object_id").take(rows), f"row_{name}": rows}
    columns |= {name: pa.array(values) for name, values in matches.own.items()}
    about = metadata({name: (table, f"row_{name}") for name, table in matches.parts.items()}, list(matches.own), path)
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns).replace_schema_metadata(about), temporary)


def read(path: str | os.PathLike, folders: Mapping[str, Any], **options: Any) -> Matches:
    """Read the matches in a file and open its folders; `folders` overrides locations by dataset name.

    Raises
    ------
    FolderError
        If the file is not a saved join, or a folder is missing or has changed.
    """
    path, parts, rows = Path(path), {}, {}
    try:
        file = pq.ParquetFile(path)
        about = json.loads((file.schema_arrow.metadata or {})[KEY])
        pairs = file.read([*(table["rows"] for table in about["tables"]), *about["own"]])
    except FileNotFoundError as error:
        raise FolderError(f"{path}: there is no such file") from error
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        advice = "`JoinedTable.save` and `skyshards crossmatch` (of two built datasets) write such files"
        raise FolderError(f"{path}: not a join of built datasets; {advice}") from error
    for table in about["tables"]:
        name, where = table["name"], table["location"]
        where = folders.get(name, where if "://" in where else path.resolve().parent / where)
        part = parts[name] = open_table(where, **options)
        if part._data.state != table["state"]:
            raise FolderError(f"{path}: {name} at {where} has changed since it was joined; join it again")
        rows[name] = pairs[table["rows"]].fill_null(-1).to_numpy()
    return Matches(parts, rows, {name: np.asarray(pairs[name]) for name in about["own"]})
