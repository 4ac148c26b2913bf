"""The sources that a build lists, in a file, so that memory does not grow with their number."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from skyshards.errors import BuildError
from skyshards.format.provenance import SourceRecord
from skyshards.pipeline.recipe import Source
from skyshards.pipeline.records import COLUMNS, FIELDS, StoredRecords

LISTING = "listing.sqlite"
"""File in the workspace; a build deletes it at its end, and one that a killed build left."""
AT_ONCE = 1000
"""Sources that are in memory at once."""


class Listing:
    """The sources of a listing in order, and what the folder records of sources; for one thread.

    Parameters
    ----------
    folder : Path
        Where to put the file.

    Attributes
    ----------
    packed : StoredRecords
        Records of sources in the folder, as entered by `enter`.
    downloads : bool
        Whether one of the sources that are to be read is to be downloaded.
    """

    def __init__(self, folder: Path):
        self._path = folder / LISTING
        folder.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._database = sqlite3.connect(self._path, isolation_level=None)
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=MEMORY", "synchronous=OFF", "cache_size=-16000"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute("CREATE TABLE listed (number INTEGER PRIMARY KEY, key TEXT, objects INTEGER, rest BLOB)")
        self._database.execute("CREATE UNIQUE INDEX by_key ON listed (key)")
        self._database.execute(f"CREATE TABLE packed ({COLUMNS}) WITHOUT ROWID")
        self.packed = StoredRecords(self._database, "packed")
        self.downloads = False
        self._count = 0

    def close(self) -> None:
        """Delete the file."""
        self._database.close()
        self._path.unlink(missing_ok=True)

    def enter(self, records: Iterable[SourceRecord]) -> None:
        """Enter records of sources in the folder."""
        marks = ", ".join("?" * len(SourceRecord._fields))
        with self._database:
            self._database.execute("BEGIN")
            self._database.executemany(f"INSERT OR REPLACE INTO packed ({FIELDS}) VALUES ({marks})", records)

    def __len__(self) -> int:
        return self._count

    def append(self, sources: Iterable[tuple[Source, int | None]]) -> Unread:
        """Append sources with the objects that they gave, None for those to read; return the latter.

        Raises `BuildError` if two sources have the same key.
        """
        found, first, unread = iter(sources), self._count, 0
        while block := list(islice(found, AT_ONCE)):
            lines = []
            for number, (source, objects) in enumerate(block, self._count + 1):
                rest = (source.url, source.checksum, source.path, source.split, source.info, source.release)
                lines.append((number, source.key, objects, pickle.dumps(rest, pickle.HIGHEST_PROTOCOL)))
                unread += objects is None
                self.downloads |= objects is None and source.path is None and source.url is not None
            try:
                self._database.execute("BEGIN")
                self._database.executemany("INSERT INTO listed VALUES (?, ?, ?, ?)", lines)
                self._database.execute("COMMIT")
            except sqlite3.IntegrityError:
                self._refuse_same_key(block)
                raise
            self._count += len(block)
        return Unread(self._database, first, self._count, unread)

    def _refuse_same_key(self, block: list[tuple[Source, int | None]]) -> None:
        seen: dict[str, tuple[int, Source]] = {}
        for number, (source, _) in enumerate(block, self._count + 1):
            place, other = seen.get(source.key) or self._find(source.key) or (number, source)
            if place != number:
                raise BuildError(
                    f"sources {place:,} ({_where(other)}) and {number:,} ({_where(source)}) have the same key"
                    f" {source.key!r}; the recipe must give each source a key of its own"
                )
            seen[source.key] = number, source

    def _find(self, key: str) -> tuple[int, Source] | None:
        query = "SELECT number, key, rest FROM listed WHERE key = ? AND number <= ?"
        found = self._database.execute(query, (key, self._count)).fetchone()
        return found and (found[0], _source(*found[1:]))

    def get(self, key: str) -> Source | None:
        """Return the source with a key; None if there is none."""
        found = self._find(key)
        return found and found[1]

    def outcomes(self, after: int) -> Iterator[tuple[str, int | None]]:
        """Key and objects (None if it is to be read) of the sources after the first few, in order."""
        return self._database.execute("SELECT key, objects FROM listed WHERE number > ? ORDER BY number", (after,))

    def keys(self) -> Iterator[str]:
        """All keys, sorted."""
        return (key for (key,) in self._database.execute("SELECT key FROM listed ORDER BY key"))


class Unread(Sequence[Source]):
    """Sources of a listing that are to be read, in order, read from the file as they are asked for."""

    def __init__(self, database: sqlite3.Connection, first: int, last: int, count: int):
        self._database, self._first, self._last, self._count = database, first, last, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: Any) -> Any:
        return list(self)[place] if isinstance(place, slice) else next(islice(self, range(len(self))[place], None))

    def __iter__(self) -> Iterator[Source]:
        query = (
            "SELECT number, key, rest FROM listed WHERE number > ? AND number <= ? AND objects IS NULL"
            f" ORDER BY number LIMIT {AT_ONCE}"
        )
        last = self._first
        while lines := self._database.execute(query, (last, self._last)).fetchall():
            yield from (_source(key, rest) for _, key, rest in lines)
            last = lines[-1][0]


def _source(key: str, rest: bytes) -> Source:
    url, checksum, path, split, info, release = pickle.loads(rest)
    return Source(key, url, checksum, path, split, info, release)


def _where(source: Source) -> str:
    return str(source.url or source.path or "nothing to fetch")
