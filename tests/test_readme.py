"""What the README says is so: its Python runs, its commands exist, its links lead somewhere."""

import importlib.util
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from skyshards.cli.data_sets import DATA_SETS
from skyshards.cli.main import main
from tests.versions import stock_reads_hdf5

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
OPTIONAL = {"torch", "torchdata", "grain", "lightning"}


@stock_reads_hdf5
def test_python_runs(built_gz3d, tmp_path, monkeypatch):
    """All blocks, from first to last, in one namespace; those of an extra that is not installed are left out."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "gz3d").symlink_to(built_gz3d)
    monkeypatch.chdir(tmp_path)
    names, run = {}, 0
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        needed = {name for name in OPTIONAL if re.search(rf"^(from|import) {name}\b", block, re.MULTILINE)}
        if all(importlib.util.find_spec(name) for name in needed):
            exec(compile(block, "README.md", "exec"), names)
            run += 1
        for line in re.findall(r"^(.*\.shape)  # (\(.*\))$", block, re.MULTILINE) if run else ():
            assert str(eval(line[0], names)) == line[1]
    assert run >= 3
    assert len(names["near"]) <= len(names["table"])
    if "loader" in names:
        assert next(iter(names["loader"]))["image"].shape[1:] == (525, 525, 3)
    if "batches" in names:
        assert names["batches"][0]["image"].shape[1:] == (525, 525, 3)


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
