"""Every dataset's own card is complete; `skyshards card` fills in its table and names what is missing."""

import importlib
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from datasets import Value, packaged_modules

from skyshards import Column, Schema
from skyshards.cli.main import main
from skyshards.cli.new import write_new
from skyshards.format import own_card
from skyshards.format.card import columns_table
from tests.data_sets import DATA_SETS

ROOT = Path(__file__).parents[1]

SCHEMA = Schema(
    {
        "object_id": Column(Value("string"), "name"),
        "ra": Column(Value("float64"), "right ascension (ICRS)", "deg"),
        "dec": Column(Value("float64"), "declination (ICRS)", "deg"),
        "healpix": Column(Value("int64"), "pixel"),
        "source": Column(Value("string"), "file"),
    }
)
TABLE = columns_table(SCHEMA.specs.values())
CARD = f"""\
---
pretty_name: A survey
license: mit
task_categories: [image-classification]
tags: [astronomy]
---

# A survey

<!-- columns -->
{TABLE}
<!-- end of columns -->

```python
rows = load_dataset("data/a")
table = skyshards.open("data/a")
```

## How to cite

Cite everything in `CITATION.bib`.
"""
CITATION = "@article{a,\n  title = {{A} survey},\n  doi = {10.1/x}\n}\n"


@pytest.fixture
def folder(tmp_path):
    """A complete card with its citations."""
    (tmp_path / "README.md").write_text(CARD, encoding="utf-8")
    (tmp_path / "CITATION.bib").write_text(CITATION, encoding="utf-8")
    return tmp_path


@pytest.fixture
def survey(tmp_path, monkeypatch):
    """The folder of a new dataset, in the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield write_new("far_survey", Path())
    for name in [name for name in sys.modules if name.partition(".")[0] == "far_survey"]:
        del sys.modules[name]
    packaged_modules._PACKAGED_DATASETS_MODULES.pop("far_survey", None)


def run(*words):
    outcome = CliRunner().invoke(main, ["card", *map(str, words)])
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit), outcome.exception
    return outcome


@pytest.mark.parametrize("name", DATA_SETS)
def test_the_cards_of_this_tree_are_complete(name):
    schema = importlib.import_module(name).SCHEMA
    assert list(own_card.problems(ROOT / name, schema)) == []
    assert run(name, "--check").exit_code == 0


def test_a_complete_card_has_no_problems(folder):
    assert list(own_card.problems(folder, SCHEMA)) == []


FAULTS = {
    "no name": ("README.md", "pretty_name: A survey\n", "", "no `pretty_name`"),
    "no licence": ("README.md", "license: mit\n", "", "no `license`"),
    "no tasks": ("README.md", "task_categories: [image-classification]\n", "", "no `task_categories`"),
    "no tag": ("README.md", "[astronomy]", "[galaxies]", "lack `astronomy`"),
    "broken YAML": ("README.md", "tags: [astronomy]", "tags: [", "the YAML between the first two lines"),
    "generated": ("README.md", "license: mit\n", "license: mit\nconfigs: []\n", "`configs`, which the build writes"),
    "old table": ("README.md", "right ascension", "longitude", "`skyshards card` writes it"),
    "no marks": ("README.md", "<!-- columns -->", "", "a card needs the marks <!-- columns -->"),
    "no stock": ("README.md", "load_dataset(", "load(", "how stock `datasets` loads it"),
    "no table": ("README.md", "skyshards.open(", "load(", "how `skyshards.open` loads it"),
    "no citing": ("README.md", "## How to cite", "## Citing", "a section `## How to cite`"),
    "no file named": ("README.md", "CITATION.bib", "it", "CITATION.bib"),
    "broken Python": ("README.md", 'load_dataset("data/a")', "load_dataset('data/a\")", "Python block 1, line 1"),
    "no entry": ("CITATION.bib", CITATION, "a paper", "expected a BibTeX entry, found none"),
    "open brace": ("CITATION.bib", "{10.1/x}", "{10.1/x", "unclosed brace"),
    "no title": ("CITATION.bib", "title", "name", "the entry 'a' has no title"),
    "no place": ("CITATION.bib", "doi", "note", "the entry 'a' does not say where the work is"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_missing_is_named(fault, folder):
    file, old, new, words = FAULTS[fault]
    text = (folder / file).read_text(encoding="utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")
    (problem,) = own_card.problems(folder, SCHEMA)
    assert problem.startswith(f"{folder / file}: ") and words in problem and "\n" not in problem


def test_files_that_cannot_be_read_are_named(folder):
    (folder / "README.md").unlink()
    (folder / "CITATION.bib").write_bytes(b"\xff")
    card, citations = own_card.problems(folder, SCHEMA)
    assert "README.md: cannot be read: No such file" in card and "expected UTF-8" in citations


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_table_is_filled_in_and_nothing_else_changes(newline, folder):
    path = folder / "README.md"
    path.write_text(CARD.replace(f"{TABLE}\n", "an old table\n"), encoding="utf-8", newline=newline)
    assert own_card.fill_in(folder, SCHEMA)
    assert path.read_bytes().decode() == CARD.replace("\n", newline)
    assert not own_card.fill_in(folder, SCHEMA)
    assert path.read_bytes().decode() == CARD.replace("\n", newline)


def test_a_new_dataset_s_card_is_complete(survey):
    assert "| `mag_r` | float32 | mag |" in (survey / "README.md").read_text()
    assert run("far_survey", "--check").output == "far_survey/README.md: all is well\n"


def test_the_command_writes_the_table_of_the_changed_schema(survey):
    path, card = survey / "far_survey.py", survey / "README.md"
    path.write_text(path.read_text().replace("apparent magnitude in r", "magnitude"))
    card.write_text(card.read_text().replace("# Far survey\n", "# Far survey\n\nMy own words.\n"))
    before = card.read_bytes()
    outcome = run("far_survey", "--check")
    assert outcome.exit_code == 1 and "not that of the schema" in outcome.stderr and card.read_bytes() == before
    assert run("far_survey").output.endswith(" is written\n")
    assert "| mag | magnitude |" in card.read_text() and "My own words." in card.read_text()
    assert run("far_survey").output.endswith(" is up to date\n")
    assert run("far_survey", "--check").exit_code == 0


def test_an_error_in_the_package_names_file_and_line(survey):
    path = survey / "far_survey.py"
    path.write_text(path.read_text() + "\nraise RuntimeError('not finished')\n")
    (line,) = run("far_survey").stderr.splitlines()
    assert "expected far_survey.SCHEMA" in line
    assert f"RuntimeError: not finished ({path.resolve()}, line {len(path.read_text().splitlines())})" in line


def test_folders_that_are_no_dataset_s_are_refused(built_gz3d, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert "a built dataset, whose card the build writes" in run(built_gz3d).stderr
    assert "found no __init__.py" in run("empty").stderr
    assert "did you mean gz_sdss?" in run("gz_sds").stderr
    assert all(run(name).exit_code == 2 for name in (built_gz3d, "empty", "gz_sds"))
