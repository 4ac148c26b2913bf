"""`skyshards new`, and datasets of other distributions: found by their entry points, built, loaded and checked."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from datasets import load_dataset, packaged_modules

import skyshards
from skyshards import entry_points
from skyshards.cli import data_sets as module
from skyshards.cli.main import main
from skyshards.cli.new import TEMPLATE, write_new
from skyshards.errors import UsageError
from skyshards.testing.contract import stock_reads_hdf5
from tests.data_sets import DATA_SETS

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[1]


def distribution(place, name, value, dataset=None):
    """What installing a distribution leaves, with one entry point for a dataset."""
    folder = place / f"{name}-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[skyshards.data_sets]\n{dataset or name} = {value}\n")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages besides those of this environment."""
    place = tmp_path / "site"
    place.mkdir()
    monkeypatch.syspath_prepend(place)
    return place


@pytest.fixture
def survey(site):
    """A dataset of another distribution."""
    write_new("far_survey", site)
    distribution(site, "far-survey", "far_survey.build_parent_sample:main", "far_survey")
    yield "far_survey"
    for name in [name for name in sys.modules if name.partition(".")[0] == "far_survey"]:
        del sys.modules[name]
    packaged_modules._PACKAGED_DATASETS_MODULES.pop("far_survey", None)


def run(*words):
    outcome = CliRunner().invoke(main, [*map(str, words)])
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit), outcome.exception
    return outcome


def run_python(*words, cwd, path=()):
    """Run Python where the tree, and the folders of a path, can be imported."""
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [REPOSITORY, *path]))}
    command = [sys.executable, *map(str, words)]
    outcome = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=300)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


def test_the_tree_s_own_are_registered_alike(monkeypatch, tmp_path):
    """A clone finds in pyproject.toml what an installation finds in its metadata."""
    assert (
        list(module.own_data_sets())
        == list(DATA_SETS)
        == ["gz3d", "gz_sdss", "candels_blend", "gz_decals", "sdss_spectra", "galaxy10"]
    )
    monkeypatch.setattr(entry_points, "PROJECT", tmp_path / "pyproject.toml")
    distribution(tmp_path, "skyshards", "gz3d.build_parent_sample:main", "gz3d")
    monkeypatch.syspath_prepend(tmp_path)
    assert entry_points.own.__wrapped__(module.GROUP) == {"gz3d": module.own_data_sets()["gz3d"].value}


def test_another_distribution_s_dataset_is_built_by_name(survey, tmp_path):
    assert "New dataset" not in run("build", "--help").stdout
    assert "far_survey     Far survey: TODO what it is, in a line." in run("build", "--help").stdout
    assert f"did you mean {survey}?" in run("build", "far-survey").stderr
    assert run("build", survey, "--tiny", "--workers", 2, "-o", tmp_path / "out").exit_code == 0
    assert len(skyshards.open(tmp_path / "out")) == 5
    assert "far_survey" in run("info", tmp_path / "out").stdout
    assert run("verify", tmp_path / "out").exit_code == 0
    assert "@misc{far_survey" in run("cite", tmp_path / "out").stdout


def test_another_distribution_s_dataset_is_built_by_the_front_door(survey, site, tmp_path):
    script = REPOSITORY / "build_parent_sample.py"
    stdout = run_python(script, survey, "--tiny", "--workers", 1, "-o", tmp_path / "out", cwd=tmp_path, path=[site])
    assert "5 rows" in stdout


