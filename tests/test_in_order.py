"""Shards are read in order, and ahead of whoever asks for them one by one."""

import pickle

import numpy as np
import pytest

import skyshards
from skyshards.errors import ShardCorrupted
from skyshards.pipeline.build import build
from skyshards.read.in_order import InOrder
from tests.contract import assert_same
from tests.toy import Toy

ROWS = 24
SHARDS = [np.arange(start, start + 4) for start in range(0, ROWS, 4)]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("order") / "toy"
    build(Toy(ROWS), folder, workers=0)
    return skyshards.open(folder, threads=2).select_columns(["flux", "noise"])


@pytest.fixture
def asked(table, monkeypatch):
    """The first row of each batch, in the order in which reading starts."""
    started = []
    start = type(table)._start

    def noted(self, rows, *arguments, **options):
        started.append(int(rows[0]))
        return start(self, rows, *arguments, **options)

    monkeypatch.setattr(type(table), "_start", noted)
    return started


def read(reading, numbers):
    """Read shards as `datasets` does, each in a call of its own."""
    for number in numbers:
        for (shard, part), batch in reading.batches([number]):
            yield shard, part, batch


@pytest.mark.parametrize("length", [1, 3, 4, 100])
@pytest.mark.parametrize("numbers", [range(6), [0, 2, 4], [5, 0, 3, 1, 4, 2], [2], [1, 1, 2, 2, 3]], ids=str)
def test_batches_are_those_of_the_shards(table, length, numbers):
    reading = InOrder(table, SHARDS, length * table.row_nbytes)
    for again in (reading, reading, pickle.loads(pickle.dumps(reading))):
        found = list(read(again, numbers))
        assert [(shard, part) for shard, part, _ in found] == [
            (number, part) for number in numbers for part in range(-(-4 // length))
        ]
        for shard, part, batch in found:
            assert_same(batch, table[SHARDS[shard][part * length : (part + 1) * length]])


def test_the_next_shard_is_read_ahead_where_shards_are_evenly_spaced(table, asked):
    reading = InOrder(table, SHARDS, 4 * table.row_nbytes)
    for numbers in (range(6), range(0, 6, 2), range(6)):
        asked.clear()
        list(read(reading, numbers))
        assert asked == [4 * number for number in numbers], "each is read once"
    batches = read(reading, range(6))
    asked.clear()
    for _ in range(2):
        next(batches)
    assert asked == [0, 4, 8]


def test_a_wrong_guess_is_dropped(table, asked):
    reading = InOrder(table, SHARDS, 4 * table.row_nbytes)
    found = list(read(reading, [0, 1, 4, 3]))
    assert asked == [0, 4, 8, 16, 12]
    for shard, _, batch in found:
        assert_same(batch, table[SHARDS[shard]])


def test_a_shard_without_rows_has_no_batches(table):
    reading = InOrder(table, [np.arange(0), SHARDS[0], np.arange(0), SHARDS[1]], 1 << 20)
    assert [shard for shard, *_ in read(reading, range(4))] == [1, 3]


def test_what_was_read_ahead_in_vain_may_be_damaged(tmp_path):
    build(Toy(ROWS), tmp_path / "toy", workers=0)
    table = skyshards.open(tmp_path / "toy", threads=2).select_columns(["noise"])
    codes = table.catalog["_shard"].to_pylist()
    shards = [np.array([codes.index(name)]) for name in dict.fromkeys(codes)]
    path = tmp_path / "toy" / codes[shards[2][0]]
    path.write_bytes(path.read_bytes()[:-1])
    reading = InOrder(table, shards, 1 << 20)
    assert len(list(read(reading, [0, 1, 3]))) == 3
    with pytest.raises(ShardCorrupted):
        list(read(reading, [0, 1, 2]))
