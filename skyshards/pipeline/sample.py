"""Which of the listed sources a build reads: all of them, or as many as it takes for so many objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from skyshards.format.provenance import SourceRecord
from skyshards.pipeline.recipe import Source
from skyshards.pipeline.workers import Outcome


class Sample:
    """The sources of a listing, or the first that together give `limit` objects.

    A source that failed counts as one object: else a server that is down would be asked for everything it has. With a
    limit, outcomes are let through in the order of the listing, and the last source is cut where the limit is
    reached: what a build keeps does not depend on what arrives first.

    Parameters
    ----------
    sources : iterable of Source
        The listing; with a limit, it is read only as far as needed.
    limit : int or None
    records : mapping of str to SourceRecord
        What became of each source so far, by key.
    rows : mapping of str to int
        The rows that each source gave so far.

    Attributes
    ----------
    listed : list of Source
        Those that were looked at so far.
    """

    def __init__(
        self, sources: Iterable[Source], limit: int | None, records: Mapping[str, SourceRecord], rows: Mapping[str, int]
    ):
        self.listed: list[Source] = []
        self._sources = iter(sources)
        self._limit = limit
        self._records, self._rows = records, rows
        self._known: dict[str, int] = {}  # objects of sources that are not to be read
        self._early: dict[str, Outcome] = {}  # read, but a source before them is not
        self._expected = 0  # objects, if each source that is not read yet gives one
        self._objects = self._place = 0  # of sources whose outcomes were let through

    def take(self) -> list[Source]:
        """The next sources to read: as many as are needed if each gives one object."""
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
        """How many objects a source has given; None if it is to be read."""
        record = self._records.get(source.key)
        if record is None or record.status == "failed":
            return None
        objects = self._rows.get(source.key, 0)
        if record.status == "in part" and (self._limit is None or self._expected + objects < self._limit):
            return None
        return objects

    def sift(self, outcomes: list[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
        """The outcomes to enter now, those held back before included; and those that lie beyond the limit."""
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
