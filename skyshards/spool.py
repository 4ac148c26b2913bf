"""Where encoded rows wait until they are packed: an append-only file of payloads, and an SQLite journal of what it
holds.

A source and its rows enter in one transaction, so that a build killed at any moment finds every source either done or
not.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from skyshards.rows import EncodedRow
from skyshards.sources import SourceRecord

_TABLES = """
CREATE TABLE IF NOT EXISTS sources (
    key TEXT PRIMARY KEY, url TEXT, nbytes INTEGER, sha256 TEXT, status TEXT, tries INTEGER, error TEXT
);
CREATE TABLE IF NOT EXISTS rows (
    split TEXT, pixel INTEGER, object_id TEXT, source TEXT, light TEXT, sizes TEXT, start INTEGER
);
CREATE INDEX IF NOT EXISTS rows_of_pixel ON rows (split, pixel);
"""


@dataclass(frozen=True)
class Payload:
    """What a row's payload is read with when it is called for, in whatever process."""

    path: Path
    start: int
    nbytes: int

    def __call__(self) -> bytes:
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            return os.pread(descriptor, self.nbytes, self.start)
        finally:
            os.close(descriptor)


class Spool:
    """The rows of a build that are not in a shard yet, in a folder of their own; for one process, one thread at a time.

    A payload is in the file before the journal names it, and what a killed run wrote past the last named byte is
    overwritten.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._journal = sqlite3.connect(folder / "journal.sqlite", isolation_level=None)
        # Locked for this process alone, the journal needs no memory shared beside it, so network file systems will do.
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=NORMAL"):
            self._journal.execute(f"PRAGMA {pragma}")
        self._journal.executescript(_TABLES)
        self._payloads = os.open(folder / "payloads", os.O_RDWR | os.O_CREAT, 0o644)
        last = self._journal.execute("SELECT start, sizes FROM rows ORDER BY rowid DESC LIMIT 1").fetchone()
        self._end = last[0] + sum(json.loads(last[1]).values()) if last else 0
        if os.fstat(self._payloads).st_size < self._end:  # the power failed before they reached the disk
            self._journal.execute("DELETE FROM rows")
            self._journal.execute("DELETE FROM sources")
            self._end = 0

    def add(self, record: SourceRecord, split: str, rows: Iterable[EncodedRow]) -> None:
        """Enter one source's outcome and rows. They are there for good once `commit` has returned."""
        if not self._journal.in_transaction:
            self._journal.execute("BEGIN")
        self._journal.execute("INSERT OR REPLACE INTO sources VALUES (?, ?, ?, ?, ?, ?, ?)", record)
        for row in rows:
            start, left = self._end, memoryview(row.payload())
            while left:
                written = os.pwrite(self._payloads, left, self._end)
                self._end += written
                left = left[written:]
            values = (split, row.pixel, row.object_id, row.source, json.dumps(row.light), json.dumps(row.sizes), start)
            self._journal.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def commit(self) -> None:
        """Make durable what was added: it survives the death of this process at any later moment."""
        if self._journal.in_transaction:
            self._journal.execute("COMMIT")

    @property
    def empty(self) -> bool:
        """Whether no source was entered."""
        return self._journal.execute("SELECT count(*) FROM sources").fetchone() == (0,)

    def records(self) -> Iterator[SourceRecord]:
        """What became of each source so far."""
        for values in self._journal.execute("SELECT * FROM sources ORDER BY key"):
            yield SourceRecord(*values)

    def pixels(self) -> list[tuple[str, int]]:
        """Every (split, pixel) that has rows, sorted."""
        return self._journal.execute("SELECT DISTINCT split, pixel FROM rows ORDER BY split, pixel").fetchall()

    def rows(self, split: str, pixel: int) -> list[EncodedRow]:
        """The rows of a pixel, sorted; a row's payload is read when it is called for."""
        query = "SELECT pixel, object_id, source, light, sizes, start FROM rows WHERE split = ? AND pixel = ?"
        rows = []
        for number, object_id, source, light, sizes, start in self._journal.execute(query, (split, pixel)):
            sizes = json.loads(sizes)
            load = Payload(self._folder / "payloads", start, sum(sizes.values()))
            rows.append(EncodedRow(number, object_id, source, json.loads(light), sizes, load))
        return sorted(rows, key=lambda row: row.order)

    def close(self) -> None:
        """Let go of the files; a spool in which nothing was entered leaves none."""
        if self._payloads is None:
            return
        empty = self.empty
        os.close(self._payloads)
        self._journal.close()
        self._payloads = None
        if empty:
            delete(self._folder)


def delete(folder: Path) -> None:
    """Delete a spool that is closed, once everything in it lies in shards."""
    for pattern in ("journal.sqlite*", "payloads"):
        for path in folder.glob(pattern):
            path.unlink()
