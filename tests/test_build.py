"""The pipeline: what a build leaves behind, whatever happens to it."""

import contextlib
import errno
import hashlib
import multiprocessing.forkserver
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import skyshards
from skyshards.errors import BuildError, FolderError, SourceError, UsageError
from skyshards.format import catalog
from skyshards.format.layout import WORKSPACE
from skyshards.pipeline import pack, payloads, pools, workspace
from skyshards.pipeline.build import build
from skyshards.pipeline.recipe import Served
from skyshards.pipeline.source_rows import lasting
from skyshards.progress import progress, say
from tests.contract import Contract, assert_same
from tests.toy import Toy, die, row, unread
from tests.toy_folder import assert_whole, shard_bytes

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def toy_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy") / "toy"
    build(Toy(20, rows_each=2), folder, workers=2)
    return folder


class TestToy(Contract):
    """The contract, but for what needs a registered builder."""

    test_registered_load_equals_table = None
    test_configs_read_fewer_columns = None
    test_own_card_is_complete = None  # its card is a stub

    @pytest.fixture
    def folder(self, toy_folder):
        return toy_folder

    @pytest.fixture
    def recipe(self):
        return Toy(20, rows_each=2)

    @pytest.fixture
    def expected(self, recipe):
        rows = {}
        for source in recipe.sources(None):
            for values in recipe.read(source, None):
                values.pop("picture")  # in the table it is decoded
                rows[values["object_id"], source.key] = values
        return rows


@pytest.mark.slow
@pytest.mark.parametrize("change", ["workers", "order", "in steps", "executor"])
def test_same_sources_give_same_bytes(toy_folder, tmp_path, change):
    folder = tmp_path / "toy"
    if change == "workers":
        build(Toy(20, rows_each=2), folder, workers=3)
    elif change == "order":
        build(Toy(20, rows_each=2, backwards=True), folder, workers=1)
    elif change == "executor":
        with ThreadPoolExecutor(2) as executor:
            build(Toy(20, rows_each=2), folder, executor=executor)
    else:
        for limit in (3, 4, 11, None):
            build(Toy(20, rows_each=2), folder, limit=limit, workers=1)
            assert_whole(folder)
    assert shard_bytes(folder) == shard_bytes(toy_folder)
    assert (folder / "catalog.parquet").read_bytes() == (toy_folder / "catalog.parquet").read_bytes()
    assert_whole(folder)


@pytest.mark.slow
def test_threads_pack_many_pixels(tmp_path):
    """h5py before 3.16 is not fit to write two files at once."""
    with ThreadPoolExecutor(4) as executor:
        assert build(Toy(60), tmp_path / "toy", executor=executor, workers=4, nside=64).rows == 60
    assert_whole(tmp_path / "toy")


def test_a_second_run_has_nothing_to_do(tmp_path):
    first = build(Toy(5), tmp_path / "toy", workers=1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "toy").rglob("*")}
    second = build(Toy(5), tmp_path / "toy", workers=1)
    assert (first.rows, first.added, second.rows, second.added) == (5, 5, 5, 0)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "toy").rglob("*")} == before


@pytest.mark.slow
def test_failed_sources_are_recorded_and_tried_again(tmp_path):
    folder = tmp_path / "toy"
    summary = build(Toy(6, broken=(2, 4)), folder, workers=2)
    assert (summary.rows, summary.failed) == (4, 2)
    assert "broken on purpose" in (folder / "failures.csv").read_text()
    build(Toy(6, broken=(2, 4)), folder, workers=2)
    sources = {source["key"]: source for source in pq.read_table(folder / "sources.parquet").to_pylist()}
    assert (folder / "tries.csv").read_text().replace('"', "").split() == ["key,tries", "s00002,2", "s00004,2"]
    assert "tries.csv" not in (folder / "SHA256SUMS").read_text()
    assert sources["s00002"]["error"] == "broken on purpose" and (
        sources["s00002"]["shard"],
        sources["s00002"]["row"],
    ) == ("", -1)
    summary = build(Toy(6), folder, workers=2)
    assert (summary.rows, summary.added, summary.failed) == (6, 2, 0)
    assert not (folder / "failures.csv").exists()
    assert_whole(folder)


