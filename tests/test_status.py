"""`skyshards info` on a folder whose build has not ended."""

import os
import re
import shlex
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from skyshards.cli.main import main
from skyshards.errors import BuildError
from skyshards.format.layout import WORKSPACE
from skyshards.pipeline.build import build
from skyshards.pipeline.status import how_far
from tests.toy import Toy

KILLED = """
import os, signal, sys
from skyshards.pipeline.build import build
from tests.toy import Toy

class Deadly(Toy):
    def read(self, source, fetched):
        if source.info == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(source, fetched)

if __name__ == "__main__":
    build(Deadly(8, broken=(1,)), sys.argv[1], workers=0)
"""


def info(folder) -> str:
    outcome = CliRunner().invoke(main, ["info", str(folder)])
    assert outcome.exit_code == 0, outcome.output
    return outcome.stdout


@pytest.mark.slow
def test_a_killed_build_says_how_far_it_is_and_how_to_go_on(tmp_path):
    script = tmp_path / "my build.py"
    script.write_text(KILLED)
    folder = tmp_path / "toy"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run([sys.executable, script, folder], env=environment, cwd=tmp_path, capture_output=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    first, second = info(folder).splitlines()
    assert re.fullmatch(r".*/toy: a build has not ended: \d of 8 sources done(, 1 failed)?", first)
    assert second == f"Go on with: {shlex.join(['python', str(script), str(folder)])}  (in {tmp_path})"
    assert build(Toy(8), folder, workers=0).rows == 8
    assert "not ended" not in info(folder)


def test_a_built_folder_that_is_added_to_shows_both(tmp_path, monkeypatch):
    build(Toy(3), tmp_path, workers=0)

    def full(*_):
        raise BuildError("the disk is full")

    with monkeypatch.context() as patch, pytest.raises(BuildError):
        patch.setattr("skyshards.pipeline.pack.pack_pixel", full)
        build(Toy(5), tmp_path, workers=0)
    text = info(tmp_path)
    assert "shards: " in text and "a build has not ended: 2 of 2 sources done" in text


def test_a_running_build_is_left_alone(tmp_path, monkeypatch):
    said = []

    class Watched(Toy):
        def read(self, source, fetched):
            said.append(how_far(tmp_path))
            return super().read(source, fetched)

    build(Watched(2), tmp_path, workers=0)
    assert all("a build is running here" in words for words in said) and len(said) == 2


def test_a_damaged_journal_is_named(tmp_path):
    (tmp_path / WORKSPACE).mkdir()
    (tmp_path / WORKSPACE / "journal.sqlite").write_bytes(b"no database at all" * 100)
    assert "its journal cannot be read" in how_far(tmp_path)
