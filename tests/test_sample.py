"""`limit` counts objects, whatever a source gives, and what is kept does not depend on what arrives first."""

import random
from dataclasses import dataclass

import pyarrow.parquet as pq
import pytest

import skyshards
from skyshards.format.provenance import SourceRecord
from skyshards.pipeline.build import build
from skyshards.pipeline.listing import Listing
from skyshards.pipeline.payloads import SpooledRow
from skyshards.pipeline.recipe import Source
from skyshards.pipeline.sample import Sample
from skyshards.pipeline.source_rows import Piece, ReadSource
from tests.toy import Toy
from tests.toy_folder import assert_whole, shard_bytes


@dataclass(frozen=True)
class Uneven(Toy):
    """The options leave out every third source."""

    def read(self, source, fetched):
        if source.info % 3:
            yield from super().read(source, fetched)


def objects(folder):
    return sorted(skyshards.open(folder).catalog["source"].to_pylist())


@pytest.mark.parametrize("limit", [1, 5, 7])
def test_a_limit_counts_objects_where_a_source_gives_many(tmp_path, limit):
    summary = build(Toy(20, rows_each=3), tmp_path / "toy", limit=limit, workers=2)
    assert (summary.rows, summary.added, summary.failed) == (limit, limit, 0)
    assert objects(tmp_path / "toy") == [f"s{number // 3:05d}" for number in range(limit)]
    assert_whole(tmp_path / "toy")
    assert build(Toy(20, rows_each=3), tmp_path / "toy", limit=limit, workers=1).added == 0


def test_a_limit_goes_on_where_the_options_leave_sources_out(tmp_path):
    folder = tmp_path / "toy"
    assert build(Uneven(20), folder, limit=5, workers=2).rows == 5
    assert objects(folder) == ["s00001", "s00002", "s00004", "s00005", "s00007"]
    assert build(Uneven(20), folder, limit=5, workers=2).added == 0
    assert build(Uneven(20), folder, limit=6, workers=2).added == 1
    assert build(Uneven(4), tmp_path / "few", limit=10, workers=1).rows == 2


def test_a_failed_source_counts_as_an_object(tmp_path):
    """Else a server that is down would be asked for all it has."""
    summary = build(Toy(20, broken=tuple(range(20))), tmp_path / "toy", limit=3, workers=1)
    assert (summary.rows, summary.failed) == (0, 3)
    assert pq.read_table(tmp_path / "toy/sources.parquet").num_rows == 3


def test_what_was_cut_is_completed_later(tmp_path):
    whole = tmp_path / "whole"
    build(Toy(4, rows_each=5), whole, workers=1)
    folder = tmp_path / "toy"
    for limit in (2, 3, 8, 30):
        build(Toy(4, rows_each=5), folder, limit=limit, workers=1)
        assert_whole(folder)
    assert shard_bytes(folder) == shard_bytes(whole)


def spooled(number):
    return SpooledRow(0.0, 0.0, "", "", "", "", "", 0, 0, number)


def record(status):
    return SourceRecord("", None, None, None, status, None, 1)


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_arrival_does_not_matter(tmp_path, seed):
    moments = random.Random(seed)
    gives = {f"s{number:02d}": moments.choice([0, 0, 1, 1, 2, 7, None]) for number in range(30)}
    limit = moments.randint(1, 20)
    expected, left = {}, limit
    for key, rows in gives.items():
        if left > 0:
            expected[key] = min(left, rows) if rows is not None else "failed"
            left -= 1 if rows is None else min(left, rows)

    sample = Sample((Source(key) for key in gives), limit, {}, {}, Listing(tmp_path))
    reading, entered = list(sample.take()), {}
    while reading:
        source = reading.pop(moments.randrange(len(reading)))
        rows = gives[source.key]
        read = (
            ReadSource(error="broken")
            if rows is None
            else ReadSource(rows=tuple(map(spooled, range(min(rows, limit + 1)))))
        )
        now, _ = sample.sift([(Piece(source, None), read)])
        entered |= {source.key: "failed" if read.error else len(read.rows) for (source, *_), read in now}
        reading += sample.take()
    assert entered == expected


def test_what_is_known_is_not_read_again(tmp_path):
    records = {"a": record("done"), "b": record("left out"), "c": record("failed"), "d": record("in part")}
    sources = [Source(key) for key in "abcde"]

    def taken(limit, **rows):
        return [source.key for source in Sample(sources, limit, records, rows, Listing(tmp_path)).take()]

    assert taken(None, a=3, d=2) == ["c", "d", "e"]
    assert taken(3, a=3) == []
    assert taken(6, a=3, d=2) == ["c"]
    assert taken(7, a=3, d=2) == ["c", "d", "e"]