def test_a_source_has_the_address_that_served_it(tmp_path):
    class Mirrored(Toy):
        def sources(self, fetcher):
            return [replace(source, url=f"https://example.org/{source.key}") for source in super().sources(fetcher)]

        def fetch(self, source, fetcher, folder):
            address = f"https://mirror.example.org/{source.key}"
            return Served(source.key.encode(), address) if source.info else source.key.encode()

    build(Mirrored(2), tmp_path / "toy", workers=0)
    table = skyshards.open(tmp_path / "toy")
    found = {str(row["source"]): table.source(number) for number, row in enumerate(table)}
    assert [source.url for source in found.values()] == [
        "https://example.org/s00000",
        "https://mirror.example.org/s00001",
    ]
    assert [source.sha256 for source in found.values()] == [
        hashlib.sha256(key.encode()).hexdigest() for key in ("s00000", "s00001")
    ]


def test_a_source_has_its_release_or_that_of_what_was_served(tmp_path):
    class Released(Toy):
        def sources(self, fetcher):
            for source in super().sources(fetcher):
                yield replace(source, url="https://example.org/", release="DR17" if source.key < "s00002" else None)

        def fetch(self, source, fetcher, folder):
            return Served(b"", source.url, {"s00001": "DR18"}.get(source.key))

    folder = tmp_path / "toy"
    build(Released(3, broken=(0,)), folder, workers=0)
    assert pq.read_table(folder / "sources.parquet")["release"].to_pylist() == ["DR17", "DR18", ""]
    build(Released(4), folder, workers=0)
    table = skyshards.open(folder)
    found = {str(row["source"]): table.source(number).release for number, row in enumerate(table)}
    assert found == {"s00000": "DR17", "s00001": "DR18", "s00002": None, "s00003": None}


def test_all_sources_may_fail(tmp_path):
    folder = tmp_path / "toy"
    summary = build(Toy(2, broken=(0, 1)), folder, workers=1)
    assert (summary.rows, summary.failed) == (0, 2)
    assert len(skyshards.open(folder)) == 0
    assert build(Toy(2), folder, workers=1).rows == 2


@pytest.mark.slow
def test_a_source_that_kills_its_process_fails_alone(tmp_path):
    folder = tmp_path / "toy"
    summary = build(Toy(12, deadly=5), folder, workers=2)
    assert (summary.rows, summary.failed) == (11, 1)
    assert "the process that read it died" in (folder / "failures.csv").read_text()
    assert_whole(folder)


