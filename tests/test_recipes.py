"""What a build tells a recipe, and asks of it, in every dataset."""

import importlib
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import demo_archive
from skyshards.cli.main import build as build_group
from skyshards.errors import BuildError
from skyshards.format import catalog
from skyshards.format.layout import CARD, CITATION
from skyshards.pipeline.build import build
from skyshards.pipeline.recipe import Recipe
from tests.data_sets import DATA_SETS
from tests.toy import Toy

REPOSITORY = Path(__file__).parents[1]
every_dataset = pytest.mark.parametrize("name", DATA_SETS)
OF_ONE_RUN = re.compile(r"127\.0\.0\.1:\d+|/async/[^/?]+")
"""What differs between two demo archives that are asked for the same: the address, the numbers of TAP jobs."""


@pytest.fixture
def archives(monkeypatch):
    """The demo archives that commands start."""
    started = []

    class Archive(demo_archive.DemoArchive):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(demo_archive, "DemoArchive", Archive)
    return started


def asked(archive):
    """What an archive was asked for, in an order of its own: requests arrive from several threads."""
    words = (
        (request.method, request.target, request.headers.get("Range"), request.form) for request in archive.requests
    )
    return sorted({OF_ONE_RUN.sub("", str(word)) for word in words})


def recipe_class(name) -> type[Recipe]:
    module = importlib.import_module(f"{name}.build_parent_sample")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Recipe) and value.__module__ == module.__name__
    )
    return found


@pytest.mark.slow
@every_dataset
def test_tiny_and_limit_5_ask_for_the_same(name, archives, tmp_path):
    for folder, options in (("tiny", ["--tiny"]), ("limit", ["--limit", "5"])):
        outcome = CliRunner().invoke(
            build_group, [name, "--demo", "--workers", "0", "-o", str(tmp_path / folder), *options]
        )
        assert outcome.exit_code == 0, outcome.output
    tiny, limit = archives
    assert asked(tiny) == asked(limit) != []
    catalogs = [(tmp_path / folder / "catalog.parquet").read_bytes() for folder in ("tiny", "limit")]
    assert catalogs[0] == catalogs[1]


BROKEN = {
    "no card": lambda own: (own / CARD).unlink(),
    "no marks": lambda own: (own / CARD).write_text("---\nlicense: mit\n---\n\n# A card\n"),
    "no YAML": lambda own: (own / CARD).write_text("---\na: [\n---\n<!-- columns -->\n<!-- end of columns -->\n"),
    "no citation": lambda own: (own / CITATION).unlink(),
    "no entry": lambda own: (own / CITATION).write_text("Write to someone@example.org\n"),
    "half an entry": lambda own: (own / CITATION).write_text("@article{key,\n  title = {A title},\n"),
}


@pytest.mark.parametrize("fault", BROKEN)
@every_dataset
def test_card_and_citation_are_looked_at_before_anything_is_fetched(name, fault, archives, tmp_path, monkeypatch):
    own = tmp_path / name
    own.mkdir()
    for file in (CARD, CITATION):
        shutil.copy(REPOSITORY / name / file, own)
    BROKEN[fault](own)
    monkeypatch.setattr(recipe_class(name), "folder", own)
    outcome = CliRunner().invoke(build_group, [name, "--demo", "--workers", "0", "-o", str(tmp_path / "out")])
    assert outcome.exit_code == 1 and str(own) in outcome.stderr and len(outcome.stderr.splitlines()) == 1
    assert archives[0].requests == [] and not (tmp_path / "out").exists()


def test_python_s_build_looks_at_them_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr(Toy, "folder", tmp_path)
    with pytest.raises(BuildError, match="README.md: .*needs a card and its citations before it can be built"):
        build(Toy(2), tmp_path / "out")


def test_a_recipe_knows_what_the_build_was_told(tmp_path):
    """But not the limit when it lists its sources, which must not depend on it."""
    told = []

    class Curious(Toy):
        def prepare(self, fetcher, folder):
            told.append((self.limit, self.simulated))
            return Curious(self.count)  # as a recipe may that gets to know its columns

        def sources(self, fetcher):
            told.append((self.limit, self.simulated))
            return super().sources(fetcher)

    build(Curious(6), tmp_path, limit=3, simulated=True, workers=0)
    assert told == [(3, True), (None, True)]


def test_a_recipe_whose_rows_are_made_up_says_so_itself(tmp_path):
    class Invented(Toy):
        simulated = True

    build(Invented(2), tmp_path, workers=0)
    assert catalog.open_folder(tmp_path)[1].simulated
