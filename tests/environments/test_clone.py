"""A clone whose requirements are installed, and not it itself: its commands work wherever they are typed."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

import skyshards
from tests.data_sets import DATA_SETS

pytestmark = pytest.mark.environments

REPOSITORY = Path(__file__).parents[2]
SCRIPT = "build_parent_sample.py"


@pytest.fixture(scope="module", params=["3.11", "3.12", "3.13"])
def python(request, make_environment):
    version = shutil.which(f"python{request.param}")
    if version is None or subprocess.run([version, "--version"], capture_output=True).returncode:
        pytest.skip(f"there is no Python {request.param}")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return make_environment(f"clone-{request.param}", *project["dependencies"], version=version)


@pytest.fixture
def clone(tmp_path):
    """What git would give, without this checkout's folder of data."""
    names = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in names.splitlines():
        (tmp_path / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / "clone" / name)
    return tmp_path / "clone"


def build(*words, cwd, out):
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [*map(str, words), "--tiny", "--demo", "--workers", "2", "-o", str(out)]
    outcome = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=600)
    assert outcome.returncode == 0, outcome.stderr
    return len(skyshards.open(out))


@pytest.mark.parametrize("name", DATA_SETS)
def test_builds_wherever_it_is_typed(python, clone, name, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    assert build(python, clone / SCRIPT, name, cwd=here, out=tmp_path / "empty") == 5
    assert build(python, SCRIPT, cwd=clone / name, out=tmp_path / "own") == 5
    for module in (*DATA_SETS, "queue", "numbers", "datasets"):
        (here / f"{module}.py").write_text("raise SystemExit('imported from the current folder')\n")
    assert build(python, clone / name / SCRIPT, cwd=here, out=tmp_path / "strange") == 5
