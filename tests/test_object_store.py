"""Builds at a URL: the same bytes as on disk, whole objects only, and gone on with after a kill at any moment."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from click.testing import CliRunner

import skyshards
from skyshards.cli.main import main
from skyshards.errors import BuildError, UsageError
from skyshards.pipeline import object_store
from skyshards.pipeline.build import build
from skyshards.place import Place
from tests.contract import assert_same
from tests.machines import REPOSITORY, end, until
from tests.toy import Toy


@pytest.fixture
def url():
    """A URL in memory, for builds in this process."""
    memory = fsspec.filesystem("memory")
    yield "memory://sky/toy"
    memory.rm("/sky", recursive=True) if memory.exists("/sky") else None


def names(url, **options) -> list[str]:
    file_system, root = fsspec.core.url_to_fs(url, **options)
    file_system.invalidate_cache()
    return [name.removeprefix(f"{root}/") for name in file_system.find(root)]


def objects(url, **options) -> dict[str, bytes]:
    file_system, root = fsspec.core.url_to_fs(url, **options)
    return {name: file_system.cat_file(f"{root}/{name}") for name in names(url, **options)}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_objects_as_files_on_disk(tmp_path, url, capsys):
    build(Toy(12), tmp_path / "disk", workers=0)
    summary = build(Toy(12), url, workers=0, work_dir=tmp_path / "work")
    assert (summary.location, summary.rows) == (url, 12)
    assert objects(url) == files(tmp_path / "disk")
    assert (
        f"{url}: its working folder, with journal and waiting rows, is {tmp_path / 'work'}" in capsys.readouterr().err
    )
    assert not list((tmp_path / "work").rglob("*.hdf5")) and not (tmp_path / "work" / ".build").exists()
    assert build(Toy(12), url, workers=0, work_dir=tmp_path / "work").added == 0


def test_what_is_built_further_is_as_if_built_at_once(tmp_path, url):
    """Also with another working folder, and where failed sources are tried again."""
    build(Toy(12), tmp_path / "disk", workers=0)
    assert build(Toy(30, broken=(4,)), url, limit=8, workers=0, work_dir=tmp_path / "one").failed == 1
    assert "failures.csv" in objects(url)
    assert build(Toy(12), url, workers=0, work_dir=tmp_path / "two").rows == 12
    found, wanted = objects(url), files(tmp_path / "disk")
    assert {**found, "tries.csv": b""} == {**wanted, "tries.csv": b""}


class Killed(BaseException):
    pass


STEPS = [("put", step) for step in range(12)] + [("move", step) for step in range(3)] + [("remove", 0)]
"""Of the build of three rows in three pixels."""


@pytest.mark.slow
@pytest.mark.parametrize(("what", "step"), STEPS)
def test_killed_at_any_step(tmp_path, url, what, step, monkeypatch):
    """Until the end, the URL has no catalogue, or one whose shards are all there."""
    build(Toy(3), tmp_path / "disk", workers=0)
    steps, real = [], getattr(Place, what)

    def deadly(*arguments):
        steps.append(arguments)
        if len(steps) == step + 1:
            raise Killed
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Place, what, deadly)
        try:
            build(Toy(3), url, workers=0, work_dir=tmp_path / "work")
        except Killed:
            if "catalog.parquet" in (found := objects(url)):
                assert found.items() >= files(tmp_path / "disk").items()
    assert build(Toy(3), url, workers=0, work_dir=tmp_path / "work").rows == 3
    assert objects(url) == files(tmp_path / "disk")


def test_shards_that_are_gone_are_built_again(tmp_path, url):
    build(Toy(12), url, workers=0, work_dir=tmp_path / "work")
    whole = objects(url)
    fsspec.filesystem("memory").rm_file("/sky/toy/" + next(name for name in whole if name.endswith(".hdf5")))
    build(Toy(12), url, workers=0, work_dir=tmp_path / "work")
    assert {**objects(url), "tries.csv": b""} == {**whole, "tries.csv": b""}


def test_two_working_folders_do_not_build_at_once(tmp_path, url, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(object_store, "pack_there", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build(Toy(8), url, workers=0, work_dir=tmp_path / "one")
    with pytest.raises(
        UsageError, match=f"has not ended, whose working folder is {tmp_path / 'one'} on .*; go on there"
    ):
        build(Toy(8), url, workers=0, work_dir=tmp_path / "two")
    assert build(Toy(8), url, workers=0, work_dir=tmp_path / "one").rows == 8


def test_what_is_refused(tmp_path, url):
    build(Toy(4), tmp_path / "disk", workers=0)
    build(Toy(4), url, workers=0, work_dir=tmp_path / "work")
    with pytest.raises(UsageError, match=r"disk: holds a built dataset, expected a working folder of memory://sky/toy"):
        build(Toy(4), url, workers=0, work_dir=tmp_path / "disk")
    with pytest.raises(UsageError, match=r"work: is the working folder of a build at memory://sky/toy, not of"):
        build(Toy(4), url + "2", workers=0, work_dir=tmp_path / "work")
    with pytest.raises(UsageError, match=r"work: is the working folder of a build at memory://sky/toy; choose"):
        build(Toy(4), tmp_path / "work", workers=0)
    with pytest.raises(UsageError, match="work_dir: is for an `output_dir` that is a URL"):
        build(Toy(4), tmp_path / "disk", workers=0, work_dir=tmp_path / "work")
    with pytest.raises(UsageError, match="web servers cannot be written to"):
        build(Toy(4), "https://127.0.0.1/toy", workers=0, work_dir=tmp_path / "web")
    fsspec.filesystem("memory").pipe_file("/sky/other/notes.txt", b"")
    with pytest.raises(UsageError, match="sky/other: holds files that are not of a built dataset"):
        build(Toy(4), "memory://sky/other", workers=0, work_dir=tmp_path / "other")
    build(Toy(4), f"file://{tmp_path / 'disk'}", workers=0)


def test_lost_staged_shards_are_said(tmp_path, url, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Place, "move", lambda self, name, to: self.remove([name]))
        with pytest.raises(
            BuildError, match=r"toy: \d+ shards are missing or cut short, such as healpix=.* delete .*build"
        ):
            build(Toy(4), url, workers=0, work_dir=tmp_path / "work")
    shutil.rmtree(tmp_path / "work" / ".build")
    assert build(Toy(4), url, workers=0, work_dir=tmp_path / "work").rows == 4


@pytest.mark.slow
def test_s3(tmp_path, s3, monkeypatch):
    """Put by processes, and read where it is."""
    options = {"endpoint_url": s3, "key": "testing", "secret": "testing"}  # workers may have started before the server
    build(Toy(12), tmp_path / "disk", workers=0)
    build(Toy(12), "s3://sky/toy", workers=2, work_dir=tmp_path / "work", storage_options=options)
    assert objects("s3://sky/toy", **options) == files(tmp_path / "disk")
    remote = skyshards.open("s3://sky/toy", storage_options=options)
    assert_same(remote[3], skyshards.open(tmp_path / "disk")[3])
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    done = CliRunner().invoke(main, ["info", "s3://sky/toy"])
    assert done.exit_code == 0 and "12" in done.output


@pytest.mark.slow
def test_kill_9(tmp_path, s3):
    """Goes on in the same working folder, also if it is killed while it packs."""
    options = {"endpoint_url": s3, "key": "testing", "secret": "testing"}
    program = (
        "import time; from pathlib import Path; from skyshards import build; from skyshards.place import Place\n"
        "from tests.toy import Toy; put = Place.put\n"
        "Place.put = lambda *given: (time.sleep(0.2), put(*given))  # slow enough to be killed at a chosen shard\n"
        f"build(Toy(40), 's3://sky/toy', workers=0, work_dir=Path('work').absolute(), storage_options={options!r})"
    )
    where = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(REPOSITORY)}}
    for least in (1, 5, 10):
        process = subprocess.Popen([sys.executable, "-c", program], **where, stderr=subprocess.DEVNULL)
        until(lambda least=least: len(names("s3://sky/toy/.build/staged", **options)) > least)
        end(process)
        assert process.returncode == -signal.SIGKILL
    build(Toy(40), "s3://sky/toy", workers=0, work_dir=tmp_path / "work", storage_options=options)
    build(Toy(40), tmp_path / "disk", workers=0)
    found, wanted = objects("s3://sky/toy", **options), files(tmp_path / "disk")
    assert {**found, "tries.csv": b""} == {**wanted, "tries.csv": b""}


@pytest.mark.slow
def test_the_command(tmp_path, s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.chdir(tmp_path)
    words = ["build", "gz3d", "--tiny", "--demo", "--workers", "0"]
    done = CliRunner().invoke(main, [*words, "-o", "s3://sky/gz3d"])
    assert done.exit_code == 0, done.output
    assert 'skyshards.open("s3://sky/gz3d")' in done.output and "data/gz3d.work" in done.output
    assert CliRunner().invoke(main, [*words, "-o", "disk"]).exit_code == 0
    assert objects("s3://sky/gz3d").keys() == files(tmp_path / "disk").keys()
    assert len(skyshards.open("s3://sky/gz3d")) == 5
