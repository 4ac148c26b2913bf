"""Folds of built datasets: selected by each reader, with no galaxy on two sides."""

import importlib
import pickle
from itertools import combinations_with_replacement

import numpy as np
import pyarrow.compute as pc
import pytest
from click.testing import CliRunner
from datasets import load_dataset

import skyshards
from skyshards.errors import UsageError
from skyshards.format.folds import FOLDS
from tests.data_sets import DATA_SETS
from tests.sky_folder import build_sky
from tests.test_crossmatch import moved, sphere
from tests.test_folds import CORNERS
from tests.test_format import EARLIER, identity
from tests.versions import stock_reads_hdf5


def on_borders(count, seed):
    """Positions within 16 arcsec of the corners of pixels."""
    random = np.random.default_rng(seed)
    x, y, z = CORNERS[random.integers(0, len(CORNERS), count)].T
    ra, dec = np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arcsin(z))
    return moved(ra, dec, random.uniform(0, 16, count), seed)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two datasets of one sky, whose positions differ by up to ten arcsec; half of them lie near borders."""
    parent = tmp_path_factory.mktemp("folds")
    ra, dec = (np.concatenate(parts) for parts in zip(sphere(60, 1), on_borders(60, 2), strict=True))
    other = moved(ra, dec, np.random.default_rng(3).uniform(0, 9.9, len(ra)), 4)
    return [build_sky(parent / "first", ra, dec), build_sky(parent / "second", *other, 32)]


@pytest.fixture
def tables(folders):
    return [skyshards.open(folder) for folder in folders]


def names(table, name="object_id"):
    return table.catalog[name].to_pylist()


def test_the_column_is_the_fold_of_the_position(tables):
    for table in tables:
        rows = table.catalog
        assert (rows["fold"].to_numpy() == skyshards.fold_of(rows["ra"], rows["dec"])).all()
        assert table.schema["fold"].dtype == "int8" and table[3]["fold"].dtype == np.int8
        assert set(rows["fold"].to_pylist()) >= {-1, 0, 9}


def test_a_table_is_selected_by_folds(tables):
    table, _ = tables
    parts = [table.folds(number) for number in range(FOLDS)]
    assert sum(len(part) for part in parts) == len(table) - len(table.where("fold == -1")) < len(table)
    assert all(set(names(part, "fold")) == {number} for number, part in enumerate(parts))
    some = table.select(slice(None, None, -2)).select_columns(["flux"])
    found = some.folds([1, 4, 4, 0])
    assert found.column_names == ["flux"] and 0 < len(found) < len(some)
    assert names(found) == names(some.where(pc.field("fold").isin([0, 1, 4])))
    assert names(pickle.loads(pickle.dumps(found))) == names(found)


@pytest.mark.parametrize("folds", [10, [0, -1], [], "all", [0.5]])
def test_other_numbers_are_refused_in_a_line(folders, tables, folds):
    with pytest.raises(UsageError, match="folds: expected one or more of 0 to 9, found"):
        tables[0].folds(folds)
    with pytest.raises(UsageError, match="folds: expected one or more of 0 to 9, found"):
        load_dataset("skyshards", data_dir=str(folders[0]), split="train", streaming=True, folds=folds)


@pytest.mark.parametrize("streaming", [True, False])
def test_the_builder_has_an_option(folders, tables, streaming, tmp_path):
    options = {"data_dir": str(folders[0]), "split": "train", "streaming": streaming, "cache_dir": str(tmp_path)}
    found = load_dataset("skyshards", folds=[7, 2, 3], **options)
    wanted = skyshards.open(folders[0], "train").folds([2, 3, 7])
    assert [row["object_id"] for row in found] == names(wanted)
    same, other = (load_dataset("skyshards", folds=folds, **options) for folds in (range(2, 4), (2, 3)))
    assert [row["object_id"] for row in same] == [row["object_id"] for row in other]
    if not streaming:
        assert same._fingerprint == other._fingerprint != found._fingerprint, "equal folds share a cached copy"


@stock_reads_hdf5
def test_stock_datasets_filter_by_the_column(folders, tables):
    rows = load_dataset(str(folders[0]), split="train", streaming=True)
    found = [row["object_id"] for row in rows.filter(lambda row: row["fold"] in (0, 1))]
    assert found == names(skyshards.open(folders[0], "train").folds([0, 1]))


@pytest.mark.parametrize("folder", EARLIER, ids=identity)
def test_earlier_folders_have_folds_by_position(folder):
    table = skyshards.open(folder)
    assert "fold" not in table.column_names
    folds = skyshards.fold_of(table.catalog["ra"], table.catalog["dec"])
    assert names(table.folds(range(5))) == names(table.select((folds >= 0) & (folds < 5)))
    with pytest.raises(KeyError, match="fold"):
        table.where("fold == 1")


def test_a_column_of_that_name_with_another_meaning_is_no_fold(folders, monkeypatch):
    """As an author of an earlier version may have had one."""
    table = skyshards.open(folders[0])
    spec = table._data.manifest.specs["fold"]
    monkeypatch.setattr("skyshards.read.opened.is_fold", lambda found: found != spec)
    assert names(table.folds([3])) == names(skyshards.open(folders[0]).folds([3]))


def test_a_joined_row_is_in_a_fold_if_all_its_objects_are(tables):
    first, second = tables
    joined = skyshards.join(first, second, names=("a", "b"), radius_arcsec=10)
    a, b = names(joined, "a.fold"), names(joined, "b.fold")
    assert all(one == other or -1 in (one, other) for one, other in zip(a, b, strict=True))
    assert any(one != other for one, other in zip(a, b, strict=True)), "some are near a border in one of the two"
    for number in range(FOLDS):
        found = joined.folds(number)
        assert names(found, "a.fold") == names(found, "b.fold") == [number] * len(found)
    assert len(joined.folds(range(FOLDS))) == sum(one == other >= 0 for one, other in zip(a, b, strict=True))
    some = joined.select(slice(None, None, 3)).select_columns(["separation"])
    wanted = some.where("0 <= a.fold < 5 and a.fold == b.fold")
    assert names(some.folds(range(5)), "a.object_id") == names(wanted, "a.object_id")


def test_objects_joined_by_name_may_lie_in_different_folds(folders):
    """Two datasets whose rows of one name lie anywhere: only those of one fold have it."""
    first = skyshards.open(folders[0])
    apart = skyshards.join(first, first.select(slice(None, None, -1)), names=("a", "b"), on="label", match="all")
    a, b = (np.array(names(apart, f"{name}.fold")) for name in "ab")
    assert (a != b).mean() > 0.5
    assert len(apart.folds(range(FOLDS))) == ((a == b) & (a >= 0)).sum() > 0


def test_a_left_join_goes_by_the_objects_that_are_there(tables):
    first, second = tables
    joined = skyshards.join(first, second.select([0, 5]), names=("a", "b"), how="left", radius_arcsec=10)
    alone = joined.where("not matched")
    assert names(alone.folds([1, 2]), "a.fold") == [fold for fold in names(alone, "a.fold") if fold in (1, 2)]


def test_a_saved_join_is_loaded_by_folds(tables, tmp_path):
    joined = skyshards.join(*tables, names=("a", "b"), radius_arcsec=10)
    joined.save(tmp_path / "pairs.parquet")
    options = {"data_dir": str(tmp_path / "pairs.parquet"), "columns": ["a.object_id"], "folds": [0, 5]}
    rows = load_dataset("skyshards", split="train", streaming=True, **options)
    wanted = joined.folds([0, 5]).where("a._split == 'train'")
    assert [row["a"]["object_id"] for row in rows] == names(wanted, "a.object_id")


def test_the_card_counts_rows_and_classes_of_each_fold(folders, tables):
    card = (folders[0] / "README.md").read_text()
    lines = card.partition("## Folds")[2].partition("## ")[0].strip().splitlines()
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines[2:]}
    assert cells[""] == [*map(str, range(FOLDS)), "none"]
    rows = tables[0].catalog
    wanted = {"rows": rows} | {
        f"`label` {n}": rows.filter(pc.equal(rows["label"], i)) for i, n in enumerate(("elliptical", "spiral"))
    }
    for name, part in wanted.items():
        found = part["fold"].to_pylist()
        assert cells[name] == [str(found.count(fold)) for fold in (*range(FOLDS), -1)]


def assert_on_one_side(first, second):
    """No two rows within ten arcsec have different folds; return how many pairs there are."""
    pairs = skyshards.crossmatch(first, second, radius_arcsec=10, match="all")
    one, other = (
        np.array(names(table, "fold"))[pairs[row].to_numpy()] for table, row in ((first, "row_a"), (second, "row_b"))
    )
    assert ((one == other) | (one < 0) | (other < 0)).all()
    return len(pairs)


def test_no_galaxy_is_on_two_sides(tables):
    first, second = tables
    assert assert_on_one_side(first, second) >= len(first)
    train, test = first.folds(range(8)), second.folds([8, 9])
    assert len(train) and len(test)
    assert not len(skyshards.crossmatch(train, test, radius_arcsec=10, match="all"))


@pytest.fixture(scope="module")
def every_dataset(tmp_path_factory):
    """A folder of each dataset of this tree, of one simulated sky."""
    home, tables = tmp_path_factory.mktemp("every"), {}
    for name in DATA_SETS:
        command = importlib.import_module(f"{name}.build_parent_sample").main
        options = ["--demo", "--limit", "40", "--workers", "0", "-o", str(home / name)]
        assert CliRunner().invoke(command, options, catch_exceptions=False).exit_code == 0
        tables[name] = skyshards.open(home / name)
    return tables


@pytest.mark.slow
def test_no_galaxy_is_on_two_sides_of_any_two_datasets(every_dataset):
    """Every dataset against itself and every other."""
    found = {
        pair: assert_on_one_side(*(every_dataset[name] for name in pair))
        for pair in combinations_with_replacement(DATA_SETS, 2)
    }
    assert sum(count > 0 for (one, other), count in found.items() if one != other) >= 3, "they share galaxies"


@pytest.mark.slow
def test_no_galaxy_of_a_blend_is_in_two_folds(every_dataset):
    table = every_dataset["candels_blend"]
    rows = table[:]
    folds = {
        number: set(rows["fold"][(rows["galaxy_id"] == number).any(axis=1)]) - {-1}
        for number in np.unique(rows["galaxy_id"])
    }
    assert max(map(len, folds.values())) == 1
    assert (rows["fold"] == -1).any() and len(set(rows["fold"])) > 1
