"""Selection of the sources to read: all listed ones, or as many as `limit` objects need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from skyshards.format.provenance import SourceRecord
from skyshards.pipeline.listing import Listing
from skyshards.pipeline.recipe import Source
from skyshards.pipeline.workers import Outcome


class Sample:
    """All sources of a listing, or the first ones that together give `limit` objects.

    A failed source counts as one object; otherwise, a server that is down would be asked for everything it has. So does
    a failed row. With a limit, outcomes of whole sources are passed on in the order of the listing, and the last source
    is cut at the limit, so that the result does not depend on the order of arrival. Of sources that are read in blocks,
    only one at a time is taken, and no more rows of it than are missing.

    Parameters
    ----------
    sources : iterable of Source
        The listing; with a limit, read only as far as needed.
    limit : int or None
    records : mapping of str to SourceRecord
        Outcomes of earlier builds, by source key.
    rows : mapping of str to int
        Number of rows from each source so far, failed ones included.
    listing : Listing
        Empty; takes the sources in.
    in_blocks : bool
        Whether sources may be read in blocks.
    begun : container of str
        Sources of which some blocks are missing.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        limit: int | None,
        records: Mapping[str, SourceRecord],
        rows: Mapping[str, int],
        listing: Listing,
        in_blocks: bool = False,
        begun: Iterable[str] = (),
    ):
        self.listing = listing
        self._sources = iter(sources)
        self._limit = limit
        self._records, self._rows, self._begun = records, rows, frozenset(begun)
        self._one_at_a_time = in_blocks and limit is not None
        self._open: str | None = None  # the source that is taken, if only one is at a time
        self._closed: dict[str, int] = {}  # number of objects of each source that was read in blocks
        self._early: dict[str, Outcome] = {}  # read before an earlier source of the listing
        self._expected = 0  # objects, if each unread source or row gives one
        self._objects = self._place = 0  # objects and sources whose outcomes were passed on

    def take(self) -> Sequence[Source]:
        """Take the next sources to read: as many as needed if each gives one object.

        Raises `BuildError` if two sources have the same key.
        """
        return self.listing.append(self._next())

    def _next(self) -> Iterator[tuple[Source, int | None]]:
        """Yield the next sources, with the objects of those that are not to be read."""
        while self._limit is None or (self._expected < self._limit and self._open is None):
            source = next(self._sources, None)
            if source is None:
                break
            objects = self._objects_of(source)
            if objects is None and self._one_at_a_time:
                self._open = source.key
            self._expected += 1 if objects is None else objects
            yield source, objects

    def _objects_of(self, source: Source) -> int | None:
        """Number of objects from a source; None if it has to be read."""
        record = self._records.get(source.key)
        if record is None or record.status == "failed" or source.key in self._begun:
            return None
        objects = self._rows.get(source.key, 0)
        if record.status == "in part" and (self._limit is None or self._expected + objects < self._limit):
            return None
        return objects

    def opened(self, objects: int) -> None:
        """Take note that a source will be read in blocks, and already gave some objects."""
        self._expected += objects - 1

    def most(self, rows: int) -> int:
        """Number of rows that are granted at most, of some that are left."""
        return rows if self._limit is None else max(0, min(rows, self._limit - self._expected))

    def grant(self, rows: int, needed: bool = False) -> int:
        """Number of rows that may be read, of some that are wanted, or `needed` in any case."""
        rows = rows if needed else self.most(rows)
        self._expected += rows
        return rows

    def gave(self, rows: int, objects: int) -> None:
        """Take note of the number of objects that granted rows gave."""
        self._expected += objects - rows

    def close(self, source: Source, objects: int) -> None:
        """Take note that a source that was read in blocks is finished for now, and how many objects it gave."""
        if self._limit is not None:
            self._closed[source.key] = objects
        self._open = None

    def sift(self, outcomes: list[Outcome]) -> tuple[list[Outcome], list[Outcome]]:
        """Split outcomes, with those held back earlier, into those to enter now and those beyond the limit."""
        if self._limit is None:
            return outcomes, []
        for outcome in outcomes:
            piece, read = outcome
            self._early[piece.source.key] = outcome
            self._expected += read.objects - 1
            self._open = None
        entered: list[Outcome] = []
        beyond: list[Outcome] = []
        for key, known in self.listing.outcomes(self._place):
            if key in self._early:
                piece, read = self._early.pop(key)
                left = max(0, self._limit - self._objects)
                read = read.first(left) if left else read
                (entered if left else beyond).append((piece, read))
                self._objects += read.objects
            elif known is not None or key in self._closed:
                self._objects += self._closed[key] if known is None else known
            else:
                break
            self._place += 1
        return entered, beyond
