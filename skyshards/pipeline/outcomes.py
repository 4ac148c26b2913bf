"""What became of the sources that a build listed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from skyshards.format.provenance import SourceRecord
from skyshards.pipeline.listing import Listing


@dataclass
class Outcomes:
    """Counts of listed sources and their rows, as in `Summary`; `needed` are those whose downloads must stay."""

    failed: int = 0
    left_out: int = 0
    failed_rows: int = 0
    missing_rows: int = 0
    needed: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, records: Iterable[SourceRecord], listing: Listing) -> Outcomes:
        """Count the records, in the order of their keys, of listed sources."""
        found = cls()
        for record, is_listed in with_listed(records, listing):
            if is_listed:
                found.failed += record.error is not None or record.status == "failed"
                found.left_out += record.error is None and record.status == "left out"
                found.failed_rows += record.failed
                found.missing_rows += record.missing
            if record.status == "in part" and record.total is not None:  # a build may go on with it
                found.needed.add(record.key)
        return found


def with_listed(records: Iterable[SourceRecord], listing: Listing) -> Iterator[tuple[SourceRecord, bool]]:
    """Yield records, which are in the order of their keys, and whether the source of each is listed."""
    keys = listing.keys()
    key = next(keys, None)
    for record in records:
        while key is not None and key < record.key:
            key = next(keys, None)
        yield record, key == record.key