BROKEN = {
    "no module": ("nowhere.build:main", "ModuleNotFoundError: No module named 'nowhere'"),
    "no attribute": ("colorsys:main", "AttributeError"),
    "no command": ("colorsys:rgb_to_hsv", "expected a command made with build_command"),
    "no name": ("colorsys", "has no attribute"),
    "nonsense": ("?", "Error"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_entry_point_is_named_and_harms_no_other(kind, site, survey, tmp_path):
    value, words = BROKEN[kind]
    distribution(site, "broken-things", value, "broken")
    outcome = run("build", "broken", "--tiny")
    (line,) = outcome.stderr.splitlines()
    assert outcome.exit_code == 1 and "broken-things" in line and words in line
    listed = run("build", "--help").stdout
    assert all(name in listed for name in (*DATA_SETS, survey, "broken"))
    assert run("build", survey, "--help").exit_code == run("build", "gz3d", "--help").exit_code == 0


def test_an_error_in_a_recipe_names_file_and_line(site, survey):
    path = site / survey / "build_parent_sample.py"
    path.write_text(path.read_text() + "\n\nraise RuntimeError('not finished')\n")
    outcome = run("build", survey, "--tiny")
    (line,) = outcome.stderr.splitlines()
    assert f"RuntimeError: not finished ({path}, line {len(path.read_text().splitlines())})" in line


def test_metadata_that_cannot_be_read_harm_no_other(site, survey):
    distribution(site, "odd", "a:b")
    for text in (b"\xff\xfe\x00[", b"no section = here\n", b"[skyshards.data_sets]\nno sign\n", b""):
        (site / "odd-1.0.dist-info" / "entry_points.txt").write_bytes(text)
        (site / "odd-1.0.dist-info" / "METADATA").write_bytes(text)
        assert all(name in run("build", "--help").stdout for name in (*DATA_SETS, survey))


def test_two_distributions_with_one_name_are_both_named(site, survey):
    distribution(site, "rival", "rival.build:main", survey)
    (line,) = run("build", survey, "--tiny").stderr.splitlines()
    assert "far-survey" in line and "rival" in line and "uninstall all but one" in line


def test_the_tree_s_own_name_cannot_be_taken(site):
    distribution(site, "rival", "rival.build:main", "gz3d")
    assert run("build", "gz3d", "--help").exit_code == 0


@pytest.mark.parametrize("name", ["my_survey", "a", "survey_of_a_very_long_name_2"])
def test_a_new_dataset_is_built_and_passes_its_test(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = run("new", name)
    assert outcome.exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert not [path for path in (tmp_path / name).rglob("*") if "new_dataset" in path.name.lower()]
    for path in (tmp_path / name).iterdir():
        text = path.read_text()
        assert "new_dataset" not in text and "NewDataset" not in text and "New dataset" not in text
    if name != "my_survey":
        return
    stdout = run_python(f"{name}/build_parent_sample.py", "--tiny", "--workers", 1, cwd=tmp_path)
    assert stdout.startswith(f"data/{name}: 5 rows in ")
    assert "> **Simulated data.**" in (tmp_path / "data" / name / "README.md").read_text()
    stdout = run_python("-m", "pytest", "-q", "-p", "no:cacheprovider", name, cwd=tmp_path)
    assert " passed" in stdout and "failed" not in stdout and "warning" not in stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my-survey", "such as my_survey"),
        ("MySurvey", "such as my_survey"),
        ("2mass", "lower-case letters"),
        ("../up", "such as up"),
        ("", "lower-case letters"),
        ("gz3d", "there is a dataset of this name"),
        ("parquet", "there is a dataset of this name"),
        ("skyshards", "there is a dataset of this name"),
        ("numpy", "Python has a module or keyword of this name"),
        ("lambda", "Python has a module or keyword of this name"),
    ],
)
def test_names_that_a_dataset_cannot_have(name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = run("new", name)
    (line,) = outcome.stderr.splitlines()
    assert outcome.exit_code == 2 and words in line
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (line,) = run("new", "mine").stderr.splitlines()
    assert "mine: is there already" in line and list((tmp_path / "mine").iterdir()) == []


def test_nothing_is_half_written(tmp_path, monkeypatch):
    write = Path.write_text

    def full(path, text, **kwargs):
        if path.name == "pyproject.toml":
            raise OSError(28, "No space left on device")
        return write(path, text, **kwargs)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UsageError, match="mine: cannot be written: No space left on device"):
        write_new("mine", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_places_to_change_are_marked():
    for name in ("__init__.py", "new_dataset.py", "build_parent_sample.py", "README.md", "CITATION.bib"):
        assert "TODO" in (TEMPLATE / name).read_text()


def test_a_new_dataset_is_lint_clean(tmp_path):
    ruff = shutil.which("ruff")
    if ruff is None:
        pytest.skip("ruff is not installed")
    folder = write_new("my_survey", tmp_path)
    for command in (["check"], ["format", "--check"]):
        outcome = subprocess.run([ruff, *command, folder], cwd=tmp_path, capture_output=True, text=True)
        assert outcome.returncode == 0, outcome.stdout


@stock_reads_hdf5
def test_it_loads_by_name_and_by_stock_datasets(survey, tmp_path):
    assert run("build", survey, "--tiny", "--workers", 0, "-o", tmp_path / "out").exit_code == 0
    __import__(survey)
    names = [row["object_id"] for row in skyshards.open(tmp_path / "out")]
    for options in ({"path": str(tmp_path / "out")}, {"path": survey, "data_dir": str(tmp_path / "out")}):
        rows = load_dataset(**options, split="train", streaming=True)
        assert [row["object_id"] for row in rows] == names
