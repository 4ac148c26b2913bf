"""Spool of encoded rows that wait to be packed: files of payloads, and an SQLite journal of their content.

Each process that reads sources appends the payloads to its own file, and sends the rest to the process that keeps the
journal. A source, or a block of one, and its rows enter the journal in one transaction, so that a build killed at any
moment leaves each either done or not done.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sqlite3
import uuid
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from skyshards.format import healpix
from skyshards.format.folds import NO_FOLD, fold_of
from skyshards.format.provenance import BadRow, SourceRecord
from skyshards.format.rows import EncodedRow
from skyshards.pipeline.payloads import PayloadFiles, SpooledRow, WaitingRow
from skyshards.pipeline.records import COLUMNS, FIELDS, StoredRecords
from skyshards.text import printable

_TABLES = """
CREATE TABLE IF NOT EXISTS sources (%s);
CREATE TABLE IF NOT EXISTS rows (
    split TEXT, pixel INTEGER,
    object_id TEXT, source TEXT, light TEXT, sizes TEXT, file TEXT, start INTEGER, nbytes INTEGER, number INTEGER,
    fold INTEGER
);
CREATE INDEX IF NOT EXISTS rows_in_order ON rows (split, pixel, object_id, source);
CREATE TABLE IF NOT EXISTS blocks (
    source TEXT, start INTEGER, stop INTEGER, rows INTEGER, failed INTEGER, PRIMARY KEY (source, start)
);
CREATE TABLE IF NOT EXISTS bad_rows (source TEXT, number INTEGER, error TEXT, PRIMARY KEY (source, number));
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT);
"""
_ADDED = {
    "sources": {"total": "INTEGER", "read": "INTEGER", "failed": "INTEGER", "release": "TEXT"},
    "rows": {"number": "INTEGER", "fold": "INTEGER"},
}
"""Columns that journals of earlier versions lack."""
JOURNAL = "journal.sqlite"


class Block(NamedTuple):
    """A block of a source that was read: its rows in the source, and how many were kept and failed."""

    start: int
    stop: int
    rows: int
    failed: int


class Entry(NamedTuple):
    """What was read of a source: all, or one block. While blocks are missing, the record's status is "begun"."""

    record: SourceRecord
    split: str
    rows: Sequence[SpooledRow] = ()
    bad: Sequence[BadRow] = ()
    block: Block | None = None


@dataclass(frozen=True)
class PixelRows:
    """Rows of a pixel in order, read from the journal by the iterating process; nothing may be entered meanwhile."""

    journal: Path
    split: str
    pixel: int

    def __iter__(self) -> Iterator[EncodedRow]:
        path = functools.cache(self.journal.parent.joinpath)
        query = (
            "SELECT object_id, source, fold, light, sizes, file, start FROM rows WHERE split = ? AND pixel = ?"
            " ORDER BY object_id, source, rowid"  # as the index has them
        )
        # The main process holds the journal's lock; reading it as immutable needs none.
        address = f"{self.journal.absolute().as_uri()}?immutable=1"
        with contextlib.closing(sqlite3.connect(address, uri=True)) as journal:
            found = journal.execute(query, (self.split, self.pixel))
            for object_id, source, fold, light, sizes, file, start in found:
                yield WaitingRow(object_id, source, json.loads(sizes), self.pixel, fold, light, path(file), start)


def connect(folder: Path) -> sqlite3.Connection:
    """Open a spool's journal exclusively, and create its tables if missing."""
    journal = sqlite3.connect(folder / JOURNAL, isolation_level=None)
    try:
        # With an exclusive lock, WAL needs no shared memory file, so that it works on network file systems.
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=NORMAL"):
            journal.execute(f"PRAGMA {pragma}")
        journal.executescript(_TABLES % COLUMNS)
        for table, added in _ADDED.items():
            there = {column[1] for column in journal.execute(f"PRAGMA table_info({table})")}
            for name in [name for name in added if name not in there]:
                journal.execute(f"ALTER TABLE {table} ADD COLUMN {name} {added[name]}")
    except BaseException:
        journal.close()
        raise
    return journal


