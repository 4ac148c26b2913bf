"""The demo archive's temporary files: gone when it closes, and those of a killed one when the next one opens."""

import subprocess
import sys
from pathlib import Path

import pytest

from demo_archive.serve.temporary import PREFIX, temporary_folder

PROGRAM = """
import sys
from demo_archive.serve.temporary import temporary_folder

with temporary_folder() as folder:
    (folder / "content").write_text("some")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


def test_a_killed_archive_leaves_its_files_to_the_next_one(temporary):
    command = [sys.executable, "-c", PROGRAM]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": Path(__file__).parents[1]}
    (temporary / f"{PREFIX}of-somebody-else").mkdir()
    with subprocess.Popen(command, **pipes) as killed, subprocess.Popen(command, **pipes) as alive:
        folders = [Path(process.stdout.readline().strip()) for process in (killed, alive)]
        killed.kill()
        killed.wait()
        assert all((folder / "content").exists() for folder in folders)
        with temporary_folder() as folder:
            assert not folders[0].exists() and (folders[1] / "content").exists()
            assert folder.name.startswith(PREFIX)
        alive.communicate(timeout=60)
    assert [path.name for path in temporary.iterdir()] == [f"{PREFIX}of-somebody-else"]
