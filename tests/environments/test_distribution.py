"""A dataset in a distribution of its own: installed by pip, it is found, built, loaded and checked."""

import sys
from pathlib import Path

import pytest

from skyshards.cli.new import write_new
from tests.environments.python import run

pytestmark = pytest.mark.environments

REPOSITORY = Path(__file__).parents[2]
LOAD = """
import sys
import far_survey
import skyshards
from datasets import load_dataset
rows = load_dataset("far_survey", data_dir=sys.argv[1], split="train", streaming=True)
print(len(skyshards.open(sys.argv[1])), sum(1 for row in rows))
"""


@pytest.mark.parametrize("how", [[], ["-e"]], ids=["installed", "editable"])
def test_an_installed_dataset_is_found(how, make_environment, tmp_path):
    python = make_environment(f"distribution{'-e' if how else ''}", str(REPOSITORY), version=sys.executable)
    survey = write_new("far_survey", tmp_path)
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", *how, survey)
    main = "import sys; from skyshards_start import main; main()"
    assert "far_survey     Far survey: " in run(python, "-c", main, "build", "--help")
    assert "gz3d           Galaxy Zoo 3D: " in run(python, "-c", main, "build", "--help")
    out = tmp_path / "out"
    assert "5 rows" in run(python, "-c", main, "build", "far_survey", "--tiny", "--workers", "1", "-o", out)
    assert "all is well" in run(python, "-c", main, "verify", out)
    assert "@misc{far_survey" in run(python, "-c", main, "cite", out)
    assert run(python, "-c", LOAD, out, folder=tmp_path).split() == ["5", "5"]
    assert "README.md" in run(python, "-c", main, "new", "another", folder=tmp_path) or (tmp_path / "another").is_dir()
    run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "far_survey")
    assert "far_survey" not in run(python, "-c", main, "build", "--help")
