"""The pages of `docs/` say what is so: their Python runs and their links lead somewhere."""

import doctest
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import skyshards
from gz_sdss.build_parent_sample import main as build_gz_sdss
from tests import blocks, stand_ins
from tests.data_sets import DATA_SETS
from tests.versions import stock_reads_hdf5

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TESTED_ELSEWHERE = {"format.md", "adding-a-dataset.md", "adding-columns.md"}
"""Pages that have tests of their own."""
HERE = [page for page in PAGES if page.name not in TESTED_ELSEWHERE]


@pytest.fixture(scope="module")
def built(built_gz3d, tmp_path_factory):
    """A folder with `data/gz3d` and `data/gz_sdss`, as the pages have it."""
    home = tmp_path_factory.mktemp("home")
    (home / "data").mkdir()
    (home / "data" / "gz3d").symlink_to(built_gz3d)
    options = ["--tiny", "--demo", "--workers", "0", "-o", str(home / "data" / "gz_sdss")]
    assert CliRunner().invoke(build_gz_sdss, options, catch_exceptions=False).exit_code == 0
    return home


@stock_reads_hdf5
@pytest.mark.parametrize("page", HERE, ids=lambda page: page.name)
def test_python_runs(page, built, monkeypatch):
    monkeypatch.chdir(built)
    with stand_ins.torchvision():
        blocks.run(page.read_text(encoding="utf-8"), page.name)


LINKS = [
    (page.name, target)
    for page in PAGES
    for target in sorted(set(re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))))
]


@pytest.mark.parametrize(("page", "target"), LINKS)
def test_links_lead_somewhere(page, target):
    assert (DOCS / target).exists()


def test_every_dataset_has_a_page_that_is_its_card():
    for name in DATA_SETS:
        assert f"{{include}} ../../{name}/README.md" in (DOCS / "datasets" / f"{name}.md").read_text(encoding="utf-8")
        assert f"datasets/{name}\n" in (DOCS / "index.md").read_text(encoding="utf-8")


WITH_EXAMPLES = ("open", "Table", "as_numpy", "fold_of", "crossmatch", "join", "Schema")


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_of_docstrings_run(name, built, monkeypatch):
    """`skyshards` and `table`, a folder of gz3d, are there in each."""
    monkeypatch.chdir(built)
    names = {"skyshards": skyshards, "table": skyshards.open("data/gz3d")}
    base = getattr(skyshards, name)
    things = [base, *base.__mro__[1:-1]] if isinstance(base, type) else [base]
    runner = doctest.DocTestRunner()
    for thing in things:
        for example in doctest.DocTestFinder(exclude_empty=True).find(thing, f"skyshards.{name}", globs=dict(names)):
            runner.run(example)
    assert runner.tries and not runner.failures
