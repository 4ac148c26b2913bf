"""`docs/format.md` is so: its reader gives the table's values, and it names all that there is."""

import ast
import re
from dataclasses import fields

import pytest

from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS
from skyshards.format.layout import FILES, FORMAT_VERSION
from skyshards.format.manifest import Manifest
from skyshards.pipeline.build import build
from tests.format_reader import DOCUMENT, READER, assert_reads
from tests.test_format import EARLIER, identity, with_manifest
from tests.toy import Toy

NAMES = set(re.findall(r"`([^`]+)`", DOCUMENT))


@pytest.mark.parametrize("folder", EARLIER, ids=identity)
def test_the_reader_reads_earlier_folders(folder, tmp_path):
    assert_reads(folder, tmp_path)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy") / "toy"
    build(Toy(7), folder, workers=0)
    return folder


def test_the_reader_reads_every_kind_of_column(toy, tmp_path):
    assert_reads(toy, tmp_path)


def test_the_reader_refuses_damage_and_later_formats(toy):
    found = {}
    exec(READER, found)
    with_manifest(toy, format=FORMAT_VERSION + 1, written_by="skyshards 7.0")
    with pytest.raises(ValueError, match=f"written by skyshards 7.0 in format {FORMAT_VERSION + 1}"):
        next(found["rows"](toy))
    with_manifest(toy, format=FORMAT_VERSION)
    first = next(found["rows"](toy))
    for shard in toy.rglob("*.hdf5"):
        content = shard.read_bytes()
        place = content.find(first["picture"])
        if place >= 0:
            shard.write_bytes(content[: place + 20] + b"~~" + content[place + 22 :])
    with pytest.raises(ValueError, match="row 0 of column picture is damaged"):
        next(found["rows"](toy))


def test_the_reader_is_short_and_needs_little():
    imported = {
        (node.module or "").split(".")[0] if isinstance(node, ast.ImportFrom) else alias.name.split(".")[0]
        for node in ast.walk(ast.parse(READER))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    assert imported == {"json", "zlib", "numpy", "pyarrow"}
    assert len(READER.splitlines()) <= 45


def test_the_document_names_every_file_key_and_kind():
    assert f"format {FORMAT_VERSION}," in DOCUMENT
    assert FILES <= NAMES
    assert {field.name for field in fields(Manifest)} <= NAMES
    assert {field.name for field in fields(ColumnSpec)} <= NAMES
    assert set(KINDS) <= NAMES


def test_the_document_has_three_pages():
    assert len(DOCUMENT.splitlines()) <= 160
