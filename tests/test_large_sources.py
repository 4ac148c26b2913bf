"""Sources with many rows: read in blocks, each done or not done, counted and remembered by the build."""

import csv
import functools
import http.server
import shutil
import threading
from itertools import islice

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

import skyshards
from skyshards.errors import BuildError, SourceError, UsageError
from skyshards.pipeline.build import build
from skyshards.pipeline.recipe import Recipe, Source
from skyshards.verify import describe, problems
from tests.large import Large, Whole, write_file
from tests.toy import Toy, row
from tests.toy_folder import assert_whole, shard_bytes


def source(folder, key="a.h5"):
    return next(line for line in pq.read_table(folder / "sources.parquet").to_pylist() if line["key"] == key)


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_rows_that_are_left_out_do_not_count(large, tmp_path):
    recipe = Large(large[:1], left_out=(0, 3, 4, 20))
    assert build(recipe, tmp_path / "toy", limit=5, workers=0).rows == 5
    assert source(tmp_path / "toy")["read"] == 8
    assert build(recipe, tmp_path / "toy", workers=0).rows == 96
    assert_whole(tmp_path / "toy")


def changed(path, rows, **values):
    """Change values of a file's rows."""
    with h5py.File(path, "r+") as file:
        for name, value in values.items():
            for number in rows:
                file[name][number] = value
    return path


def failures(folder):
    with open(folder / "failures.csv", newline="") as file:
        return [(line["key"], line["row"], line["error"]) for line in csv.DictReader(file)]


@pytest.mark.parametrize("recipe", [Large, Whole])
def test_a_bad_row_costs_that_row(tmp_path, recipe):
    path = changed(write_file(tmp_path / "a.h5", 20), [3], ra=np.nan)
    changed(path, [12], name="g00004")
    folder = tmp_path / "toy"
    summary = build(recipe((path,)), folder, workers=0)
    assert (summary.rows, summary.failed, summary.failed_rows) == (18, 0, 2)
    one, other = failures(folder)
    assert one[:2] == ("a.h5", "3") and "expected 0 <= ra <= 360" in one[2]
    assert other == ("a.h5", "12", "object_id: expected unique values in a source, found 'g00004' more than once")
    found = source(folder)
    assert (found["status"], found["rows"], found["failed"], found["error"]) == ("done", 18, 2, "")
    assert_whole(folder)
    assert "2 rows failed" in describe(folder)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [Large, Whole])
def test_failed_rows_are_remembered_and_retried_when_their_list_is_deleted(tmp_path, recipe, monkeypatch):
    path = changed(write_file(tmp_path / "a.h5", 20), [3], ra=np.nan)
    folder = tmp_path / "toy"
    build(recipe((path,)), folder, limit=10, workers=0)
    before = failures(folder)
    assert len(before) == 1 and source(folder)["rows"] == 9
    build(recipe((path,)), folder, workers=0)
    assert failures(folder) == before and source(folder)["rows"] == 19
    with monkeypatch.context() as patch:
        patch.setattr(Large, "fetch", None)  # it is not read again
        assert build(recipe((path,)), folder, workers=0).failed_rows == 1
    (folder / "failures.csv").unlink()
    changed(path, [3], ra=1.0)
    summary = build(recipe((path,)), folder, workers=0)
    assert (summary.rows, summary.added, summary.failed_rows) == (20, 1, 0)
    assert not (folder / "failures.csv").exists()
    assert_whole(folder)


@pytest.mark.parametrize("recipe", [Large, Whole])
def test_a_source_all_of_whose_rows_fail_has_failed(tmp_path, recipe):
    path = changed(write_file(tmp_path / "a.h5", 20), range(20), ra=np.nan)
    build(recipe((path, write_file(tmp_path / "b.h5", 3, 50))), tmp_path / "toy", workers=0)
    ((key, number, error),) = failures(tmp_path / "toy")
    assert (key, number) == ("a.h5", "") and error.startswith("all 20 rows failed; row 0: ") and "no position" in error
    assert source(tmp_path / "toy")["status"] == "failed"
    changed(path, range(20), ra=1.0)
    assert build(recipe((path,)), tmp_path / "toy", workers=0).added == 20
    assert_whole(tmp_path / "toy")