def test_processes_that_cannot_start_end_the_build(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(pools, "start_worker", die)
        with pytest.raises(BuildError, match="worker processes cannot start"):
            build(Toy(4), tmp_path / "toy", workers=2)
    assert build(Toy(4), tmp_path / "toy", workers=2).rows == 4


OTHER_OPTIONS = {
    "nside": (32, "was built with `nside` 16, now 32; give the same again"),
    "max_rows_per_shard": (1, "was built without `max_rows_per_shard`, now with 1; give the same again"),
    "simulated": (True, "holds real galaxies; build simulated ones (`simulated`) elsewhere with `output_dir`"),
}


@pytest.mark.parametrize("name", OTHER_OPTIONS)
def test_other_options_are_refused(toy_folder, name):
    value, words = OTHER_OPTIONS[name]
    before = shard_bytes(toy_folder)
    with pytest.raises(UsageError, match=re.escape(words)):
        build(Toy(20, rows_each=2), toy_folder, **{name: value})
    assert shard_bytes(toy_folder) == before


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("my thesis")
    with pytest.raises(UsageError, match="files that are not of a built dataset"):
        build(Toy(2), tmp_path)
    assert (tmp_path / "README.md").read_text() == "my thesis"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md"]


def test_a_build_that_found_nothing_leaves_nothing(tmp_path, monkeypatch):
    def unreachable(self, fetcher):
        raise BuildError("the archive is out of reach")

    with monkeypatch.context() as patch:
        patch.setattr(Toy, "sources", unreachable)
        with pytest.raises(BuildError, match="out of reach"):
            build(Toy(2), tmp_path / "toy")
    assert list((tmp_path / "toy").iterdir()) == []
    assert build(Toy(2), tmp_path / "toy", nside=32, workers=1).rows == 2


def test_impossible_nside_is_refused(tmp_path):
    with pytest.raises(UsageError, match="power of two"):
        build(Toy(2), tmp_path / "toy", nside=12)


def test_one_file_an_object(tmp_path):
    folder = tmp_path / "toy"
    build(Toy(8), folder, max_rows_per_shard=1, workers=1)
    assert len(shard_bytes(folder)) == 8
    assert_whole(folder)


def test_errors_that_are_no_text_are_recorded(tmp_path, monkeypatch):
    def read(recipe, source, fetched):
        raise SourceError("no such file: caf\udce9.fits")

    with monkeypatch.context() as patch, ThreadPoolExecutor(1) as here:
        patch.setattr(Toy, "read", read)
        assert build(Toy(2), tmp_path, executor=here).failed == 2
    assert "caf\\udce9.fits" in (tmp_path / "failures.csv").read_text()


@pytest.mark.slow
def test_two_builds_in_one_folder(tmp_path):
    folder = tmp_path / "toy"
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(build, Toy(8, pause=0.3), folder, workers=1)
        while not (folder / WORKSPACE / "lock").exists():
            time.sleep(0.01)
        with pytest.raises(BuildError, match="another build is running"):
            build(Toy(8, pause=0.3), folder)
        assert running.result(timeout=60).rows == 8
    assert_whole(folder)


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.slow
@pytest.mark.parametrize("where", ["spool", "shard", "catalog"])
def test_a_full_disk_loses_nothing(tmp_path, toy_folder, monkeypatch, where):
    folder = tmp_path / "toy"
    recipe = Toy(20, rows_each=2)
    build(recipe, folder, limit=5, workers=1)
    before = list(skyshards.open(folder))
    with monkeypatch.context() as patch, ThreadPoolExecutor(1) as here:  # in this process, where it can be patched
        targets = {
            "spool": (payloads.PayloadFiles, "keep"),
            "shard": (pack.hdf5, "write"),
            "catalog": (catalog.parquet_parts, "write"),
        }
        patch.setattr(*targets[where], full)
        with pytest.raises(BuildError, match="the disk is full; free some space and run the same command again"):
            build(recipe, folder, executor=here)
    for values, wanted in zip(skyshards.open(folder), before, strict=True):
        assert_same(values, wanted)
    build(recipe, folder, workers=1)
    assert shard_bytes(folder) == shard_bytes(toy_folder)
    assert_whole(folder)


@pytest.mark.slow
def test_a_really_full_file_system(tmp_path):
    """The same, on a tiny file system where this process may mount one."""
    mount = tmp_path / "tiny"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(mount)], capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    try:
        with pytest.raises(BuildError, match="the disk is full"):
            build(Toy(400), mount / "toy", workers=1)
        subprocess.run(["mount", "-o", "remount,size=64m", str(mount)], check=True)
        assert build(Toy(400), mount / "toy", workers=1).rows == 400
        assert_whole(mount / "toy")
    finally:
        subprocess.run(["umount", str(mount)], check=True)


