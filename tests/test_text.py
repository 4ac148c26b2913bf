"""Text of any length and script: stored by its length, and the same in every reader."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import datasets
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import skyshards
from skyshards import Column, Schema, verify
from skyshards.errors import SourceError
from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS
from skyshards.pipeline.build import build
from skyshards.pipeline.encode import encode
from skyshards.pipeline.recipe import Recipe, Source
from skyshards.read.arrow import as_numpy
from skyshards.testing.contract import stock_reads_hdf5
from tests.format_reader import assert_reads

STRING = datasets.Value("string")
SCHEMA = Schema(
    {
        "note": Column(STRING, "a remark"),
        "names": Column(datasets.Sequence(STRING, length=2), "two names"),
        "remark": Column(STRING, "a remark that may be missing", missing="none at all"),
    }
)
LONG = "ξ" * 100_000
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
"""All of Unicode that HDF5 and Arrow hold."""


@dataclass(frozen=True)
class Texts(Recipe):
    rows: tuple

    name = "texts"
    schema = SCHEMA

    @property
    def folder(self) -> Path:
        return Path(__file__).parent / "toy_card"

    def sources(self, fetcher):
        yield Source("all")

    def read(self, source, fetched):
        for number, (note, *names) in enumerate(self.rows):
            yield {"object_id": f"{number:05d}", "ra": 10.0, "dec": number * 1e-6, "note": note, "names": names}


def built(folder, rows):
    assert build(Texts(tuple(rows)), folder, workers=0).failed == 0
    return folder


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A thousand short texts, and one of 200 kB."""
    rows = [(f"note {number}", "a", f"é{number}") for number in range(1000)]
    rows[7] = LONG, "a", LONG
    return built(tmp_path_factory.mktemp("texts") / "texts", rows)


def test_one_long_text_makes_no_other_longer(long):
    (shard,) = long.rglob("*.hdf5")
    assert shard.stat().st_size < 1_000_000
    table = skyshards.open(long)
    batch = table[:]
    assert batch["note"].nbytes + batch["names"].nbytes <= 3 * 1000 * 8
    assert batch["note"][7] == batch["names"][7, 1] == LONG and batch["note"][8] == "note 8"
    assert table[7]["note"] == LONG and table[8]["names"].tolist() == ["a", "é8"]
    assert table[8:10]["note"].dtype == object  # whichever rows are asked for
    assert batch["object_id"].dtype == "<U5" and batch["remark"].dtype == "<U11"


def test_long_texts_are_the_same_everywhere(long, tmp_path):
    assert list(verify.problems(long)) == []
    assert_reads(long, tmp_path)
    table = skyshards.open(long)
    assert table.where("note == 'note 8'").catalog["object_id"].to_pylist() == ["00008"]
    assert table.find(["note 9"], by="note")[0]["object_id"] == "00009"
    rows = datasets.load_dataset("skyshards", data_dir=str(long), split="train", streaming=True)
    batch = as_numpy(next(iter(rows.with_format("arrow").iter(20))))
    assert batch["note"][7] == LONG and batch["note"][8] == "note 8" and batch["object_id"].dtype == "<U5"


@stock_reads_hdf5
def test_stock_datasets_reads_them(long):
    for number, row in enumerate(datasets.load_dataset(str(long), split="train", streaming=True).take(20)):
        expected = LONG if number == 7 else f"note {number}"
        assert (row["note"], row["remark"]) == (expected, "none at all")
        assert row["names"] == ["a", LONG if number == 7 else f"é{number}"]


def test_rows_are_added_to_long_texts(long, tmp_path):
    build(Texts((("b", "c", "d"),)), tmp_path / "grown", workers=0, limit=1)
    assert skyshards.open(tmp_path / "grown")[0]["note"] == "b"


def test_a_left_join_cuts_no_text(long):
    table = skyshards.open(long)
    both = skyshards.join(table.select([6, 7]), table.select([7]), names=("a", "b"), on="object_id", how="left")
    assert both[:]["b"]["note"].tolist() == ["", LONG] and both[:]["b"]["remark"].tolist() == ["none at all"] * 2
    few = skyshards.join(table.select([6, 7]), table.select([8]), names=("a", "b"), on="object_id", how="left")
    assert few[:]["b"]["object_id"].tolist() == ["", ""]


@given(st.lists(TEXT, min_size=1))
def test_hdf5_takes_the_shorter_of_two_forms(texts):
    spec, kind = ColumnSpec("x", "string", "str", (), "", ""), KINDS["string"]
    stored = kind.to_hdf5([kind.encode(text, spec) for text in texts], spec)
    with h5py.File("x", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("x", data=stored)
        assert kind.expected_in_hdf5(dataset.dtype, spec) is None
        assert kind.from_hdf5(dataset).tolist() == texts
        assert dataset.asstr()[()].tolist() == texts
    if stored.dtype.kind == "S":
        assert stored.nbytes <= sum(len(text.encode()) + 32 for text in texts)


@pytest.mark.parametrize("text", ["a\0b", "\0", "gal\udcff"], ids=repr)
def test_what_is_no_text_is_refused_by_name(text):
    row = {"object_id": "x", "ra": 1.0, "dec": 2.0, "note": text, "names": ["a", "b"]}
    with pytest.raises(SourceError, match="object_id 'x': column 'note': expected text, found a NUL or a lone surr"):
        encode(row, SCHEMA.specs, "s")


@pytest.mark.slow
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rows=st.lists(st.tuples(TEXT | st.just(LONG), TEXT, TEXT), min_size=1, max_size=6))
def test_any_text_is_the_same_in_every_reader(tmp_path_factory, rows):
    folder = built(tmp_path_factory.mktemp("any") / "texts", rows)
    wanted = [note for note, *_ in rows]
    assert skyshards.open(folder)[:]["note"].tolist() == wanted
    assert skyshards.open(folder).catalog["note"].to_pylist() == wanted
    stock = datasets.load_dataset("skyshards", data_dir=str(folder), split="train", streaming=True)
    assert [row["names"] for row in stock] == [list(names) for _, *names in rows]
    with h5py.File(next(folder.rglob("*.hdf5"))) as file:
        assert file["note"].asstr()[()].tolist() == wanted
    np.testing.assert_array_equal(skyshards.open(folder)[:]["names"], [list(names) for _, *names in rows])
