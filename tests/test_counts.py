"""Counts in messages and cards: a noun is in the singular after 1."""

import re

import pytest

import skyshards
from skyshards.pipeline.build import build
from skyshards.progress import progress
from skyshards.text import counted
from skyshards.verify import describe
from tests.toy import Toy


@pytest.mark.parametrize(
    ("number", "nouns", "words"),
    [
        (0, "rows", "0 rows"),
        (1, "rows", "1 row"),
        (2000, "HDF5 files", "2,000 HDF5 files"),
        (1, "HDF5 files", "1 HDF5 file"),
        (1, "galaxies", "1 galaxy"),
        (1, "spectra", "1 spectrum"),
        (1, "matches", "1 match"),
        (1, "entries", "1 entry"),
        (1, "data", "1 data"),
    ],
)
def test_a_count_and_its_noun(number, nouns, words):
    assert counted(number, nouns) == words


def test_nothing_of_a_dataset_of_one_row_is_in_the_plural(tmp_path):
    plan = build(Toy(1), tmp_path, workers=0, dry_run=True).plan
    build(Toy(1), tmp_path, workers=0)
    table = skyshards.open(tmp_path)
    assert ": 1 row at " in repr(table) and plan.startswith("1 source to do")
    with progress("reading", "sources", 1) as shown:
        line = shown.line()
    card = (tmp_path / "README.md").read_text().partition("## This copy")[2]
    assert "1 row (train) in 1 HDF5 file (" in card
    for words in (plan, line, repr(table), describe(tmp_path), card, (tmp_path / "croissant.json").read_text()):
        assert not re.search(r"(?<![\d.,/=])1 (rows|sources|shards|HDF5 files|files)\b", words), words
