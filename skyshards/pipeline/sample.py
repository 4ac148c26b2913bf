"""Selection of the sources to read: all listed ones, or as many as `limit` objects need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from skyshards.format.provenance import SourceRecord
from skyshards.pipeline.recipe import Source
from skyshards.pipeline.workers import Outcome


class Sample:
    """All sources of a listing, or the first ones that together give `limit` objects.

    A failed source counts as one object; otherwise, a server that is down would be asked for everything it has. With a
    limit, outcomes are passed on in the order of the listing, and the last source is cut at the limit, so that the
    result does not depend on the order of arrival.

    Parameters
    ----------
    sources : iterable of Source
        The listing; with a limit, read only as far as needed.
    limit : int or None
    records : mapping of str to SourceRecord
        Outcomes of earlier builds, by source key.
    rows : mapping of str to int
        Number of rows from each source so far.

    Attributes
    ----------
    listed : list of Source
        Sources taken from the listing so far.
    """

    def __init__(
        self, sources: Iterable[Source], limit: int | None, records: Mapping[str, SourceRecord], rows: Mapping[str, int]
    ):
        self.listed: list[Source] = []
        self._sources = iter(sources)
        self._limit = limit
        self._records, self._rows = records, rows
        self._known: dict[str, int] = {}  # number of objects of each source that is not read again
        self._early: dict[str, Outcome] = {}  # read before an earlier source of the listing
        self._expected = 0  # objects, if each unread source gives one
        self._objects = self._place = 0  # objects and sources whose outcomes were passed on

    def take(self) -> list[Source]:
        """Take the next sources to read: as many as needed if each gives one object."""
        taken = []
        while self._limit is None or self._expected < self._limit:
            source = next(self._sources, None)
            if source is None:
                break
            self.listed.append(source)
            objects = self._objects_of(source)
            if objects is None:
                taken.append(source)
                objects = 1
            else:
                self._known[source.key] = objects
            self._expected += objects
        return taken

    def _objects_of(self, source: Source) -> int | None:
        """Number of objects from a source; None if it has to be read."""
        record = self._records.get(source.key)
        if record is None or record.status == "failed":
            return None
        objects = self._rows.get(source.key, 0)
        if record.status == "in part" and (self._limit is None or self._expected + objects < self._limit):
            return None
        return objects

    def sift(self, outcomes: list[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
        """Split outcomes, with those held back earlier, into those to enter now and those beyond the limit."""
        if self._limit is None:
            return outcomes, []
        for outcome in outcomes:
            (source, _), read = outcome
            self._early[source.key] = outcome
            self._expected += _count(read) - 1
        entered: list[Outcome] = []
        beyond: list[Outcome] = []
        while self._place < len(self.listed):
            key = self.listed[self._place].key
            if key in self._early:
                arrived, read = self._early.pop(key)
                left = max(0, self._limit - self._objects)
                if len(read.rows) > left:
                    read = replace(read, rows=read.rows[:left], cut=True)
                (entered if left else beyond).append((arrived, read))
                self._objects += _count(read)
            elif key in self._known:
                self._objects += self._known[key]
            else:
                break
            self._place += 1
        return entered, beyond


def _count(read) -> int:
    return 1 if read.error is not None else len(read.rows)
