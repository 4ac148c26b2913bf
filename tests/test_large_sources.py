"""Sources with many rows: read in blocks, each done or not done, counted and remembered by the build."""

import pyarrow.parquet as pq
import pytest

import skyshards
from skyshards.pipeline.build import build
from tests.large import Large, Whole, write_file
from tests.toy_folder import assert_whole, shard_bytes


def source(folder, key="a.h5"):
    return next(row for row in pq.read_table(folder / "sources.parquet").to_pylist() if row["key"] == key)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A file of 100 rows, and the folder built from it in one go."""
    folder = tmp_path_factory.mktemp("large")
    path = write_file(folder / "a.h5", 100)
    build(Large((path,)), folder / "whole", workers=2)
    return path, folder / "whole"


def test_blocks_give_the_rows_of_the_file(large):
    path, folder = large
    assert_whole(folder)
    assert len(skyshards.open(folder)) == 100
    found = source(folder)
    assert (found["total"], found["read"], found["failed"], found["rows"]) == (100, 100, 0, 100)
    assert found["bytes"] == path.stat().st_size and found["status"] == "done"
    assert path.exists()


def test_blocks_give_the_bytes_of_the_source_read_whole(large, tmp_path):
    path, folder = large
    build(Whole((path,)), tmp_path / "whole", workers=0)
    assert shard_bytes(tmp_path / "whole") == shard_bytes(folder)
    assert source(tmp_path / "whole") == source(folder)


@pytest.mark.parametrize("limits", [(5, None), (1, 8, 50, 30, None), (200,), (99, 100, None)])
def test_limits_count_rows_and_go_on_later(large, tmp_path, limits):
    path, folder = large
    for limit in limits:
        build(Large((path,)), tmp_path / "toy", limit=limit, workers=0)
        assert_whole(tmp_path / "toy")
    assert shard_bytes(tmp_path / "toy") == shard_bytes(folder)
    assert (tmp_path / "toy/sources.parquet").read_bytes() == (folder / "sources.parquet").read_bytes()


@pytest.mark.parametrize("limit", [5, 40])
def test_a_limit_reads_so_many_rows(large, tmp_path, limit):
    path, _ = large
    summary = build(Large((path,)), tmp_path / "toy", limit=limit, workers=2)
    assert (summary.rows, summary.added) == (limit, limit)
    names = sorted(skyshards.open(tmp_path / "toy").catalog["object_id"].to_pylist())
    assert names == [f"g{number:05d}" for number in range(limit)]
    found = source(tmp_path / "toy")
    assert (found["status"], found["total"], found["read"], found["rows"]) == ("in part", 100, limit, limit)
    assert build(Large((path,)), tmp_path / "toy", limit=limit, workers=0).added == 0


def test_rows_that_are_left_out_do_not_count(large, tmp_path):
    recipe = Large(large[:1], left_out=(0, 3, 4, 20))
    assert build(recipe, tmp_path / "toy", limit=5, workers=0).rows == 5
    assert source(tmp_path / "toy")["read"] == 8
    assert build(recipe, tmp_path / "toy", workers=0).rows == 96
    assert_whole(tmp_path / "toy")
