"""The registered builders: options, workers, and resuming, through `load_dataset` alone.

`skyshards` serves every folder; what holds for a dataset's own builder holds for it.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.units import arcmin
from datasets import load_dataset

import gz3d
import skyshards
from skyshards.errors import FolderError, UsageError
from skyshards.format.columns import flatten
from skyshards.pipeline.build import build
from skyshards.read.arrow import as_numpy
from skyshards.read.hf_builder import ShardBuilder
from tests.contract import assert_same
from tests.stock_cache import OtherToy
from tests.toy import SCHEMA, Toy


@pytest.fixture
def table(built_gz3d):
    return skyshards.open(built_gz3d)


@pytest.fixture(params=["gz3d", "skyshards"])
def name(request):
    return request.param


@pytest.fixture
def load(name):
    """Loads a folder by the builder of this name."""

    def load(folder, *config, **options):
        return load_dataset(
            name, *config, **{"data_dir": folder and str(folder), "split": "train", "streaming": True} | options
        )

    return load


def ids(data_set):
    return sorted((row["object_id"], row["source"]) for row in data_set)


@pytest.mark.slow
def test_columns_are_cut_before_reading(load, built_gz3d, table, tmp_path):
    """With the masks destroyed in every shard, the other columns can be read."""
    copy = tmp_path / "gz3d"
    shutil.copytree(built_gz3d, copy)
    raw = table._data.rows
    for shard, start in zip(raw["_shard"].to_pylist(), raw["_start:segmentation.array"].to_pylist(), strict=True):
        with open(copy / shard, "r+b") as file:
            file.seek(start)
            file.write(b"\0" * 20)
    data_set = load(copy, columns=["image", "segmentation.vote_fraction", "object_id"])
    assert set(flatten(data_set.features)) == {"image", "segmentation.vote_fraction", "object_id"}
    assert [row["object_id"] for row in data_set] == table.catalog["object_id"].to_pylist()
    with pytest.raises(skyshards.errors.ShardCorrupted):
        next(iter(load(copy)))


def test_cone_opens_only_shards_that_overlap(load, built_gz3d, table, tmp_path):
    """With all other shards gone, the cone can be read."""
    copy = tmp_path / "gz3d"
    shutil.copytree(built_gz3d, copy)
    row = table[0]
    inside = table.cone(float(row["ra"]), float(row["dec"]), 5.0)
    needed = set(inside.catalog["_shard"].to_pylist())
    others = [path for path in copy.rglob("*.hdf5") if path.relative_to(copy).as_posix() not in needed]
    assert others
    for path in others:
        path.unlink()
    data_set = load(copy, cone=(float(row["ra"]), float(row["dec"]), 5.0))
    assert ids(data_set) == sorted(
        zip(*[inside.catalog[name].to_pylist() for name in ("object_id", "source")], strict=True)
    )


@pytest.mark.parametrize("processes", [None, 2])
def test_a_cone_may_be_empty(load, built_gz3d, table, tmp_path, processes):
    away = (float(table[0]["ra"] + 180) % 360, -float(table[0]["dec"]), 1e-6)
    assert list(load(built_gz3d, cone=away)) == []
    for _ in range(2):  # made, then from the cache
        options = {"cone": away, "cache_dir": str(tmp_path), "num_proc": processes}
        nothing = load(built_gz3d, split=None, streaming=False, **options)["train"]
        assert len(nothing) == 0 and nothing.features == gz3d.SCHEMA.features and str(nothing.split) == "train"
        assert list(nothing.with_format("numpy").map(lambda row: row)) == []


def test_a_cone_may_be_a_coordinate_and_an_angle(load, built_gz3d, table, tmp_path):
    ra, dec = float(table[0]["ra"]), float(table[0]["dec"])
    cones = [(ra, dec, 5.0), (SkyCoord(ra, dec, unit="deg"), 300 * arcmin)]
    options = {"streaming": False, "cache_dir": str(tmp_path), "columns": ["object_id"]}
    found = [load(built_gz3d, cone=cone, **options) for cone in cones]
    assert found[0]["object_id"] == found[1]["object_id"] == table.cone(*cones[0]).catalog["object_id"].to_pylist()
    assert found[0].cache_files == found[1].cache_files


def test_splits_without_rows_are_empty_and_the_others_load(tmp_path):
    class TwoSplits(Toy):
        splits = ("test", "train")

    class ToyBuilder(ShardBuilder):
        schema = SCHEMA

    ToyBuilder.__module__ = "tests.toy"
    build(TwoSplits(6), tmp_path / "toy", workers=0)
    builder = ToyBuilder(data_dir=str(tmp_path / "toy"), cache_dir=str(tmp_path / "cache"))
    builder.download_and_prepare()
    assert {name: len(rows) for name, rows in builder.as_dataset().items()} == {"train": 6, "test": 0}


def test_another_datasets_folder_is_called_that(tmp_path):
    build(Toy(2), tmp_path / "toy", workers=1)
    with pytest.raises(
        FolderError, match=r'this is a folder of toy, not of gz3d; use load_dataset\("skyshards", data_dir'
    ):
        load_dataset("gz3d", data_dir=str(tmp_path / "toy"))


def test_no_columns_are_refused(load, built_gz3d):
    """`datasets` keeps no rows without columns."""
    with pytest.raises(UsageError, match=r"columns: expected at least one name, found \[\]"):
        load(built_gz3d, columns=[])


def test_vote_fraction_cut(built_gz3d, table):
    def load(folder, **options):
        return load_dataset("gz3d", data_dir=str(folder), split="train", streaming=True, **options)

    fractions = table.columns(["segmentation.vote_fraction"])[:]["segmentation"]["vote_fraction"]
    kept = table.select(fractions[:, 2:].max(axis=1) >= 0.5).catalog["source"].to_pylist()
    assert 0 < len(kept) < len(table)
    data_set = load(built_gz3d, columns=["source"], vote_fraction_cut=0.5)
    assert [row["source"] for row in data_set] == kept


def test_cuts_on_bars_and_spirals(built_gz3d, table):
    def load(**options):
        options |= {"data_dir": str(built_gz3d), "split": "train", "streaming": True, "columns": ["source"]}
        return {row["source"] for row in load_dataset("gz3d", **options)}

    fractions = table.columns(["segmentation.vote_fraction", "source"])[:]
    spiral, bar = fractions["segmentation"]["vote_fraction"][:, 2:].T
    cut = sorted(bar)[-2], sorted(spiral)[-4]  # values themselves: the bound is included
    kept = [set(fractions["source"][chosen]) for chosen in (bar >= cut[0], spiral >= cut[1])]
    assert [load(bars_only=cut[0]), load(spirals_only=cut[1])] == kept
    assert load(bars_only=cut[0], spirals_only=cut[1]) == kept[0] & kept[1]


def test_num_proc(load, built_gz3d, table, tmp_path):
    columns = ["object_id", "source"]
    data_set = load(built_gz3d, streaming=False, num_proc=2, cache_dir=str(tmp_path), columns=columns)
    assert ids(data_set) == ids(load(built_gz3d, columns=columns))
    assert len(data_set) == len(table)


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_data_loader_with_two_workers(load, built_gz3d, table, context):
    loading = pytest.importorskip("torch.utils.data", reason="the extra `torch` is not installed")
    data_set = load(built_gz3d, columns=["subject_id", "segmentation.array"]).with_format("torch")
    loader = loading.DataLoader(data_set, batch_size=2, num_workers=2, multiprocessing_context=context)
    found = {}
    for batch in loader:
        for subject, masks in zip(batch["subject_id"], batch["segmentation"]["array"], strict=True):
            assert int(subject) not in found
            found[int(subject)] = masks.numpy()
    assert len(found) == len(table)
    for row in table:
        assert (found[int(row["subject_id"])] == row["segmentation"]["array"]).all()


def test_arrow_batches_become_numpy(load, built_gz3d, table):
    start = 0
    for batch in load(built_gz3d).with_format("arrow").iter(batch_size=3):
        assert_same(as_numpy(batch), table[start : start + len(batch)])
        start += len(batch)
    assert start == len(table)


@pytest.mark.parametrize("after", [0, 1, 4, 9])
def test_resume_in_mid_shard(load, built_gz3d, table, after):
    data_set = load(built_gz3d, columns=["source"])
    rows = iter(data_set)
    seen = [next(rows)["source"] for _ in range(after)]
    state = data_set.state_dict()
    resumed = load(built_gz3d, columns=["source"])
    resumed.load_state_dict(state)
    assert seen + [row["source"] for row in resumed] == table.catalog["source"].to_pylist()


def test_a_built_folder_is_needed(load, tmp_path):
    (tmp_path / "something.txt").write_text("nothing to see")
    with pytest.raises(FolderError, match="not a built dataset"):
        load(tmp_path)


def test_unknown_columns_are_named(load, built_gz3d):
    with pytest.raises(KeyError, match="no column 'masks'; available: object_id, ra"):
        load(built_gz3d, columns=["masks"])


def test_configs(load, built_gz3d):
    assert "segmentation" not in load(built_gz3d, "images").features and "image" in load(built_gz3d, "images").features
    row = next(iter(load(built_gz3d, "catalog").with_format("numpy")))
    assert all(np.ndim(value) == 0 for value in row.values())
    with pytest.raises(ValueError, match="'masks'"):
        load(built_gz3d, "masks")


def test_a_folder_must_be_given(load):
    with pytest.raises(UsageError, match="data_dir is missing; name the built folder: load_dataset"):
        load(None)


def test_only_the_catalogue_is_looked_at(load, built_gz3d, tmp_path):
    """Of a large folder `datasets` would list all files, and find nothing at a URL."""
    (tmp_path / "catalog.parquet").write_bytes((built_gz3d / "catalog.parquet").read_bytes())
    assert load(tmp_path).features == gz3d.SCHEMA.features


@pytest.mark.parametrize("form", [str, Path])
def test_a_path_may_begin_at_home(load, built_gz3d, tmp_path, monkeypatch, form):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").symlink_to(built_gz3d)
    assert len(ids(load(form("~/data"), columns=["object_id", "source"]))) == len(skyshards.open(form("~/data")))


def test_builds_are_told_apart(tmp_path):
    """The cached copy of a folder is not taken for what was built in its place."""
    folder, cache = tmp_path / "toy", str(tmp_path / "cache")
    found = []
    for recipe in (Toy(6), OtherToy(6)):
        shutil.rmtree(folder, ignore_errors=True)
        build(recipe, folder, workers=0)
        rows = load_dataset("skyshards", data_dir=str(folder), split="train", cache_dir=cache)
        found.append(rows["object_id"][:])
    assert found[1] == [name.replace("galaxy", "nebula") for name in found[0]]
