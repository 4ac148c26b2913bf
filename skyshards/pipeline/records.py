"""Records of sources in a table of an SQLite database, so that memory does not grow with their number."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterable, Iterator, Mapping

from skyshards.format.provenance import SourceRecord

COLUMNS = """
    key TEXT PRIMARY KEY, url TEXT, nbytes INTEGER, sha256 TEXT, status TEXT, tries INTEGER, error TEXT,
    total INTEGER, read INTEGER, failed INTEGER, release TEXT
"""
FIELDS = ", ".join(SourceRecord._fields)


class StoredRecords(Mapping[str, SourceRecord]):
    """The records in a table by key, as they are now, but for those of sources that are begun."""

    def __init__(self, database: sqlite3.Connection, table: str):
        self._database, self._table = database, table

    def __getitem__(self, key: str) -> SourceRecord:
        query = f"SELECT {FIELDS} FROM {self._table} WHERE key = ? AND status != 'begun'"
        found = self._database.execute(query, (key,)).fetchone()
        if found is None:
            raise KeyError(key)
        return SourceRecord(*found)

    def __iter__(self) -> Iterator[str]:
        return (record.key for record in self.in_order())

    def __len__(self) -> int:
        return self._database.execute(f"SELECT count(*) FROM {self._table} WHERE status != 'begun'").fetchone()[0]

    def in_order(self) -> Iterator[SourceRecord]:
        """All records, in the order of their keys."""
        query = f"SELECT {FIELDS} FROM {self._table} WHERE status != 'begun' ORDER BY key"
        return (SourceRecord(*values) for values in self._database.execute(query))


def merged(first: Iterable[SourceRecord], second: Iterable[SourceRecord]) -> Iterator[SourceRecord]:
    """Merge records in the order of their keys; of a key that both have, the first one's."""
    last = None
    for record in heapq.merge(first, second, key=lambda record: record.key):
        if record.key != last:
            yield record
        last = record.key
