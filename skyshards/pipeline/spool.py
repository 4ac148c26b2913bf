"""Where encoded rows wait until they are packed: files of payloads, and an SQLite journal of what they hold.

Each process that reads sources appends the payloads to a file of its own, and sends the rest to the process that keeps
the journal. There a source and its rows enter in one transaction, so that a build killed at any moment finds every
source either done or not.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from skyshards.format import healpix as sky
from skyshards.format.kinds.base import Json
from skyshards.format.layout import HEALPIX
from skyshards.format.provenance import SourceRecord
from skyshards.format.rows import EncodedRow

_TABLES = """
CREATE TABLE IF NOT EXISTS sources (
    key TEXT PRIMARY KEY, url TEXT, nbytes INTEGER, sha256 TEXT, status TEXT, tries INTEGER, error TEXT
);
CREATE TABLE IF NOT EXISTS rows (
    split TEXT, pixel INTEGER,
    object_id TEXT, source TEXT, light TEXT, sizes TEXT, file TEXT, start INTEGER, nbytes INTEGER
);
CREATE INDEX IF NOT EXISTS rows_of_pixel ON rows (split, pixel);
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT);
"""
JOURNAL = "journal.sqlite"
_SOURCE = ", ".join(SourceRecord._fields)


@dataclass(frozen=True, slots=True)
class WaitingRow(EncodedRow):
    """A row in the spool: small values as the journal has them, and where the payload is; for whatever process."""

    pixel: int
    text: str
    path: Path
    start: int

    def light(self) -> dict[str, Json]:
        return json.loads(self.text) | {HEALPIX: self.pixel}

    def payload(self) -> bytes:
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            return os.pread(descriptor, self.nbytes, self.start)
        finally:
            os.close(descriptor)


class SpooledRow(NamedTuple):
    """What the journal gets of a row: position (degrees), order, columns and sizes as JSON, where its payload is."""

    ra: float
    dec: float
    object_id: str
    source: str
    light: str
    sizes: str
    file: str
    start: int
    nbytes: int


@dataclass(frozen=True)
class PayloadFiles:
    """The payload files of one build, one for each process that writes any; may be sent to all of them.

    `build` tells apart the builds that a long-lived process works for, as a folder may see several.
    """

    folder: Path
    build: str

    def keep(self, rows: Iterable[EncodedRow]) -> tuple[SpooledRow, ...]:
        """Write payloads to this process's file; raises `OSError` if that cannot be done."""
        return _payload_file(self).append(rows)


@functools.lru_cache(maxsize=8)
def _payload_file(files: PayloadFiles) -> _PayloadFile:
    return _PayloadFile(files.folder / f"payloads-{uuid.uuid4().hex}")


class _PayloadFile:
    """A file that the threads of one process append to."""

    def __init__(self, path: Path):
        self._path = path
        self._end = 0
        self._lock = threading.Lock()

    def append(self, rows: Iterable[EncodedRow]) -> tuple[SpooledRow, ...]:
        with self._lock, open(self._path, "ab", buffering=0) as file:
            file.truncate(self._end)  # if a write failed half way, the next begins where it did
            end, spooled = self._end, []
            for row in rows:
                left = memoryview(row.payload())
                light = row.light()
                texts = *row.order, json.dumps(light), json.dumps(row.sizes)
                spooled.append(SpooledRow(light["ra"], light["dec"], *texts, self._path.name, end, len(left)))
                end += len(left)
                while left:
                    left = left[file.write(left) :]
            self._end = end
            return tuple(spooled)


@dataclass(frozen=True)
class PixelRows:
    """Rows of a pixel, read from the journal by the process that iterates over them, while nothing is entered."""

    journal: Path
    split: str
    pixel: int

    def __iter__(self) -> Iterator[EncodedRow]:
        path = functools.cache(self.journal.parent.joinpath)
        query = "SELECT object_id, source, light, sizes, file, start FROM rows WHERE split = ? AND pixel = ?"
        # The process that keeps the journal has locked it; what cannot change needs no lock.
        address = f"{self.journal.absolute().as_uri()}?immutable=1"
        with contextlib.closing(sqlite3.connect(address, uri=True)) as journal:
            found = journal.execute(query, (self.split, self.pixel))
            for object_id, source, light, sizes, file, start in found:
                yield WaitingRow(object_id, source, json.loads(sizes), self.pixel, light, path(file), start)