class Spool:
    """Rows of a build that are not in a shard yet, in a folder of their own; for one thread of one process at a time.

    A payload is written to its file before the journal refers to it. Payloads that a killed run did not enter stay in
    the files until these are deleted.

    Parameters
    ----------
    folder : Path
        Created if missing.
    nside : int
        HEALPix nside of the partition.

    Attributes
    ----------
    files : PayloadFiles
        Write payloads here before entering the rows.
    known : StoredRecords
        Outcome of each source so far, but for those that are begun.
    """

    def __init__(self, folder: Path, nside: int):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._nside = nside
        self.files = PayloadFiles(folder, uuid.uuid4().hex)
        self._journal = connect(folder)
        self._is_open = True
        self.known = StoredRecords(self._journal, "sources")
        ends = dict(self._journal.execute("SELECT file, max(start + nbytes) FROM rows GROUP BY file"))
        for path in folder.glob("payloads-*"):
            if path.name not in ends:
                path.unlink()
        if any(_size(folder / name) < end for name, end in ends.items()):  # a power failure lost payloads
            with self._journal:  # commits both, or none
                self._journal.execute("BEGIN")
                for table in ("rows", "sources", "blocks", "bad_rows"):
                    self._journal.execute(f"DELETE FROM {table}")

    def enter(self, entries: Iterable[Entry]) -> None:
        """Enter sources and blocks durably; if this raises, none is entered. A failed source loses its rows."""
        entries = list(entries)
        rows = [(entry.split, row) for entry in entries for row in entry.rows]
        ra, dec = [row.ra for _, row in rows], [row.dec for _, row in rows]
        pixels, folds = healpix.pixel_of(ra, dec, self._nside).tolist(), fold_of(ra, dec).tolist()
        lines = [
            # A row of several objects may have no fold, but not that of another place.
            (split, pixel, *row[2:-1], fold if row.fold in (None, fold) else NO_FOLD)
            for (split, row), pixel, fold in zip(rows, pixels, folds, strict=True)
        ]
        blocks = [(entry.record.key, *entry.block) for entry in entries if entry.block is not None]
        with self._journal:  # commits
            self._journal.execute("BEGIN")
            for key in [entry.record.key for entry in entries if entry.record.status == "failed"]:
                self._forget("= ?", key)
            self._insert("OR REPLACE INTO sources", [entry.record for entry in entries], FIELDS)
            self._insert("INTO rows", lines)
            self._insert("INTO blocks", blocks)
            self._insert("INTO bad_rows", [row for entry in entries for row in entry.bad])

    def _insert(self, where: str, lines: Sequence[Sequence], names: str = "") -> None:
        if lines:
            marks = ", ".join("?" * len(lines[0]))
            self._journal.executemany(f"INSERT {where} {f'({names})' if names else ''} VALUES ({marks})", lines)

    def _forget(self, which: str, *values: str) -> None:
        self._journal.execute(f"DELETE FROM sources WHERE key {which}", values)
        for table in ("rows", "blocks", "bad_rows"):
            self._journal.execute(f"DELETE FROM {table} WHERE source {which}", values)

    def forget(self, key: str) -> None:
        """Remove a source and its rows."""
        with self._journal:
            self._journal.execute("BEGIN")
            self._forget("= ?", key)

    def forget_begun(self) -> None:
        """Remove sources of which blocks are missing."""
        with self._journal:
            self._journal.execute("BEGIN")
            keys = self._journal.execute("SELECT key FROM sources WHERE status = 'begun'").fetchall()
            for (key,) in keys:
                self._forget("= ?", key)

    def begun(self) -> dict[str, SourceRecord]:
        """Sources of which blocks are missing."""
        query = f"SELECT {FIELDS} FROM sources WHERE status = 'begun'"
        return {values[0]: SourceRecord(*values) for values in self._journal.execute(query)}

    def blocks(self, key: str) -> list[Block]:
        """Blocks of a source, in order."""
        query = "SELECT start, stop, rows, failed FROM blocks WHERE source = ? ORDER BY start"
        return [Block(*values) for values in self._journal.execute(query, (key,))]

    def continued(self) -> set[str]:
        """Sources whose first rows are not here, because an earlier build packed them."""
        query = "SELECT source FROM blocks GROUP BY source HAVING min(start) > 0"
        return {key for (key,) in self._journal.execute(query)}

    def bad_rows(self, key: str | None = None) -> Iterator[BadRow]:
        """Rows that failed, of one source or all, in order."""
        which = "" if key is None else "WHERE source = ?"
        query = f"SELECT source, number, error FROM bad_rows {which} ORDER BY source, number"
        for line in self._journal.execute(query, () if key is None else (key,)):
            yield BadRow(*line)

    def drop_repeated(self, packed: Mapping[str, Container[str]]) -> None:
        """Turn rows whose object_id an earlier row of their source has into failed rows.

        Parameters
        ----------
        packed : mapping of str to container of str
            For each source with rows in shards that this build continues, their object_ids.
        """
        found = self._journal.execute(
            "SELECT source, object_id, number FROM rows WHERE (source, object_id) IN"
            " (SELECT source, object_id FROM rows GROUP BY source, object_id HAVING count(*) > 1)"
            " ORDER BY source, object_id, number"
        ).fetchall()
        first: dict[tuple[str, str], int] = {}
        repeated = [line for line in found if first.setdefault(line[:2], line[2]) != line[2]]
        for source, ids in packed.items():
            query = "SELECT source, object_id, number FROM rows WHERE source = ?"
            of_source = self._journal.execute(query, (source,)).fetchall()
            repeated += [line for line in of_source if line[1] in ids and line not in repeated]
        with self._journal:
            self._journal.execute("BEGIN")
            for source, object_id, number in repeated:
                self._journal.execute("DELETE FROM rows WHERE source = ? AND number = ?", (source, number))
                self._journal.execute("UPDATE sources SET failed = failed + 1 WHERE key = ?", (source,))
                self._insert("INTO bad_rows", [BadRow(source, number, repeated_id(object_id))])

    def note(self, **notes: str) -> None:
        """Store notes about the unfinished build, such as the command that resumes it."""
        self._journal.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?)", notes.items())

    @property
    def empty(self) -> bool:
        """Whether no source has been entered."""
        return self._journal.execute("SELECT count(*) FROM sources").fetchone() == (0,)

    @property
    def done(self) -> int:
        """Number of sources that are done."""
        return self._journal.execute("SELECT count(*) FROM sources WHERE status NOT IN ('failed', 'begun')").fetchone()[
            0
        ]

    def row_count(self) -> int:
        """Number of rows."""
        return self._journal.execute("SELECT count(*) FROM rows").fetchone()[0]

    def large_bytes(self) -> tuple[int, dict[str, int]]:
        """Number of rows, and the bytes of their deflated values by large column."""
        query = "SELECT key, sum(value) FROM rows, json_each(sizes) GROUP BY key"
        return self.row_count(), dict(self._journal.execute(query))

    def row_counts(self) -> dict[str, int]:
        """Number of rows by source."""
        rows = dict(self._journal.execute("SELECT source, count(DISTINCT object_id) FROM rows GROUP BY source"))
        return rows | dict(self._journal.execute("SELECT source, sum(rows) FROM blocks GROUP BY source"))

    def pixels(self) -> list[tuple[str, int]]:
        """Every (split, pixel) with rows, those with the most bytes first."""
        query = "SELECT split, pixel FROM rows GROUP BY split, pixel ORDER BY sum(nbytes) DESC, split, pixel"
        return self._journal.execute(query).fetchall()

    def rows(self, split: str, pixel: int) -> PixelRows:
        """Rows of a pixel; iterate over them before entering more."""
        self._journal.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # so that the journal file alone has all entries
        return PixelRows(self._folder / JOURNAL, split, pixel)

    def close(self) -> None:
        """Close the journal; delete the spool if it is empty."""
        if not self._is_open:
            return
        empty = self.empty
        self._journal.close()
        self._is_open = False
        if empty:
            delete(self._folder)


def repeated_id(object_id: str) -> str:
    """Error of a row whose object_id an earlier row of its source has."""
    return printable(f"object_id: expected unique values in a source, found {object_id!r} more than once")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def delete(folder: Path) -> None:
    """Delete a closed spool, once all its rows are in shards."""
    for pattern in (f"{JOURNAL}*", "payloads-*"):
        for path in folder.glob(pattern):
            path.unlink()