class Raising(Large):
    """Some rows cannot be read: the whole block raises where one of them is asked for."""

    def read_rows(self, source, fetched, rows):
        if 9 in rows or 30 in rows:
            raise SourceError("cannot be inflated")
        yield from super().read_rows(source, fetched, rows)


def test_a_block_that_raises_is_read_row_by_row(large, tmp_path):
    summary = build(Raising(large[:1]), tmp_path / "toy", workers=0)
    assert (summary.rows, summary.failed_rows) == (98, 2)
    assert failures(tmp_path / "toy") == [("a.h5", str(number), "cannot be inflated") for number in (9, 30)]


class Short(Large):
    """It gives fewer rows than it is asked for."""

    def read_rows(self, source, fetched, rows):
        yield from islice(super().read_rows(source, fetched, rows), len(rows) - 1)


class Long(Large):
    def read_rows(self, source, fetched, rows):
        yield from super().read_rows(source, fetched, range(rows.start, rows.stop + 1))


@pytest.mark.parametrize("recipe, found", [(Short, "found 6"), (Long, "found more")])
def test_a_wrong_number_of_rows_is_an_error(large, tmp_path, recipe, found):
    assert build(recipe(large[:1]), tmp_path / "toy", workers=0).failed == 1
    assert failures(tmp_path / "toy")[0][2].endswith(found)


@pytest.mark.parametrize("method", ["count", "read_rows"])
def test_half_a_recipe_is_refused(large, tmp_path, method):
    half = type("Half", (Large,), {method: getattr(Recipe, method)})
    with pytest.raises(UsageError, match="Half: expected `read`, or `count` and `read_rows`; found"):
        build(half(large[:1]), tmp_path / "toy")


@pytest.mark.parametrize("limit", [None, 40])
def test_sources_of_one_key_are_refused(tmp_path, limit):
    other = tmp_path / "elsewhere"
    other.mkdir()
    files = [write_file(tmp_path / f"{number}.h5", 2, 10 * number) for number in range(5)]
    files.append(write_file(other / "1.h5", 2, 90))
    with pytest.raises(BuildError, match=r"sources 2 \(.*/1.h5\) and 6 \(.*elsewhere/1.h5\) have the same key '1.h5'"):
        build(Large(tuple(files)), tmp_path / "toy", limit=limit, workers=0)


def test_a_file_that_changed_is_not_mixed_in(tmp_path):
    path = write_file(tmp_path / "a.h5", 30)
    build(Large((path,)), tmp_path / "toy", limit=10, workers=0)
    changed(path, [20], ra=1.0)
    with pytest.raises(BuildError, match="a.h5: not the source of the first 10 rows in this folder: sha256 .* then"):
        build(Large((path,)), tmp_path / "toy", workers=0)


class Stopping(Large):
    """It is interrupted where a row is read, until there is a file `go`."""

    def read_rows(self, source, fetched, rows):
        if 16 in rows and not fetched.with_name("go").exists():
            raise KeyboardInterrupt
        yield from super().read_rows(source, fetched, rows)


def interrupted(path, folder):
    with pytest.raises(KeyboardInterrupt):
        build(Stopping((path,)), folder, workers=0)
    path.with_name("go").touch()


