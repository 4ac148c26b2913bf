"""What the README says is so: its Python runs, its commands exist, its links lead somewhere."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from skyshards.cli.main import main
from tests import blocks
from tests.data_sets import DATA_SETS

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def plots(monkeypatch):
    """Matplotlib draws without a screen, if it is there."""
    monkeypatch.setenv("MPLBACKEND", "Agg")


def test_python_runs(built_gz3d, tmp_path, monkeypatch, plots):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "gz3d").symlink_to(built_gz3d)
    monkeypatch.chdir(tmp_path)
    names = blocks.run(README, "README.md")
    assert len(names["table"]) == 10
    if "plot_segmentation" in names:
        assert (tmp_path / "galaxy.png").stat().st_size > 10_000
        names["plot_segmentation"].__globals__["plt"].close("all")
    if "loader" in names:
        assert next(iter(names["loader"]))["image"].shape[1:] == (525, 525, 3)


def test_names_every_data_set_and_its_card():
    for name in DATA_SETS:
        assert f"[`{name}`]({name}/README.md)" in README


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_lead_somewhere(target):
    assert (REPOSITORY / target).exists()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`skyshards (\w+)", README))))
def test_commands_exist(command):
    assert CliRunner().invoke(main, [command, "--help"]).exit_code == 0


def test_describes_what_a_folder_holds(built_gz3d):
    for name in re.findall(r"^    ([\w.]+)  ", README.partition("data/gz3d/\n")[2].partition("```")[0], re.MULTILINE):
        assert (built_gz3d / name).exists()
