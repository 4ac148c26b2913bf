"""Rows into shards: how they are divided, merged and numbered."""

import hashlib
import math
import shutil
import weakref
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyshards.errors import ShardCorrupted
from skyshards.format import shard as hdf5
from skyshards.format.catalog import Manifest
from skyshards.format.layout import pixel_folder
from skyshards.format.rows import NewRow
from skyshards.pipeline import pack
from skyshards.pipeline.catalog_parts import load
from skyshards.pipeline.encode import encode
from skyshards.pipeline.pack import divide, merge, pack_pixel
from tests.toy import SCHEMA, located, row

SIZES = st.lists(st.integers(0, 100), min_size=1, max_size=60)
ROWS, BYTES = st.integers(1, 20), st.integers(1, 400)


@given(SIZES, ROWS, BYTES)
def test_every_row_is_in_one_run_in_order(sizes, max_rows, max_bytes):
    positions = [position for run in divide(sizes, max_rows, max_bytes) for position in range(len(sizes))[run]]
    assert positions == list(range(len(sizes)))


@given(SIZES, ROWS, BYTES)
def test_runs_keep_to_the_bounds(sizes, max_rows, max_bytes):
    for run in divide(sizes, max_rows, max_bytes):
        assert 1 <= len(sizes[run]) <= max_rows
        assert sum(sizes[run]) <= max_bytes or len(sizes[run]) == 1


@given(SIZES, ROWS, BYTES)
def test_runs_are_of_nearly_equal_length(sizes, max_rows, max_bytes):
    lengths = [len(sizes[run]) for run in divide(sizes, max_rows, max_bytes)]
    assert max(lengths) - min(lengths) <= 1


@given(st.integers(1, 60), st.integers(1, 20))
def test_no_more_runs_than_need_be_for_a_bound_on_rows(count, max_rows):
    assert len(divide([1] * count, max_rows, 10**9)) == math.ceil(count / max_rows)


@given(st.integers(1, 60), st.integers(1, 50), st.integers(1, 400))
def test_no_more_runs_than_need_be_for_a_bound_on_bytes(count, size, max_bytes):
    per_run = max(1, max_bytes // size)
    assert len(divide([size] * count, count, max_bytes)) == math.ceil(count / per_run)


def light_row(name, source, version):
    return NewRow(name, source, {}, {"version": version}, b"")


KEYS = st.dictionaries(st.tuples(st.sampled_from("abcde"), st.sampled_from("xyz")), st.integers())


@given(KEYS, KEYS)
def test_merged_rows_are_sorted_each_once_the_new_before_the_old(old, new):
    def in_order(versions):
        return [light_row(*key, version) for key, version in sorted(versions.items())]

    merged = list(merge(in_order(old), in_order(new)))
    assert [row.order for row in merged] == sorted(old | new)
    assert {row.order: row.light()["version"] for row in merged} == old | new


def test_one_split_needs_no_folder_of_its_own():
    assert pixel_folder("train", 1993, ("train",)) == "healpix=1993"
    assert pixel_folder("test", 1993, ("train", "test")) == "test/healpix=1993"


def encoded(numbers):
    rows = located([encode(row(number), SCHEMA.specs, f"s{number}") for number in numbers], 1)
    return sorted(rows, key=lambda row: row.order)


def packed(folder, steps, max_rows=None, max_bytes=pack.MAX_SHARD_BYTES):
    """Pack rows of one pixel in steps, as one build after the other does it; gives the last step's shards."""
    manifest = Manifest("toy", 1, {"max_rows_per_shard": max_rows}, False, ("train",), tuple(SCHEMA.specs.values()), ())
    place = folder / "healpix=5"
    for numbers in steps:
        staged = folder / "staged"
        made = list(pack_pixel(folder, staged, "train", 5, encoded(numbers), manifest, {"data_set": "toy"}, max_bytes))
        shutil.rmtree(place, ignore_errors=True)
        (staged / "healpix=5").rename(place)
        manifest = replace(manifest, shards=tuple(made))
    return [(shard, load(folder, shard)) for shard in made]


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "healpix=5").iterdir()}


@settings(max_examples=5)
@given(st.permutations(range(9)), st.lists(st.integers(0, 9), max_size=3), st.sampled_from([None, 1, 4]))
def test_any_steps_give_the_bytes_of_one_step(tmp_path_factory, order, cuts, max_rows):
    one, many = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("many")
    packed(one, [range(9)], max_rows)
    edges = [0, *sorted(cuts), 9]
    packed(many, [order[start:stop] for start, stop in zip(edges, edges[1:], strict=False) if stop > start], max_rows)
    assert digests(many) == digests(one)


def test_a_source_read_again_replaces_its_rows(tmp_path):
    packed(tmp_path, [range(4), range(2, 6)])
    with hdf5.open_safely(tmp_path / "healpix=5/001-of-001.hdf5") as file:
        assert hdf5.read_light(file, SCHEMA.specs["source"]).tolist() == [f"s{number}" for number in range(6)]


def test_shards_are_what_they_are_said_to_be(tmp_path):
    made = packed(tmp_path, [range(10)], max_rows=4)
    assert [shard.path for shard, _ in made] == [f"healpix=5/{number:03d}-of-003.hdf5" for number in (1, 2, 3)]
    assert [shard.rows for shard, _ in made] == [3, 3, 4] == [len(part) for _, part in made]
    for shard, part in made:
        content = (tmp_path / shard.path).read_bytes()
        assert (shard.nbytes, shard.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert part["_shard"].to_pylist() == [shard.path] * shard.rows
        assert part["_row"].to_pylist() == list(range(shard.rows))
        for start, size, number in zip(
            part["_start:picture"].to_pylist(),
            part["_size:picture"].to_pylist(),
            part["source"].to_pylist(),
            strict=True,
        ):
            assert content[start : start + size] == row(int(number[1:]))["picture"]


def test_a_pixel_of_many_small_rows_is_split_and_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "MAX_SHARD_ROWS", 3)
    made, most = [], 0

    class Watched(NewRow):
        """A row that can be referred to weakly."""

    class Rows:
        def __iter__(self):
            nonlocal most
            for new in encoded(range(20)):
                one = Watched(*(getattr(new, field.name) for field in fields(NewRow)))
                made.append(weakref.ref(one))
                most = max(most, sum(reference() is not None for reference in made))
                yield one

    manifest = Manifest("toy", 1, {"max_rows_per_shard": None}, False, ("train",), tuple(SCHEMA.specs.values()), ())
    packed = pack_pixel(tmp_path, tmp_path / "staged", "train", 5, Rows(), manifest, {"data_set": "toy"})
    assert [shard.rows for shard in packed] == [2, 3, 3, 3, 3, 3, 3]
    assert len(made) == 40 and most <= 2 * 3 + 2, "the rows of one shard are held, and some of the next"


def test_a_pixel_too_large_for_a_file_is_split(tmp_path):
    size = max(one.nbytes for one in encoded(range(6)))
    made = packed(tmp_path, [range(6)], max_bytes=2 * size)
    assert [shard.rows for shard, _ in made] == [2, 2, 2]


def test_a_damaged_shard_is_not_packed_on(tmp_path):
    path = tmp_path / "healpix=5/001-of-001.hdf5"

    def steps():
        yield range(3)
        path.write_bytes(path.read_bytes()[:-1])
        yield [7]

    with pytest.raises(ShardCorrupted, match=str(path)):
        packed(tmp_path, steps())