@pytest.fixture
def read_only(tmp_path):
    """Show a folder where nothing can be written to, not even by root."""
    mounts = []

    def show(folder):
        mount = tmp_path / "read-only"
        mount.mkdir()
        for options in (["--bind", str(folder), str(mount)], ["-o", "remount,ro,bind", str(mount)]):
            if subprocess.run(["mount", *options], capture_output=True).returncode:
                pytest.skip("no right to mount a folder read-only")
            mounts[:] = [mount]
        return mount

    yield show
    for mount in mounts:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_read_only_folder_with_nothing_to_do(toy_folder, read_only):
    folder = read_only(toy_folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    summary = build(Toy(20, rows_each=2), folder, workers=1)
    assert (summary.rows, summary.added, summary.failed) == (40, 0, 0)
    with pytest.raises(BuildError, match="cannot be written to, with 1 source still to be read"):
        build(Toy(21, rows_each=2), folder, workers=1)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


class Steering(Toy):
    """One source's error, and what is said of another, have text that would steer a terminal."""

    def read(self, source, fetched):
        if source.info == 1:
            raise SourceError("it says \x1b]0;gotcha\x07\x1b[31m\u202ered")
        if source.info == 2:
            raise ValueError("\x1b[31mred")
        yield from super().read(source, fetched)


@pytest.mark.slow
def test_control_characters_of_errors_reach_no_terminal(tmp_path, capsys):
    build(Steering(4), tmp_path / "toy", workers=1)
    listed = (tmp_path / "toy" / "failures.csv").read_text()
    assert "\\x1b]0;gotcha\\x07\\x1b[31m\\u202ered" in listed and "ValueError: \\x1b[31mred" in listed
    say("from \x1b[31mhere")
    with progress("\x1b[31m", "sources"):
        pass
    assert "from \\x1b[31mhere" in (said := capsys.readouterr().err)
    assert "\x1b" not in said + listed


@pytest.mark.slow
def test_a_fork_server_that_the_system_ends_is_named(tmp_path, monkeypatch):
    """While it still imports, as a machine short of memory would have it."""
    real = pools.start_fork_server

    def start_and_stop(recipe):
        context = real(recipe)
        server = multiprocessing.forkserver._forkserver._forkserver_pid
        os.kill(server, signal.SIGSTOP)  # it accepts, and does not answer
        threading.Timer(0.3, os.kill, (server, signal.SIGKILL)).start()
        return context

    with monkeypatch.context() as patch:
        patch.setattr(pools, "start_fork_server", start_and_stop)
        with pytest.raises(BuildError, match="ended by the system .*run the same command again to resume"):
            build(Toy(4), tmp_path / "toy", workers=2)
    assert build(Toy(4), tmp_path / "toy", workers=2).rows == 4


@pytest.mark.slow
@pytest.mark.parametrize("moved", [0, 1, 4, 9, 10_000])
def test_killed_while_files_move_to_their_places(tmp_path, toy_folder, monkeypatch, moved):
    """The dataset is then of two minds; the next build, with nothing to fetch, makes it whole."""
    folder, recipe = tmp_path / "toy", Toy(20, rows_each=2)
    build(recipe, folder, limit=12, workers=1)
    real, count = os.replace, 0

    def replace_some(source, target):
        nonlocal count
        count += 1
        if count > moved:
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(workspace.os, "replace", replace_some)
        build(recipe, folder, workers=1)
    monkeypatch.setattr(Toy, "read", unread)
    build(recipe, folder, workers=1)
    assert shard_bytes(folder) == shard_bytes(toy_folder)
    assert_whole(folder)


PROGRAM = """
import sys
from tests.toy import Toy
from skyshards.pipeline.build import build
if __name__ == "__main__":
    build(Toy(60, pause=0.02), sys.argv[1], workers=2)
"""


def start(folder):
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    return subprocess.Popen(command, cwd=REPOSITORY, start_new_session=True, stderr=subprocess.PIPE)


def children(process):
    """Processes of the session that `process` leads."""
    listing = subprocess.run(["ps", "-o", "pid=", "-s", str(process.pid)], capture_output=True, text=True).stdout
    return [int(pid) for pid in listing.split()]


@pytest.mark.slow
def test_kill_9_at_random_moments(tmp_path):
    whole = tmp_path / "whole"
    build(Toy(60), whole, workers=2)
    folder, kills = tmp_path / "killed", 0
    moments = random.Random(4)
    while kills < 10:
        process = start(folder)
        time.sleep(moments.uniform(0.9, 2.5))
        finished = process.poll() is not None
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        deadline = time.monotonic() + 20
        while children(process) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not children(process), "its worker processes outlived it"
        if finished:
            assert process.returncode == 0, errors
            assert shard_bytes(folder) == shard_bytes(whole)
            folder = tmp_path / f"killed-{kills}"  # it was done before it could be killed: begin anew
        kills += 1
    process = start(folder)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert shard_bytes(folder) == shard_bytes(whole)
    assert_whole(folder)


@pytest.mark.slow
def test_ctrl_c_goes_on_later(tmp_path):
    folder = tmp_path / "toy"
    process = start(folder)
    time.sleep(1.8)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert b"spawn_main" not in errors, "worker processes printed tracebacks"
    assert build(Toy(60), folder, workers=2).rows == 60
    assert_whole(folder)


def test_a_damaged_catalogue_is_named(tmp_path):
    folder = tmp_path / "toy"
    build(Toy(3), folder, workers=1)
    (folder / "catalog.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(FolderError, match=r"catalog.parquet cannot be read .*build the dataset again"):
        skyshards.open(folder)


def test_rows_are_those_of_the_recipe(toy_folder):
    """One value followed by hand from the recipe to the shard, beside all that the contract compares."""
    table = skyshards.open(toy_folder, decode=False)
    index = table.catalog["object_id"].to_pylist().index("galaxy-007-é")
    assert table[index]["picture"] == row(7)["picture"]


def test_reasons_are_the_same_in_every_run():
    error = "<HTTPConnection object at 0x7f3c2a10>: /data/.writing-0123456789abcdef.gz: refused"
    assert lasting(error) == "<HTTPConnection object>: /data/.writing-.gz: refused"


class _Sealing(Toy):
    """Its archive cannot be sealed: the disk is full by then."""

    def close(self):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.slow
def test_a_disk_that_is_full_while_a_recipe_closes(tmp_path):
    with pytest.raises(BuildError, match="the disk is full; free some space and run the same command again"):
        build(_Sealing(2), tmp_path / "toy", workers=1)
    assert build(Toy(2), tmp_path / "toy", workers=1).rows == 2