def connect(folder: Path) -> sqlite3.Connection:
    """The journal of a spool that nobody else has open; its tables are made if need be."""
    journal = sqlite3.connect(folder / JOURNAL, isolation_level=None)
    try:
        # Locked for this process alone, the journal needs no memory shared beside it, so network file systems will do.
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=NORMAL"):
            journal.execute(f"PRAGMA {pragma}")
        journal.executescript(_TABLES)
    except BaseException:
        journal.close()
        raise
    return journal


class Spool:
    """The rows of a build that are not in a shard yet, in a folder of their own; for one process, one thread at a time.

    A payload is in its file before the journal names it. What a killed run wrote and did not enter stays in the files
    until they are deleted.

    Attributes
    ----------
    files : PayloadFiles
        Where rows are to be kept before they are entered.
    """

    def __init__(self, folder: Path, nside: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._nside = nside
        self.files = PayloadFiles(folder, uuid.uuid4().hex)
        self._journal = connect(folder)
        self._is_open = True
        ends = dict(self._journal.execute("SELECT file, max(start + nbytes) FROM rows GROUP BY file"))
        for path in folder.glob("payloads-*"):
            if path.name not in ends:
                path.unlink()
        if any(_size(folder / name) < end for name, end in ends.items()):  # power failed before they reached the disk
            with self._journal:  # commits both, or none
                self._journal.execute("BEGIN")
                self._journal.execute("DELETE FROM rows")
                self._journal.execute("DELETE FROM sources")

    def enter(self, outcomes: Sequence[tuple[SourceRecord, str, Sequence[SpooledRow]]]) -> None:
        """Enter sources, each with its split and rows: all, or none if this raises. They are there for good then."""
        rows = [(split, row) for _, split, of_source in outcomes for row in of_source]
        pixels = sky.pixel_of([row.ra for _, row in rows], [row.dec for _, row in rows], self._nside).tolist()
        entries = [(split, pixel, *row[2:]) for (split, row), pixel in zip(rows, pixels, strict=True)]
        with self._journal:  # commits
            self._journal.execute("BEGIN")
            records = [record for record, *_ in outcomes]
            self._journal.executemany(
                f"INSERT OR REPLACE INTO sources ({_SOURCE}) VALUES (?, ?, ?, ?, ?, ?, ?)", records
            )
            self._journal.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", entries)

    def note(self, **notes: str) -> None:
        """Keep something that is worth knowing of the build while it has not ended."""
        self._journal.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?)", notes.items())

    @property
    def empty(self) -> bool:
        """Whether no source was entered."""
        return self._journal.execute("SELECT count(*) FROM sources").fetchone() == (0,)

    @property
    def done(self) -> int:
        """How many sources were entered that did not fail."""
        return self._journal.execute("SELECT count(*) FROM sources WHERE status != 'failed'").fetchone()[0]

    def records(self) -> Iterator[SourceRecord]:
        """What became of each source so far."""
        for values in self._journal.execute(f"SELECT {_SOURCE} FROM sources ORDER BY key"):
            yield SourceRecord(*values)

    def row_count(self) -> int:
        """How many rows there are."""
        return self._journal.execute("SELECT count(*) FROM rows").fetchone()[0]

    def row_counts(self) -> dict[str, int]:
        """How many rows each source has given."""
        return dict(self._journal.execute("SELECT source, count(DISTINCT object_id) FROM rows GROUP BY source"))

    def pixels(self) -> list[tuple[str, int]]:
        """Every (split, pixel) that has rows; those with most bytes come first."""
        query = "SELECT split, pixel FROM rows GROUP BY split, pixel ORDER BY sum(nbytes) DESC, split, pixel"
        return self._journal.execute(query).fetchall()

    def rows(self, split: str, pixel: int) -> PixelRows:
        """The rows of a pixel, to be iterated over before more are entered."""
        self._journal.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # all that was entered is in the one file then
        return PixelRows(self._folder / JOURNAL, split, pixel)

    def close(self) -> None:
        """Let go of the files; a spool in which nothing was entered leaves none."""
        if not self._is_open:
            return
        empty = self.empty
        self._journal.close()
        self._is_open = False
        if empty:
            delete(self._folder)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def delete(folder: Path) -> None:
    """Delete a spool that is closed, once everything in it lies in shards."""
    for pattern in (f"{JOURNAL}*", "payloads-*"):
        for path in folder.glob(pattern):
            path.unlink()
