"""What earlier builds of a folder and killed ones did: the outcome of each source, its rows, and its failed rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from skyshards.format import provenance
from skyshards.format.layout import SOURCE
from skyshards.format.provenance import BadRow, SourceRecord
from skyshards.pipeline.catalog_parts import OldCatalog
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
        Outcome of each source in the spool.
    begun : mapping of str to SourceRecord
        Sources in the spool of which blocks are missing.
    """

    packed: Mapping[str, SourceRecord]
    bad: Mapping[str, list[BadRow]]
    rows: Mapping[str, int]
    spooled: Mapping[str, SourceRecord]
    begun: Mapping[str, SourceRecord]

    @cached_property
    def records(self) -> dict[str, SourceRecord]:
        """Outcome of each source, but for those that are begun."""
        return {**self.packed, **self.spooled}

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
        objects.update({key: record.failed for key, record in self.records.items() if record.failed})
        return objects

    def all_bad(self, spool: Spool) -> Iterator[BadRow]:
        """All failed rows: those in the spool, and those of sources that were not read again from the start."""
        records = {record.key: record for record in spool.records()}
        again = records.keys() - spool.continued()
        rows = (row for key, of_source in self.bad.items() if key not in again for row in of_source)
        records = {**self.packed, **records}
        return (row for row in chain(rows, spool.bad_rows()) if records[row.source].status != "failed")


def earlier(folder: Path, old: OldCatalog, spool: Spool, lost: Container[str], limit: int | None) -> Earlier:
    """Find out what was done before.

    To be read again are the `lost` sources, and those whose failed rows are not listed any more: who deletes the list
    wants them to be tried again.
    """
    records = {record.key: record for record in provenance.read(folder)}
    bad = provenance.read_bad_rows(folder, records.values())
    packed = {
        key: record for key, record in records.items() if key not in lost and record.failed == len(bad.get(key, ()))
    }
    rows: Counter[str] = Counter()
    in_part = pa.array([key for key, record in packed.items() if record.status == "in part"], pa.string())
    for part in old.tables([SOURCE]) if limit is not None or len(in_part) else ():
        keys = part[SOURCE] if limit is not None else part[SOURCE].filter(pc.is_in(part[SOURCE], in_part))
        counts = pc.value_counts(keys)
        rows.update(dict(zip(*(counts.field(name).to_pylist() for name in ("values", "counts")), strict=True)))
    bad = {key: of_source for key, of_source in bad.items() if key in packed}
    return Earlier(packed, bad, rows, {record.key: record for record in spool.records()}, spool.begun())


def object_ids(old: OldCatalog, keys: Iterable[str]) -> dict[str, set[str]]:
    """The object_ids of the rows of some sources, by source."""
    found: dict[str, set[str]] = {key: set() for key in keys}
    for part in old.tables(["object_id", SOURCE]) if found else ():
        for key, ids in found.items():
            ids.update(part.filter(pc.equal(part[SOURCE], key))["object_id"].to_pylist())
    return found
