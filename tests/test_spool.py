"""The spool: what was committed is there after any death of the process, and nothing else is."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyshards.rows import EncodedRow
from skyshards.sources import SourceRecord
from skyshards.spool import Spool, delete

REPOSITORY = Path(__file__).parents[1]


def record(key, status="done", error=None):
    return SourceRecord(key, f"http://there/{key}", 7, "a" * 64, status, 1, error)


def one(number, pixel=None, source=None):
    """A row whose payload tells its number."""
    content = f"payload {number} ".encode() * (number % 5 + 1)
    half = len(content) // 2
    light = {"object_id": f"o{number:03d}", "flux": float("nan"), "big": 2**62 + number, "name": "é\n"}
    sizes = {"a": half, "b": len(content) - half}
    pixel = number % 3 if pixel is None else pixel
    return EncodedRow(pixel, f"o{number:03d}", source or f"s{number}", light, sizes, lambda: content)


def contents(spool):
    return [
        (split, row.pixel, row.order, str(row.light), row.sizes, row.payload())
        for split, pixel in spool.pixels()
        for row in spool.rows(split, pixel)
    ]


def expected(numbers, split="train"):
    rows = sorted((one(number) for number in numbers), key=lambda row: (row.pixel, row.order))
    return [(split, row.pixel, row.order, str(row.light), row.sizes, row.payload()) for row in rows]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), max_size=6, unique=True), max_size=6))
def test_rows_come_back_sorted_whatever_the_order(tmp_path_factory, groups):
    folder, numbers = tmp_path_factory.mktemp("spool") / "spool", []
    spool = Spool(folder)
    for group in groups:
        group = [number for number in group if number not in numbers]
        numbers += group
        spool.add(record(f"group {len(numbers)} {group}"), "train", [one(number) for number in group])
        spool.commit()
    assert contents(spool) == expected(numbers)
    spool.close()
    spool = Spool(folder)
    assert contents(spool) == expected(numbers)
    spool.close()


DIES = """
import os, sys
from pathlib import Path
from skyshards.spool import Spool
from tests.test_spool import one, record
spool = Spool(Path(sys.argv[1]))
for number in range(5):
    spool.add(record(f"s{number}"), "train", [one(number)])
    spool.commit()
for number in range(5, 9):
    spool.add(record(f"s{number}"), "train", [one(number)])
os._exit(7)
"""


@pytest.fixture
def died(tmp_path):
    """The spool of a process that ended between two commits."""
    folder = tmp_path / "spool"
    assert subprocess.run([sys.executable, "-c", DIES, str(folder)], cwd=REPOSITORY).returncode == 7
    return folder


def test_what_was_committed_survives_and_what_was_not_does_not(died):
    spool = Spool(died)
    assert contents(spool) == expected(range(5))
    assert [found.key for found in spool.records()] == [f"s{number}" for number in range(5)]
    spool.close()


def test_what_was_written_past_the_last_commit_is_overwritten(died):
    committed = sum(len(one(number).payload()) for number in range(5))
    assert (died / "payloads").stat().st_size > committed
    with (died / "payloads").open("ab") as file:
        file.write(b"and half of an")
    spool = Spool(died)
    spool.add(record("s30"), "train", [one(30)])
    spool.commit()
    assert contents(spool) == expected([*range(5), 30])
    assert (died / "payloads").read_bytes()[committed:].startswith(one(30).payload())
    spool.close()


def test_a_spool_that_lost_its_payloads_is_not_taken_for_whole(died):
    """After a power cut the journal may name bytes that never reached the disk. They must not end up in a shard."""
    with (died / "payloads").open("r+b") as file:
        file.truncate(10)
    try:
        spool = Spool(died)
        found = contents(spool)
        spool.close()
    except Exception as error:
        assert type(error).__module__ == "skyshards.errors"
    else:
        assert found == expected(range(len(found))), "rows with bytes missing"


def test_records_keep_everything(tmp_path):
    records = [
        record("b"),
        record("a", "failed", "line 'one', \"two\" é"),
        SourceRecord("c", None, None, None, "left out", 3, None),
    ]
    spool = Spool(tmp_path / "spool")
    for each in records:
        spool.add(each, "train", [])
    spool.commit()
    assert list(spool.records()) == sorted(records, key=lambda each: each.key)
    spool.close()


def test_a_source_tried_again_has_its_last_outcome(tmp_path):
    spool = Spool(tmp_path / "spool")
    spool.add(record("a", "failed", "once"), "train", [])
    spool.add(record("a"), "train", [one(1, source="a")])
    spool.commit()
    assert list(spool.records()) == [record("a")]
    spool.close()


def test_splits_and_pixels_are_kept_apart(tmp_path):
    spool = Spool(tmp_path / "spool")
    for number, split in enumerate(["train", "test", "train"]):
        spool.add(record(f"s{number}"), split, [one(number, pixel=9)])
    spool.commit()
    assert spool.pixels() == [("test", 9), ("train", 9)]
    assert [row.object_id for row in spool.rows("train", 9)] == ["o000", "o002"]
    spool.close()


def test_an_empty_spool_leaves_no_files(tmp_path):
    folder = tmp_path / "spool"
    spool = Spool(folder)
    spool.close()
    spool.close()
    assert list(folder.iterdir()) == []


def test_delete_leaves_what_is_not_its_own(died):
    (died / "lock").touch()
    delete(died)
    assert [path.name for path in died.iterdir()] == ["lock"]
    delete(died)


def test_payloads_of_no_bytes(tmp_path):
    spool = Spool(tmp_path / "spool")
    empty = EncodedRow(1, "o", "s", {}, {}, lambda: b"")
    spool.add(record("s"), "train", [empty])
    spool.commit()
    assert spool.rows("train", 1)[0].payload() == b""
    spool.close()
