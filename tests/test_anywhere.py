"""The commands do the same wherever they are typed, whatever files the current folder has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import skyshards
from tests.data_sets import DATA_SETS

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[1]
COMMAND = Path(sys.executable).with_name("skyshards")
SCRIPT = "build_parent_sample.py"
OPTIONS = ["--tiny", "--demo", "--workers", "1"]
NAMES = (*DATA_SETS, "skyshards", "demo_archive", "tests")
MODULES = ("queue", "numbers", "selectors", "struct", "datasets", "h5py", "numpy", "click")


def build(*command, cwd, out):
    """Run a build in a folder; gives how many rows it made."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    words = [*map(str, command), *OPTIONS, "-o", str(out)]
    outcome = subprocess.run(words, cwd=cwd, env=variables, capture_output=True, text=True, timeout=300)
    assert outcome.returncode == 0, outcome.stderr
    return len(skyshards.open(out))


@pytest.fixture
def strange_folder(tmp_path):
    """A folder with files of the same names as modules that a build needs; none can be imported."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name in (*NAMES, *MODULES):
        (folder / f"{name}.py").write_text(f'raise SystemExit("{name}.py of the current folder was imported")\n')
    return folder


@pytest.mark.parametrize("name", DATA_SETS)
def test_in_the_data_set_s_own_folder(name, tmp_path):
    assert build(sys.executable, SCRIPT, cwd=REPOSITORY / name, out=tmp_path / "out") == 5


@pytest.mark.parametrize("name", DATA_SETS)
def test_where_files_have_the_names_of_modules(name, strange_folder, tmp_path):
    assert build(sys.executable, REPOSITORY / SCRIPT, name, cwd=strange_folder, out=tmp_path / "out") == 5


def test_the_installed_command_where_files_have_the_names_of_modules(strange_folder, tmp_path):
    if not COMMAND.exists():
        pytest.skip("skyshards is not installed in this environment")
    assert build(COMMAND, "build", "gz3d", cwd=strange_folder, out=tmp_path / "out") == 5


@pytest.mark.parametrize("options", [[], ["-P"]], ids=["", "-P"])
def test_in_an_empty_folder(options, tmp_path):
    """With `-P`, Python puts no folder of the script first on the path."""
    (tmp_path / "here").mkdir()
    script = REPOSITORY / "gz3d" / SCRIPT
    assert build(sys.executable, *options, script, cwd=tmp_path / "here", out=tmp_path / "out") == 5


def test_as_a_module(tmp_path):
    assert build(sys.executable, "-m", "gz3d.build_parent_sample", cwd=REPOSITORY, out=tmp_path / "out") == 5


def test_stamps_are_blended_by_processes_there_too(strange_folder, tmp_path):
    """`candels-blender produce` starts processes of its own."""
    program = """
import sys
sys.path.insert(0, sys.argv[1])
if __name__ == "__main__":
    from candels_blend.cli import main
    from candels_blend.download import download
    from demo_archive import DemoArchive
    with DemoArchive() as demo:
        download("../data", demo.zenodo_url)
    main(["produce", "-n", "4", "-d", "../data", "--workers", "2"], standalone_mode=False)
"""
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "produce.py").write_text(program)
    command = [sys.executable, tmp_path / "script" / "produce.py", REPOSITORY]
    outcome = subprocess.run(command, cwd=strange_folder, capture_output=True, text=True, timeout=300)
    assert outcome.returncode == 0, outcome.stderr
    assert len(list(strange_folder.glob("output-*/*_blend_[0-9]*.npy"))) == 4


UNGUARDED = """
import sys
sys.path.insert(0, sys.argv[1])
from skyshards.pipeline.build import build
from tests.toy import Toy
build(Toy(4), sys.argv[2], workers=2)
"""


def test_a_script_without_a_guard_is_told_so(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(UNGUARDED)
    command = [sys.executable, script, REPOSITORY, tmp_path / "out"]
    outcome = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert outcome.returncode == 1
    last = outcome.stderr.splitlines()[-1]
    assert last.startswith("skyshards.errors.UsageError: ") and str(script) in last
    assert 'if __name__ == "__main__":' in last
    assert outcome.stderr.count("Traceback") == 1, "processes printed tracebacks"
    script.write_text(UNGUARDED.replace("build(Toy(4)", 'if __name__ == "__main__":\n    build(Toy(4)'))
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300)
    assert len(skyshards.open(tmp_path / "out")) == 4