@pytest.mark.parametrize("limits", [(None,), (4, None), (25, None), (12, 20, None)])
def test_what_was_interrupted_goes_on(tmp_path, limits, monkeypatch):
    """With limits below and above what was read: those beyond a limit, and what lies between, are read once."""
    path = write_file(tmp_path / "a.h5", 30)
    build(Large((path,)), tmp_path / "whole", workers=0)
    interrupted(path, tmp_path / "toy")
    asked = []
    real = Large.read_rows
    monkeypatch.setattr(Large, "read_rows", lambda *args: asked.extend(args[-1]) or real(*args))
    for limit in limits:
        build(Stopping((path,)), tmp_path / "toy", limit=limit, workers=0)
        assert_whole(tmp_path / "toy")
    assert sorted(asked) == list(range(14, 30))
    assert shard_bytes(tmp_path / "toy") == shard_bytes(tmp_path / "whole")
    for name in ("catalog.parquet", "sources.parquet", "SHA256SUMS"):
        assert (tmp_path / "toy" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_file_that_changed_meanwhile_is_read_anew(tmp_path, capsys):
    path = write_file(tmp_path / "a.h5", 30)
    interrupted(path, tmp_path / "toy")
    changed(path, [2], ra=1.0)
    assert build(Stopping((path,)), tmp_path / "toy", workers=0).rows == 30
    assert "is not what it was when its reading was interrupted" in capsys.readouterr().err
    build(Large((path,)), tmp_path / "whole", workers=0)
    assert shard_bytes(tmp_path / "toy") == shard_bytes(tmp_path / "whole")


def test_a_dry_run_tells_of_rows(large, tmp_path):
    path, folder = large
    recipe, toy = Large((path,)), tmp_path / "toy"
    assert build(recipe, toy, limit=5, dry_run=True).plan.startswith("up to 5 rows to do: ")
    build(recipe, toy, limit=5, workers=0)
    assert build(recipe, toy, dry_run=True).plan.startswith("1 source to do (5 rows done already): ")
    assert build(recipe, toy, limit=5, dry_run=True).plan == "nothing to do (1 done already)"


class Impatient(Recipe):
    """It cuts its last source by the limit itself, as far as it is told."""

    name, schema, folder = "toy", Toy.schema, Toy.folder

    def sources(self, fetcher):
        total = 200 if self.limit is None else min(self.limit, 200)
        for start in range(0, total, 64):
            yield Source(f"block {start}", info=range(start, min(start + 64, total)))

    def read(self, source, fetched):
        yield from map(row, source.info)


@pytest.mark.slow
def test_a_recipe_cannot_cut_its_sources_by_the_limit(tmp_path):
    """Else the last source would pass for done, and its other rows be missing from the next build."""
    for limit in (83, None):
        summary = build(Impatient(), tmp_path / "toy", limit=limit, workers=0)
    assert summary.rows == 200 and len(skyshards.open(tmp_path / "toy")) == 200
    assert_whole(tmp_path / "toy")


@pytest.fixture
def served(tmp_path):
    """A folder with a file of 30 rows, its URL, and the requests for it."""
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    (tmp_path / "served").mkdir()
    write_file(tmp_path / "served" / "a.h5", 30)
    handler = functools.partial(Handler, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/a.h5", requests
        server.shutdown()
        thread.join()


class StoppingOnline(Stopping):
    stop = True

    def read_rows(self, source, fetched, rows):
        if 16 in rows and StoppingOnline.stop:
            raise KeyboardInterrupt
        yield from Large.read_rows(self, source, fetched, rows)


@pytest.mark.parametrize("keep", [False, True])
def test_a_download_serves_until_its_last_block(tmp_path, served, keep, monkeypatch):
    """It is fetched once, however often the build is stopped, and deleted only then, unless it is to be kept."""
    url, requests = served
    recipe, folder = StoppingOnline((), urls=(url,), keep=keep), tmp_path / "toy"
    build(recipe, folder, limit=5, workers=0)
    assert (folder / "downloads" / "a.h5").exists()
    with pytest.raises(KeyboardInterrupt):
        build(recipe, folder, workers=0)
    monkeypatch.setattr(StoppingOnline, "stop", False)
    assert build(recipe, folder, workers=0).rows == 30
    assert len(requests) == 1
    assert (folder / "downloads").exists() == keep
    found = source(folder)
    assert (found["bytes"], found["url"]) == ((tmp_path / "served" / "a.h5").stat().st_size, url)
    assert list(problems(folder)) == []


def test_a_source_whose_rest_cannot_be_fetched_stays_in_part(tmp_path, served):
    url, _ = served
    recipe, folder = Large((), urls=(url,)), tmp_path / "toy"
    build(recipe, folder, limit=5, workers=0)
    shutil.rmtree(folder / "downloads")
    (tmp_path / "served" / "a.h5").rename(tmp_path / "a.h5")
    assert build(recipe, folder, workers=0).failed == 1
    assert source(folder)["status"] == "in part" and "404" in failures(folder)[0][2]
    assert_whole(folder)
    (tmp_path / "a.h5").rename(tmp_path / "served" / "a.h5")
    assert build(recipe, folder, workers=0).rows == 30
    assert not (folder / "failures.csv").exists()
    assert_whole(folder)
