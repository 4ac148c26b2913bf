"""What a build holds in memory does not grow with its rows."""

import contextlib
import tracemalloc
from dataclasses import replace

import pyarrow as pa
import pytest

from skyshards.format import catalog, provenance
from skyshards.format.provenance import SourceRecord
from skyshards.pipeline import source_rows, workers
from skyshards.pipeline.build import build
from skyshards.pipeline.listing import Listing
from skyshards.pipeline.outcomes import with_listed
from skyshards.pipeline.payloads import PayloadFiles
from skyshards.pipeline.recipe import Source
from skyshards.pipeline.sample import Sample
from skyshards.pipeline.source_rows import Piece, read_pieces
from tests.toy import Toy
from tests.toy_folder import shard_bytes

FEW, MANY = 2_000, 10_000
POOLS: list[pa.MemoryPool] = []
"""Arrow's pools, which must outlive what is allocated from them."""


@contextlib.contextmanager
def counted():
    """Count the most bytes that Python and Arrow hold at once."""
    found, before = [0], pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    POOLS.append(pool)
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        yield found
        found[0] = tracemalloc.get_traced_memory()[1] + pool.max_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)


@pytest.fixture(scope="module")
def one_row(tmp_path_factory):
    folder = tmp_path_factory.mktemp("memory") / "toy"
    build(Toy(1), folder, workers=0)
    return folder


def many_rows(folder, rows):
    """The manifest of a dataset of as many rows, each of a source of its own, and its catalogue in parts of 50 rows."""
    table, manifest = catalog.open_folder(folder)
    fifty = table.take(pa.array([0] * 50))
    place = fifty.column_names.index("source"), fifty.column_names.index("_row")

    def parts():
        for first in range(0, rows, 50):
            keys = pa.array([key(number) for number in range(first, first + 50)])
            numbers = pa.array(range(first, first + 50), pa.int32())
            named = fifty.set_column(place[0], fifty.field(place[0]), keys)
            yield named.set_column(place[1], fifty.field(place[1]), numbers)

    return replace(manifest, shards=(manifest.shards[0]._replace(rows=rows),)), parts


def key(number):
    return f"source-{number:09d}"


def test_a_catalogue_is_written_by_row_groups(one_row, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "GROUP_ROWS", 1000)
    peaks = {}
    for rows in (FEW, MANY):
        manifest, parts = many_rows(one_row, rows)
        with counted() as peaks[rows]:
            written = catalog.write_parts(tmp_path, manifest, parts)
        assert len(written) == rows and len(written.bounds) == rows // 1000 + 1
    assert peaks[MANY][0] - peaks[FEW][0] < 50 * (MANY - FEW), "only the footer is longer"


def test_the_table_of_sources_takes_few_bytes_each(one_row, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "GROUP_ROWS", 1000)
    monkeypatch.setattr(provenance, "GROUP_ROWS", 1000)
    monkeypatch.setattr(provenance, "BATCH", 200)
    peaks = {}
    for rows in (FEW, MANY):
        written = catalog.write_parts(tmp_path, *many_rows(one_row, rows))

        def records(rows=rows):
            return (SourceRecord(key(number), "u" * 90, 1, "s" * 64, "done", None, 1) for number in range(rows))

        with counted() as peaks[rows]:
            provenance.write(tmp_path, records, written)
        assert [record.key for record in provenance.read(tmp_path)] == [key(number) for number in range(rows)]
    each = (peaks[MANY][0] - peaks[FEW][0]) / (MANY - FEW)
    assert each < 200, f"{each:.0f} bytes a source"


def test_a_listing_takes_no_memory(tmp_path):
    peaks = {}
    for count in (FEW, MANY):
        sources = (Source(key(number), f"https://far.org/{number}", info={"number": number}) for number in range(count))
        with counted() as peaks[count], contextlib.closing(Listing(tmp_path)) as listing:
            pending = Sample(sources, None, {}, {}, listing).take()
            assert sum(source.info["number"] for source in pending) == count * (count - 1) // 2
            assert (len(pending), len(listing), listing.downloads) == (count, count, True)
            assert pending[-1] == listing.get(key(count - 1)) and listing.get("other") is None
        assert list(tmp_path.iterdir()) == []
    assert peaks[MANY][0] - peaks[FEW][0] < 5 * (MANY - FEW)


def test_records_of_earlier_builds_take_no_memory(tmp_path):
    peaks = {}
    for count in (FEW, MANY):
        records = (SourceRecord(key(number), "u" * 90, 1, "s" * 64, "done", None, 1) for number in range(count))
        with counted() as peaks[count], contextlib.closing(Listing(tmp_path)) as listing:
            listing.enter(records)
            assert (len(listing.packed), sum(record.nbytes for record in listing.packed.in_order())) == (count, count)
            assert listing.packed[key(3)].url == "u" * 90 and "other" not in listing.packed
            assert all(not is_listed for _, is_listed in with_listed(listing.packed.in_order(), listing))
    assert peaks[MANY][0] - peaks[FEW][0] < 5 * (MANY - FEW)


def test_a_task_holds_the_rows_of_few_sources(tmp_path, monkeypatch):
    """The sources that it leaves are read by later tasks, with the same bytes."""
    recipe = Toy(12, rows_each=3)
    build(recipe, tmp_path / "few", workers=0)
    monkeypatch.setattr(source_rows, "TASK_ROWS", 6)
    pieces = [Piece(source, None) for source in recipe.sources(None)]
    read = read_pieces(recipe, PayloadFiles(tmp_path, "build"), None, pieces)
    assert [len(each.rows) for each in read] == [3, 3]
    given = []
    monkeypatch.setattr(workers, "read_pieces", lambda *arguments: given.append(read_pieces(*arguments)) or given[-1])
    build(recipe, tmp_path / "many", workers=0)
    assert max(map(len, given)) == 2 and sum(map(len, given)) == 12
    assert shard_bytes(tmp_path / "many") == shard_bytes(tmp_path / "few")
