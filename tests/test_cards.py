"""Every dataset's card and citations are complete, and say of its columns what its schema says."""

import importlib
import re
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard

from skyshards.format.card import with_columns
from tests.data_sets import DATA_SETS

ROOT = Path(__file__).parents[1]

data_sets = pytest.mark.parametrize("name", [name for name in DATA_SETS if (ROOT / name / "README.md").exists()])


def bibtex_entries(text):
    """Fields in lower case by key of each entry, and what is left of the text."""
    entries = {}

    def take(match):
        fields = re.findall(r"(\w+)\s*=\s*[{\"]?(.+?)[}\"]?,?\s*$", match["body"], re.MULTILINE)
        entries[match["key"]] = {field.lower(): value for field, value in fields}
        return ""

    rest = re.sub(r"@\w+\s*\{\s*(?P<key>[^,\s]+),\s*\n(?P<body>.*?)\n\}", take, text, flags=re.DOTALL)
    return entries, rest.strip()


@data_sets
def test_table_of_columns_is_that_of_the_schema(name):
    schema = importlib.import_module(f"{name}.{name}").SCHEMA
    text = (ROOT / name / "README.md").read_text(encoding="utf-8")
    assert text == with_columns(text, schema), "put skyshards.card.with_columns(text, SCHEMA) into the file"


@data_sets
def test_front_matter_says_what_it_is(name):
    card = DatasetCard.load(ROOT / name / "README.md")
    for field in ("pretty_name", "license", "tags", "task_categories"):
        assert getattr(card.data, field, None), f"{name}/README.md: no {field} in the YAML"
    assert "astronomy" in card.data.tags
    generated = {"configs", "dataset_info"}
    assert not generated & set(card.data.to_dict()), "these are written by the build"


@data_sets
def test_card_says_how_to_load_and_cite(name):
    text = (ROOT / name / "README.md").read_text(encoding="utf-8")
    assert "load_dataset(" in text and "skyshards.open(" in text
    assert re.search(r"^## How to cite$", text, re.MULTILINE) and "CITATION.bib" in text


@data_sets
def test_citations_are_whole(name):
    text = (ROOT / name / "CITATION.bib").read_text(encoding="utf-8")
    entries, rest = bibtex_entries(text)
    assert entries and not rest, f"{name}/CITATION.bib: not BibTeX: {rest:.200}"
    assert text.count("{") == text.count("}")
    for key, fields in entries.items():
        assert "title" in fields and {"doi", "url", "eprint", "series"} & set(fields), (
            f"{key}: no title, or where it is"
        )


@data_sets
def test_python_in_the_card_compiles(name):
    text = (ROOT / name / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        compile(block, f"{name}/README.md", "exec")
