"""What earlier builds of a folder and killed ones did: the outcome of each source, its rows, and its failed rows."""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from skyshards.format import provenance
from skyshards.format.layout import SOURCE
from skyshards.format.provenance import BadRow, SourceRecord
from skyshards.pipeline.catalog_parts import OldCatalog
from skyshards.pipeline.listing import Listing
from skyshards.pipeline.records import StoredRecords, merged
from skyshards.pipeline.spool import Spool


@dataclass(frozen=True)
class Earlier:
    """What was done before this build.

    Attributes
    ----------
    packed : mapping of str to SourceRecord
        Outcome of each source in the folder, without those to read again.
    bad : mapping of str to list of BadRow
        Their failed rows.
    rows : mapping of str to int
        Number of rows of each source in the folder; without a limit, only of those that are there in part.
    spooled : mapping of str to SourceRecord
        Outcome of each source in the spool, as it is now; empty if the spool was empty at first.
    begun : mapping of str to SourceRecord
        Sources in the spool of which blocks are missing.
    """

    packed: Mapping[str, SourceRecord]
    bad: Mapping[str, list[BadRow]]
    rows: Mapping[str, int]
    spooled: Mapping[str, SourceRecord]
    begun: Mapping[str, SourceRecord]

    @property
    def records(self) -> Mapping[str, SourceRecord]:
        """Outcome of each source, but for those that are begun."""
        return ChainMap(*(each for each in (self.spooled, self.packed) if each))  # type: ignore[arg-type]

    def in_spool(self, key: str) -> SourceRecord | None:
        """Outcome of a source in the spool, also if it is begun."""
        return self.begun.get(key) or self.spooled.get(key)

    def tries(self, key: str) -> int:
        """Number of earlier tries of a source."""
        record = self.in_spool(key) or self.packed.get(key)
        return record.tries if record else 0

    def read(self, key: str, spool: Spool) -> int:
        """Number of rows of a source that were read, in blocks."""
        record = self.packed.get(key)
        in_folder = record.read if record and record.status == "in part" and record.total is not None else 0
        return in_folder + sum(block.stop - block.start for block in spool.blocks(key))

    def objects(self, spool: Spool) -> Counter[str]:
        """Number of rows of each source so far, packed or spooled, and of those that failed."""
        packed, spooled = Counter(self.rows), Counter(spool.row_counts())
        objects = packed | spooled  # the larger: a source that is read again has the same rows in both
        objects.update({key: min(packed[key], spooled[key]) for key in spool.continued()})  # these have other rows
        objects.update({record.key: record.failed for record in self.in_order(spool) if record.failed})
        return objects

    def in_order(self, spool: Spool) -> Iterator[SourceRecord]:
        """Outcome of each source by now, in the order of their keys, but for those that are begun."""
        packed = self.packed.in_order() if isinstance(self.packed, StoredRecords) else ()
        return merged(spool.known.in_order(), packed)

    def all_bad(self, spool: Spool) -> Iterator[BadRow]:
        """All failed rows: those in the spool, and those of sources that were not read again from the start."""
        now, continued = spool.known, spool.continued()
        kept = [key for key in self.bad if key in continued or key not in now]
        for row in chain.from_iterable([*(self.bad[key] for key in kept), spool.bad_rows()]):
            record = now.get(row.source) or self.packed[row.source]
            if record.status != "failed":
                yield row


def earlier(
    folder: Path, old: OldCatalog, spool: Spool, listing: Listing, lost: Container[str], limit: int | None
) -> Earlier:
    """Find out what was done before.

    Records of the folder are entered in the listing's file. To be read again are the `lost` sources, and those whose
    failed rows are not listed any more: who deletes the list wants them to be tried again.
    """
    bad = provenance.read_bad_rows(folder, provenance.read(folder))
    listing.enter(
        record
        for record in provenance.read(folder)
        if record.key not in lost and record.failed == len(bad.get(record.key, ()))
    )
    packed: Mapping[str, SourceRecord] = listing.packed or {}
    rows: Counter[str] = Counter()
    in_part = [record.key for record in listing.packed.in_order() if record.status == "in part"]
    wanted = pa.array(in_part, pa.string())
    for part in old.tables([SOURCE]) if limit is not None or in_part else ():
        keys = part[SOURCE] if limit is not None else part[SOURCE].filter(pc.is_in(part[SOURCE], wanted))
        counts = pc.value_counts(keys)
        rows.update(dict(zip(*(counts.field(name).to_pylist() for name in ("values", "counts")), strict=True)))
    bad = {key: of_source for key, of_source in bad.items() if key in packed}
    return Earlier(packed, bad, rows, spool.known or {}, spool.begun())


def object_ids(old: OldCatalog, keys: Iterable[str]) -> dict[str, set[str]]:
    """The object_ids of the rows of some sources, by source."""
    found: dict[str, set[str]] = {key: set() for key in keys}
    for part in old.tables(["object_id", SOURCE]) if found else ():
        for key, ids in found.items():
            ids.update(part.filter(pc.equal(part[SOURCE], key))["object_id"].to_pylist())
    return found
