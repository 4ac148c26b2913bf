"""A join as a file: opened again, by `datasets`, and refused when a folder is another."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from datasets import Image, load_dataset

import skyshards
from skyshards.cli.main import main
from skyshards.errors import FolderError
from skyshards.format.columns import flatten
from skyshards.read.arrow import as_numpy
from tests.contract import assert_same
from tests.sky_folder import build_sky
from tests.test_crossmatch import moved, sphere


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two folders, of one sky."""
    home = tmp_path_factory.mktemp("home")
    ra, dec = sphere(24, 5)
    build_sky(home / "a", ra, dec)
    build_sky(home / "b", *moved(ra, dec, np.random.default_rng(6).uniform(0, 2, 24), 7), 32)
    return home


@pytest.fixture(params=["inner", "left"])
def joined(home, request):
    tables = [skyshards.open(home / name) for name in "ab"]
    return skyshards.join(*tables, names=("a", "b"), how=request.param)


def test_opens_with_the_same_rows_in_another_place(joined, home, tmp_path):
    few = joined.select(slice(None, None, -2))
    copy = tmp_path / "elsewhere"
    shutil.copytree(home, copy)
    tables = [skyshards.open(copy / name) for name in "ab"]
    here = skyshards.join(*tables, names=("a", "b"), how="left" if "matched" in joined.column_names else "inner")
    here.select(slice(None, None, -2)).save(copy / "pairs.parquet")
    moved_folder = tmp_path / "moved"
    shutil.move(copy, moved_folder)
    again = skyshards.open_join(moved_folder / "pairs.parquet")
    assert again.column_names == joined.column_names
    assert_same(again[:], few[:])
    assert again.catalog.schema.equals(few.catalog.schema, check_metadata=True)
    assert again.catalog["b._row"].equals(few.catalog["b._row"])


def test_is_a_table_for_other_programs(joined, tmp_path):
    joined.save(tmp_path / "pairs.parquet")
    table = pq.read_table(tmp_path / "pairs.parquet")
    assert table.column_names[:4] == ["id_a", "row_a", "id_b", "row_b"]
    for name in "ab":
        assert table[f"id_{name}"].to_pylist() == joined.catalog[f"{name}.object_id"].to_pylist()


def test_folders_that_moved_are_named(joined, home, tmp_path):
    joined.save(tmp_path / "pairs.parquet")
    shutil.copytree(home / "b", tmp_path / "other")
    content = pq.read_table(tmp_path / "pairs.parquet")
    about = json.loads(content.schema.metadata[b"skyshards.join"])
    about["tables"][1]["location"] = "gone"
    pq.write_table(content.replace_schema_metadata({"skyshards.join": json.dumps(about)}), tmp_path / "pairs.parquet")
    with pytest.raises(FolderError, match="gone: not a built data"):
        skyshards.open_join(tmp_path / "pairs.parquet")
    again = skyshards.open_join(tmp_path / "pairs.parquet", folders={"b": tmp_path / "other"})
    assert_same(again[:3], joined[:3])


def test_refuses_what_is_no_join_and_another_build(joined, home, tmp_path):
    with pytest.raises(FolderError, match="there is no such file"):
        skyshards.open_join(tmp_path / "nothing.parquet")
    (tmp_path / "text").write_text("text")
    pq.write_table(pa.table({"row_a": [1]}), tmp_path / "other.parquet")
    for name in ("text", "other.parquet"):
        with pytest.raises(FolderError, match=f"{name}: not a join of built datasets; `JoinedTable.save` and"):
            skyshards.open_join(tmp_path / name)
    joined.save(tmp_path / "pairs.parquet")
    build_sky(tmp_path / "b", [1.0], [2.0])
    with pytest.raises(FolderError, match="b at .* has changed since it was joined; join it again"):
        skyshards.open_join(tmp_path / "pairs.parquet", folders={"b": tmp_path / "b"})


def test_the_command_writes_one(home, tmp_path):
    arguments = ["crossmatch", str(home / "a"), str(home / "b"), "-o", str(tmp_path / "pairs.parquet")]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    tables = [skyshards.open(home / name) for name in "ab"]
    assert_same(skyshards.open_join(tmp_path / "pairs.parquet")[:], skyshards.join(*tables, names=("a", "b"))[:])


def test_stock_training_loops_see_joined_rows(joined, tmp_path):
    joined.save(tmp_path / "pairs.parquet")
    options = {"data_dir": str(tmp_path / "pairs.parquet"), "streaming": True, "decode": False}
    rows = {split: load_dataset("skyshards", split=split, **options) for split in joined.splits}
    assert rows["train"].features["a"]["votes"]["mask"].shape == (16, 18)
    assert rows["train"].features["b"]["picture"] == Image(decode=False)
    for split, stream in rows.items():
        wanted = joined.where(f"a._split == '{split}'")
        batches = [as_numpy(batch) for batch in stream.remove_columns(["a", "b"]).with_format("arrow").iter(5)]
        np.testing.assert_array_equal(
            np.concatenate([batch["separation"] for batch in batches]), wanted[:]["separation"]
        )
        for number, row in enumerate(stream):
            assert row["a"]["object_id"] == wanted[number]["a"]["object_id"]
            assert row["b"]["votes"]["mask"] == wanted[number]["b"]["votes"]["mask"].tolist()
            assert (row["b"]["picture"] is None) == (not row.get("matched", True))
    few = load_dataset("skyshards", columns=["b.noise", "a.picture"], split="train", **options | {"decode": True})
    assert set(flatten(few.features)) == {"a.picture", "b.noise"}
    assert next(iter(few))["a"]["picture"].size == (7, 6)
    scalars = load_dataset("skyshards", "catalog", split="train", **options)
    assert "noise" not in scalars.features["b"] and "separation" in scalars.features


def test_a_builder_of_one_dataset_refuses_a_join(joined, tmp_path):
    import gz3d  # noqa: F401

    joined.save(tmp_path / "pairs.parquet")
    with pytest.raises(FolderError, match='this is a join of a, b, not of gz3d; use load_dataset."skyshards"'):
        load_dataset("gz3d", data_dir=str(tmp_path / "pairs.parquet"), split="train")
