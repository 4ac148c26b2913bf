"""Catalogues as people have them: other formats, names like ours, gaps, positions in text; nothing lost in silence."""

import io
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from click.testing import CliRunner
from datasets import load_dataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import gz_decals  # noqa: F401 (registers the builder)
import skyshards
from gz_decals.build_parent_sample import main
from gz_decals.catalogs import layout, read
from gz_decals.gz_decals import FIXED
from skyshards.errors import BuildError
from skyshards.input_tables.names import stored_names
from tests.versions import stock_reads_hdf5

GALAXIES = 3


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(GALAXIES):
        pixels = np.full((8, 8, 3), number, np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        (folder / f"g{number}.png").write_bytes(file.getvalue())
    return folder


def build(tmp_path, images, catalog):
    folder = tmp_path / "built"
    outcome = CliRunner().invoke(
        main, ["--catalog_file", str(catalog), "--local_data_path", str(images), "-o", str(folder), "--workers", "1"]
    )
    assert outcome.exit_code == 0, outcome.output
    assert not (folder / "failures.csv").exists()
    return folder, outcome.output


HEADER = ",iauname,ra,dec,image,object_id,healpix,a,a,a.b,a/b,_row,_start:image,remark,empty,bars,flag,id"
ROWS = (
    "0,g0,-10,1,7,8,9,1,2,3,4,5,6,text,,2,true,9007199254740993\n"
    "1,g1,-20,2,7,8,9,1,2,3,4,5,6,,,,,\n"
    "2,g2,30,3,7,8,9,1,2,3,4,5,6,word,,\\N,false,--\n"
)


@stock_reads_hdf5
def test_columns_of_any_name_are_kept_beside_ours(tmp_path, images):
    (tmp_path / "t.csv").write_text(f"#Table1\n{HEADER}\n{ROWS}")
    folder, said = build(tmp_path, images, tmp_path / "t.csv")
    wanted = {
        "published_image": 7, "published_object_id": 8, "published_healpix": 9, "a": 1, "a_2": 2, "a_b": 3, "a_b_2": 4,
        "column_row": 5, "column_start:image": 6,
    }  # fmt: skip
    table = skyshards.open(folder)
    for rows in (
        table,
        load_dataset(str(folder), split="train", streaming=True),
        load_dataset("gz_decals", data_dir=str(folder), split="train", streaming=True),
    ):
        rows = sorted(rows, key=lambda row: str(row["object_id"]))
        assert [str(row["object_id"]) for row in rows] == ["g0", "g1", "g2"]
        for row in rows:
            assert {name: row[name] for name in wanted} == wanted
        assert [float(row["ra"]) for row in rows] == [350, 340, 30]
        np.testing.assert_array_equal([row["bars"] for row in rows], [2, np.nan, np.nan])
        np.testing.assert_array_equal([row["flag"] for row in rows], [1, np.nan, 0])
        assert [str(row["id"]) for row in rows] == ["9007199254740993", "", ""]
    assert all(row["image"].shape == (8, 8, 3) for row in table)
    assert "column 1 (no name but that of row numbers), remark (text: 'text' in row 1), empty (empty)" in said
    assert "image -> published_image" in said and "a/b -> a_b_2" in said


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "parquet", "fits", "ecsv", "vot"])
def test_sexagesimal_positions_in_every_format(tmp_path, images, suffix):
    columns = {"iauname": ["g0", "g1", "g2"], "ra": ["10:30:00"] * 3, "dec": ["-01:30:36"] * 3, "ring": [1, 0, 1]}
    path = tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table(columns), path)
    else:
        formats = {"csv": "ascii.csv", "ecsv": "ascii.ecsv", "vot": "votable"}
        Table(columns).write(path, format=formats.get(suffix, suffix))
    folder, _ = build(tmp_path, images, path)
    table = skyshards.open(folder)
    for row in table:
        assert (row["ra"], row["dec"]) == pytest.approx((157.5, -1.51))
    assert table.catalog["ring"].type == pa.int64() and sum(table.catalog["ring"].to_pylist()) == 2


def test_a_position_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "t.csv").write_text("iauname,ra,dec\ng0,10:30:00,1\ng1,north,2\n")
    with pytest.raises(BuildError, match="t.csv: column ra: expected numbers or sexagesimal angles.*'north'"):
        read(layout(tmp_path / "t.csv"))


def test_columns_that_begin_with_many_empty_rows_or_whole_numbers(tmp_path):
    """The type of a column was that of its first block."""
    rows = [f"g{number},," + "1" for number in range(60_000)] + ["last,0.25,0.5"]
    (tmp_path / "t.csv").write_text("iauname,redshift,bar_yes_fraction\n" + "\n".join(rows))
    catalog = read(layout(tmp_path / "t.csv"))
    assert catalog.layout.values == (("redshift", "float64"), ("bar_yes_fraction", "float64"))
    assert catalog.row(60_000)["values"] == {"redshift": 0.25, "bar_yes_fraction": 0.5}
    assert math.isnan(catalog.row(0)["values"]["redshift"])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_ids_beyond_int64_stay_exact(tmp_path, suffix):
    path, ids = tmp_path / f"t.{suffix}", [2**64 - 1, 2**63 + 1]
    if suffix == "csv":
        path.write_text(f"iauname,id\ng0,{ids[0]}\ng1,{ids[1]}\n")
    else:
        pq.write_table(pa.table({"iauname": ["g0", "g1"], "id": pa.array(ids, pa.uint64())}), path)
    catalog = read(layout(path))
    assert catalog.layout.values == (("id", "uint64"),)
    assert [catalog.row(number)["values"]["id"] for number in (0, 1)] == ids


def test_a_name_that_is_missing_is_called_that(tmp_path):
    (tmp_path / "t.csv").write_text("iauname,ring\n,1\n--,1\ng2,0\n")
    with pytest.raises(BuildError, match="no iauname in 2 rows"):
        read(layout(tmp_path / "t.csv"))


def test_names_that_lost_their_digits_are_refused(tmp_path):
    pq.write_table(pa.table({"id_str": [5.88e17, None]}), tmp_path / "t.parquet")
    with pytest.raises(BuildError, match="column id_str: expected names, found double, which loses digits"):
        layout(tmp_path / "t.parquet")


@given(st.lists(st.text(min_size=1, max_size=5).filter(str.strip), max_size=8))
def test_stored_names_are_one_each_and_none_of_ours(names):
    names = [*names, "image", "a.b", "a/b", "a_b", "_row"]
    stored = stored_names(names, FIXED)
    assert len(set(stored)) == len(names) and not set(stored) & FIXED
    for name in stored:
        assert name and name.isprintable() and not set(name) & set("./\\") and not name.startswith("_")
    assert stored_names(stored, FIXED) == stored
