"""The registered builder: options, workers, and resuming, through `load_dataset` alone."""

import shutil

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
from tests.toy import SCHEMA, Toy


@pytest.fixture
def table(built_gz3d):
    return skyshards.open(built_gz3d)


def load(folder, *config, **options):
    return load_dataset("gz3d", *config, data_dir=str(folder), split="train", streaming=True, **options)


def ids(data_set):
    return sorted((row["object_id"], row["source"]) for row in data_set)


def test_columns_are_cut_before_reading(built_gz3d, table, tmp_path):
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


def test_cone_opens_only_shards_that_overlap(built_gz3d, table, tmp_path):
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
def test_a_cone_may_be_empty(built_gz3d, table, tmp_path, processes):
    away = (float(table[0]["ra"] + 180) % 360, -float(table[0]["dec"]), 1e-6)
    assert list(load(built_gz3d, cone=away)) == []
    for _ in range(2):  # made, then from the cache
        options = {"cone": away, "cache_dir": str(tmp_path), "num_proc": processes}
        nothing = load_dataset("gz3d", data_dir=str(built_gz3d), **options)["train"]
        assert len(nothing) == 0 and nothing.features == gz3d.SCHEMA.features and str(nothing.split) == "train"
        assert list(nothing.with_format("numpy").map(lambda row: row)) == []


def test_a_cone_may_be_a_coordinate_and_an_angle(built_gz3d, table, tmp_path):
    ra, dec = float(table[0]["ra"]), float(table[0]["dec"])
    cones = [(ra, dec, 5.0), (SkyCoord(ra, dec, unit="deg"), 300 * arcmin)]
    options = {"data_dir": str(built_gz3d), "cache_dir": str(tmp_path), "split": "train", "columns": ["object_id"]}
    found = [load_dataset("gz3d", cone=cone, **options) for cone in cones]
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
    with pytest.raises(FolderError, match=r'this is a folder of toy, not of gz3d; use load_dataset\("toy", data_dir='):
        load(tmp_path / "toy")


def test_no_columns_are_refused(built_gz3d):
    """`datasets` keeps no rows without columns."""
    with pytest.raises(UsageError, match=r"columns: expected at least one name, found \[\]"):
        load(built_gz3d, columns=[])


def test_vote_fraction_cut(built_gz3d, table):
    fractions = table.columns(["segmentation.vote_fraction"])[:]["segmentation"]["vote_fraction"]
    kept = table.select(fractions[:, 2:].max(axis=1) >= 0.5).catalog["source"].to_pylist()
    assert 0 < len(kept) < len(table)
    data_set = load(built_gz3d, columns=["source"], vote_fraction_cut=0.5)
    assert [row["source"] for row in data_set] == kept


def test_num_proc(built_gz3d, table, tmp_path):
    data_set = load_dataset(
        "gz3d",
        data_dir=str(built_gz3d),
        split="train",
        num_proc=2,
        cache_dir=str(tmp_path),
        columns=["object_id", "source"],
    )
    assert ids(data_set) == ids(load(built_gz3d, columns=["object_id", "source"]))
    assert len(data_set) == len(table)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_data_loader_with_two_workers(built_gz3d, table, context):
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


def test_arrow_batches_become_numpy(built_gz3d, table):
    start = 0
    for batch in load(built_gz3d).with_format("arrow").iter(batch_size=3):
        assert_same(as_numpy(batch), table[start : start + len(batch)])
        start += len(batch)
    assert start == len(table)


@pytest.mark.parametrize("after", [0, 1, 4, 9])
def test_resume_in_mid_shard(built_gz3d, table, after):
    data_set = load(built_gz3d, columns=["source"])
    rows = iter(data_set)
    seen = [next(rows)["source"] for _ in range(after)]
    state = data_set.state_dict()
    resumed = load(built_gz3d, columns=["source"])
    resumed.load_state_dict(state)
    assert seen + [row["source"] for row in resumed] == table.catalog["source"].to_pylist()


def test_a_built_folder_is_needed(tmp_path):
    (tmp_path / "something.txt").write_text("nothing to see")
    with pytest.raises(FolderError, match="not a built data set"):
        load(tmp_path)


def test_unknown_columns_are_named(built_gz3d):
    with pytest.raises(KeyError, match="no column 'masks'; there are object_id, ra"):
        load(built_gz3d, columns=["masks"])


def test_configs(built_gz3d):
    assert "segmentation" not in load(built_gz3d, "images").features and "image" in load(built_gz3d, "images").features
    row = next(iter(load(built_gz3d, "catalog").with_format("numpy")))
    assert all(np.ndim(value) == 0 for value in row.values())
