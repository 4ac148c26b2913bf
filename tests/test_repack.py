"""A dataset written again for fast reading, and back: the same values and bytes, or nothing."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import skyshards
from skyshards.cli.main import main
from skyshards.errors import BuildError, FolderError, ShardCorrupted, UsageError
from skyshards.files import file_digest
from skyshards.format import provenance
from skyshards.pipeline import pack, repack
from skyshards.pipeline.build import build
from tests.starry import Starry
from tests.toy import Toy
from tests.toy_folder import assert_whole


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "starry"
    build(Starry(), folder, workers=0)
    return folder


@pytest.fixture(scope="module")
def fast(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fast") / "starry"
    build(Starry(), folder, workers=0, store="fast")
    return folder


def digests(folder):
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in folder.rglob("*") if path.is_file()}


def repacked(folder, out, store, workers=0):
    assert skyshards.repack(folder, out, store, workers=workers).rows == len(skyshards.open(folder))
    assert_whole(out)
    return out


def test_fast_is_what_a_fast_build_gives(small, fast, tmp_path):
    assert digests(repacked(small, tmp_path / "fast", "fast")) == digests(fast)


def test_and_small_is_what_it_was(small, fast, tmp_path):
    assert digests(repacked(fast, tmp_path / "small", "small")) == digests(small)


@pytest.mark.slow
def test_additions_and_failures_stay(tmp_path):
    folder = tmp_path / "toy"
    build(Toy(6, broken=(2,)), folder, workers=0, max_rows_per_shard=1)
    names = skyshards.open(folder).catalog["object_id"]
    pq.write_table(
        pa.table({"object_id": names, "p": np.arange(5.0), "v": pa.array([[1.0, n] for n in range(5)])}),
        tmp_path / "votes.parquet",
    )
    skyshards.add(folder, tmp_path / "votes.parquet")
    out = repacked(folder, tmp_path / "fast", "fast")
    assert skyshards.open(out)._data.manifest.inflated == ("votes.mask",)
    assert skyshards.open(out)[:]["p"].tolist() == skyshards.open(folder)[:]["p"].tolist()
    assert [record.key for record in provenance.read(out) if record.error] == ["s00002"]
    assert (out / "failures.csv").read_bytes() == (folder / "failures.csv").read_bytes()
    assert digests(repacked(out, tmp_path / "small", "small")) == digests(folder)


def test_the_new_folder_is_built_further(fast, tmp_path):
    build(Starry(), tmp_path / "part", workers=0, limit=5)
    out = repacked(tmp_path / "part", tmp_path / "fast", "fast")
    assert build(Starry(), out, workers=0, store="fast").added == 3
    assert digests(out) == digests(fast)


def test_an_interrupted_run_goes_on_where_it_was(small, fast, tmp_path, monkeypatch):
    write, calls, out = pack.write_pixel, [], tmp_path / "fast"

    def stops(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return write(*arguments)

    monkeypatch.setattr(pack, "write_pixel", stops)
    with pytest.raises(BuildError, match="the disk is full; free some space and run the same command again to resume"):
        skyshards.repack(small, out, "fast", workers=0)
    assert not (out / "catalog.parquet").exists()
    assert digests(repacked(small, out, "fast")) == digests(fast)
    assert len(calls) == 2 + 2, "of three pixels, the first was written again"


@pytest.mark.slow
def test_parts_of_another_dataset_are_not_used(small, fast, tmp_path, monkeypatch):
    out, other = tmp_path / "fast", tmp_path / "other"
    build(Starry(7), other, workers=0)
    with monkeypatch.context() as patch:
        patch.setattr(repack, "publish", lambda workspace: 1 / 0)
        patch.setattr(repack, "_move_shards", lambda *_: None)
        with pytest.raises(ZeroDivisionError):
            skyshards.repack(other, out, "fast", workers=0)
    assert digests(repacked(small, out, "fast")) == digests(fast)


def test_damage_does_not_spread(small, tmp_path):
    folder = shutil.copytree(small, tmp_path / "starry")
    path = sorted(folder.rglob("*.hdf5"))[1]
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(ShardCorrupted, match=f"{path.name}: not what was written there"):
        skyshards.repack(folder, tmp_path / "fast", "fast", workers=0)
    assert not (tmp_path / "fast" / "catalog.parquet").exists()


def test_a_disk_that_is_too_small_is_told_first(small, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10**6, 10**6 - 10**5, 10**5))
    with pytest.raises(BuildError, match="needs 540 kB, the disk has 100 kB free"):
        skyshards.repack(small, tmp_path / "fast", "fast", workers=0)


@pytest.mark.parametrize(
    "case", ["same store", "itself", "built", "something else", "nothing", "unfinished", "no store"]
)
def test_what_makes_no_sense_is_refused_in_a_line(small, fast, tmp_path, case):
    folder, out, store, error = small, tmp_path / "out", "fast", UsageError
    if case == "same store":
        folder = fast
    elif case == "itself":
        out = small
    elif case == "built":
        out = fast
    elif case == "something else":
        (out / "holiday").mkdir(parents=True)
    elif case == "nothing":
        folder, error = tmp_path / "no" / "folder", FolderError
    elif case == "unfinished":
        folder, error = shutil.copytree(small, tmp_path / "starry"), BuildError
        (folder / ".build").mkdir()
        (folder / ".build" / "journal.sqlite").touch()
    else:
        store = "huge"
    before = digests(fast)
    with pytest.raises(error) as caught:
        skyshards.repack(folder, out, store, workers=0)
    assert "\n" not in str(caught.value)
    assert digests(fast) == before
    assert not out.exists() or out in (small, fast) or [path.name for path in out.iterdir()] in ([], ["holiday"])


def test_the_command(small, tmp_path):
    out = tmp_path / "fast"
    result = CliRunner().invoke(main, ["repack", str(small), str(out), "--store", "fast", "--workers", "0"])
    assert result.exit_code == 0, result.output
    assert f"{out}: 8 rows in 3 shards, " in result.output
    result = CliRunner().invoke(main, ["repack", str(small), str(out), "--store", "fast"])
    assert result.exit_code == 2
    assert f"Error: {out}: holds a built dataset; delete it, or choose another folder" in result.output


PROGRAM = """
import sys
import skyshards
if __name__ == "__main__":
    skyshards.repack(sys.argv[1], sys.argv[2], "fast", workers=2)
"""


@pytest.mark.slow
def test_kill_9_leaves_nothing_half_written(tmp_path):
    folder, whole, out = (tmp_path / name for name in ("toy", "whole", "killed"))
    build(Toy(200), folder, workers=2)
    repacked(folder, whole, "fast")
    for wait in (0.8, 1.2, 1.6, 2.0, 2.4):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), str(out)], cwd=Path(__file__).parents[1]
        )
        time.sleep(wait)
        process.kill()
        process.wait()
        if (out / "catalog.parquet").exists() and not (out / ".build").exists():
            break
    else:
        repacked(folder, out, "fast")
    assert digests(out) == digests(whole)
