"""The spool: what was committed is there after any death of the process, and nothing else is."""

import errno
import multiprocessing
import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyshards.format.folds import fold_of
from skyshards.format.healpix import pixel_of
from skyshards.format.provenance import SourceRecord
from skyshards.format.rows import NewRow
from skyshards.pipeline.spool import Entry, Spool, delete

REPOSITORY = Path(__file__).parents[1]


def record(key, status="done", error=None):
    return SourceRecord(key, f"http://there/{key}", 7, "a" * 64, status, error, 1)


def one(number, source=None):
    """A row whose payload tells its number; the first few lie in three pixels."""
    content = f"payload {number} ".encode() * (number % 5 + 1)
    half = len(content) // 2
    light = {"flux": float("nan"), "big": 2**62 + number, "name": "é\n", "ra": 40.0 * (number % 3), "dec": -5.0}
    light |= {"object_id": f"o{number:03d}", "source": source or f"s{number}"}
    return NewRow(light["object_id"], light["source"], {"a": half, "b": len(content) - half}, light, content)


def enter(spool, key, rows, split="train"):
    """What a build does with a source that was read."""
    spool.enter([Entry(record(key), split, spool.files.keep(rows))])


def text(split, pixel, row):
    """All of a row; the light columns as text, since NaN is not equal to itself."""
    return split, pixel, row.order, str(sorted(row.light().items())), row.sizes, row.payload()


def contents(spool):
    return sorted(text(split, pixel, row) for split, pixel in spool.pixels() for row in spool.rows(split, pixel))


def expected(numbers, split="train"):
    found = []
    for row in map(one, numbers):
        light = row.light()
        light["fold"] = int(fold_of(light["ra"], light["dec"]))
        light["healpix"] = pixel = int(pixel_of(light["ra"], light["dec"], 16))
        found.append(text(split, pixel, replace(row, values=light)))
    return sorted(found)


@settings(max_examples=20)
@given(st.lists(st.lists(st.integers(0, 40), max_size=6, unique=True), max_size=6))
def test_rows_come_back_whatever_the_order(tmp_path_factory, groups):
    folder, numbers = tmp_path_factory.mktemp("spool") / "spool", []
    spool = Spool(folder, 16)
    for group in groups:
        group = [number for number in group if number not in numbers]
        numbers += group
        enter(spool, f"group {len(numbers)} {group}", [one(number) for number in group])
    assert contents(spool) == expected(numbers)
    spool.close()
    spool = Spool(folder, 16)
    assert contents(spool) == expected(numbers)
    spool.close()


DIES = """
import os, sys
from pathlib import Path
from skyshards.pipeline.spool import Spool
from tests.test_spool import enter, one
spool = Spool(Path(sys.argv[1]), 16)
for number in range(5):
    enter(spool, f"s{number}", [one(number)])
for number in range(5, 9):
    spool.files.keep([one(number)])
os._exit(7)
"""


@pytest.fixture
def died(tmp_path):
    """The spool of a process that ended when some rows were kept and not entered."""
    folder = tmp_path / "spool"
    assert subprocess.run([sys.executable, "-c", DIES, str(folder)], cwd=REPOSITORY).returncode == 7
    return folder


def test_what_was_committed_survives_and_what_was_not_does_not(died):
    spool = Spool(died, 16)
    assert contents(spool) == expected(range(5))
    assert [found.key for found in spool.known.in_order()] == [f"s{number}" for number in range(5)]
    spool.close()


def test_what_follows_a_killed_build_does_not_touch_its_payloads(died):
    (before,) = died.glob("payloads-*")
    content = before.read_bytes()
    stray = died / "payloads-that-no-row-came-of"
    stray.write_bytes(b"half of a row")
    spool = Spool(died, 16)
    enter(spool, "s30", [one(30)])
    assert contents(spool) == expected([*range(5), 30])
    assert before.read_bytes() == content and not stray.exists()
    spool.close()


def keep(files, numbers):
    return files.keep([one(number) for number in numbers])


@pytest.mark.slow
def test_processes_and_threads_write_beside_each_other(tmp_path):
    spool = Spool(tmp_path / "spool", 16)
    parts = [range(start, start + 10) for start in range(0, 200, 10)]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes, ThreadPoolExecutor(4) as threads:
        pools = [processes, threads]
        futures = [pools[place % 2].submit(keep, spool.files, part) for place, part in enumerate(parts)]
        for part, future in zip(parts, futures, strict=True):
            spool.enter([Entry(record(f"s{part}"), "train", future.result())])
    assert contents(spool) == expected(range(200))
    spool.close()


def test_a_process_that_outlives_a_build_has_a_new_file_for_the_next(tmp_path):
    for numbers in (range(5), range(5, 9)):
        spool = Spool(tmp_path / "spool", 16)
        enter(spool, "s", [one(number) for number in numbers])
        assert contents(spool) == expected(numbers)
        spool.close()
        delete(tmp_path / "spool")


class Unreadable(NewRow):
    """A row that cannot be written: its disk is full."""

    def payload(self):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_rows_after_some_that_could_not_be_written(tmp_path):
    spool = Spool(tmp_path / "spool", 16)
    enter(spool, "s1", [one(1)])
    with pytest.raises(OSError, match="No space left"):
        enter(spool, "s2", [one(2), Unreadable("o003", "s3", {}, {}, b"")])
    enter(spool, "s4", [one(4)])
    assert contents(spool) == expected([1, 4])
    (file,) = (tmp_path / "spool").glob("payloads-*")
    assert file.stat().st_size == len(one(1).payload() + one(4).payload())
    spool.close()


def test_a_spool_that_lost_its_payloads_is_not_taken_for_whole(died):
    """After a power cut the journal may name bytes that never reached the disk. They must not end up in a shard."""
    (payloads,) = died.glob("payloads-*")
    os.truncate(payloads, 10)
    spool = Spool(died, 16)
    assert spool.empty and contents(spool) == [], "all is read again"
    spool.close()


def test_records_keep_everything(tmp_path):
    records = [
        record("b"),
        record("a", "failed", "line 'one', \"two\" é"),
        SourceRecord("c", None, None, None, "left out", None, 3),
        SourceRecord("d", "u", 7, "a" * 64, "done", None, 1, 4, 3, 2, "17"),
    ]
    spool = Spool(tmp_path / "spool", 16)
    spool.enter([Entry(each, "train") for each in records])
    assert list(spool.known.in_order()) == sorted(records, key=lambda each: each.key)
    spool.close()


def test_a_source_tried_again_has_its_last_outcome(tmp_path):
    spool = Spool(tmp_path / "spool", 16)
    spool.enter([Entry(record("a", "failed", "once"), "train")])
    enter(spool, "a", [one(1, source="a")])
    assert list(spool.known.in_order()) == [record("a")]
    spool.close()


def test_splits_and_pixels_are_kept_apart(tmp_path):
    spool = Spool(tmp_path / "spool", 16)
    for number, split in enumerate(["test", "train", "train"]):
        enter(spool, f"s{number}", [one(3 * number)], split)
    pixel = int(pixel_of(0.0, -5.0, 16))
    assert spool.pixels() == [("train", pixel), ("test", pixel)], "those with most to pack come first"
    assert [row.object_id for row in spool.rows("train", pixel)] == ["o003", "o006"]
    spool.close()


def test_all_is_entered_or_nothing(tmp_path):
    spool = Spool(tmp_path / "spool", 16)
    (row,) = spool.files.keep([one(1)])
    with pytest.raises(sqlite3.Error):
        broken = row._replace(start=object())
        spool.enter([Entry(record("a"), "train", [row]), Entry(record("b"), "train", [broken])])
    assert contents(spool) == [] and spool.empty
    spool.enter([Entry(record("a"), "train", [row])])
    assert contents(spool) == expected([1])
    spool.close()


def test_an_empty_spool_leaves_no_files(tmp_path):
    folder = tmp_path / "spool"
    spool = Spool(folder, 16)
    spool.close()
    spool.close()
    assert list(folder.iterdir()) == []


def test_delete_leaves_what_is_not_its_own(died):
    (died / "lock").touch()
    delete(died)
    assert [path.name for path in died.iterdir()] == ["lock"]
    delete(died)


def test_payloads_of_no_bytes(tmp_path):
    spool = Spool(tmp_path / "spool", 16)
    enter(spool, "s", [replace(one(1), sizes={}, content=b"")])
    ((split, pixel),) = spool.pixels()
    assert next(iter(spool.rows(split, pixel))).payload() == b""
    spool.close()
