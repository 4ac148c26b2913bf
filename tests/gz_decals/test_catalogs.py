"""Catalogues: published names and values kept, cuts counted, memory bounded, damage said."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gz_decals import catalogs
from gz_decals.catalogs import layout, read
from gz_decals.gz_decals import BASIC, published_column
from skyshards.errors import BuildError

NAMES = ["J000411.19+020924.0", "J001655.18-002739.1", "J003937.09-032825.0"]


def parquet(path, **columns):
    pq.write_table(pa.table({name.replace("__", "-"): values for name, values in columns.items()}), path)
    return path


def test_the_real_basic_catalogue(shared_data):
    path = shared_data / "zoobot" / "example_ring_catalog_basic.csv"
    part = layout(path)
    assert {role: column.name for role, column in part.roles.items()} == {"name": "id_str", "image": "file_loc"}
    assert part.values == BASIC
    catalog, frame = read(part), pd.read_csv(path, float_precision="round_trip")
    assert len(catalog) == 470 and catalog.outside == 0
    assert catalog.names == frame["id_str"].tolist() and catalog.images == frame["file_loc"].tolist()
    assert catalog.row(7)["values"]["ring"] == frame["ring"][7]
    fractions = np.array([catalog.row(number)["values"][BASIC[1][0]] for number in range(470)])
    np.testing.assert_array_equal(fractions, frame[BASIC[1][0]].to_numpy())


def test_kept_are_numbers_under_their_published_names(tmp_path):
    path = parquet(
        tmp_path / "t.parquet",
        iauname=NAMES,
        ra=[1.0, 2.0, None],
        dec=[1.0, 2.0, 3.0],
        bar_yes=[1, 2, 3],
        bar_yes_fraction=[0.1, None, 0.3],
        redshift=pa.array([0.1, 0.2, 0.3], pa.float32()),
        wrong_size_warning=[True, False, False],
        bar_yes_concentration=[[1.0], [2.0], [3.0]],
        remark=["a", "b", "c"],
        local_png_loc=["a.png", "b.png", "c.png"],
        relative_path=["J000/a.png", "J000/b.png", None],
    )
    part = layout(path)
    assert dict(part.values) == {
        "bar_yes": "int64", "bar_yes_fraction": "float64", "redshift": "float32", "wrong_size_warning": "bool",
    }  # fmt: skip
    catalog = read(part)
    assert catalog.images == ["J000/a.png", "J000/b.png", NAMES[2]]
    row = catalog.row(1)
    assert np.isnan(row["values"]["bar_yes_fraction"]) and row["values"]["wrong_size_warning"] is False
    assert np.isnan(catalog.row(2)["ra"]) and np.isnan(row["scale"])


@pytest.mark.parametrize("row_group_size", [1, 3])
def test_cut_and_count(tmp_path, row_group_size, monkeypatch):
    smooth, edge = [0.74, 0.75, 0.1, None, 0.2], [0.24, 0.1, 0.25, 0.1, 0.0]
    path = tmp_path / "t.parquet"
    table = pa.table({"iauname": list("abcde"), catalogs.SMOOTH: smooth, catalogs.EDGE_ON: edge})
    pq.write_table(table, path, row_group_size=row_group_size)
    catalog = read(layout(path), 0.75, 0.25)
    assert catalog.names == ["a", "e"] and catalog.outside == 3
    assert len(read(layout(path))) == 5
    assert read(layout(path), 0.0, None).outside == 5


def test_cut_on_the_opposite_fraction(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"iauname": ["a", "b"], catalogs.FEATURED: [0.3, 0.2], catalogs.FACE_ON: [0.8, 0.8]}), path)
    assert read(layout(path), 0.75, 0.25).names == ["a"]
    pq.write_table(pa.table({"iauname": ["a"]}), path)
    with pytest.raises(BuildError, match="to cut on it, expected a column"):
        read(layout(path), 0.75, None)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_damage_is_said(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    for content in (b"", b"PAR1\x00\x00\x00PAR1", b"iauname\n" + b'"open' * 3 + b"\n\xff\xfe,,,\n"):
        path.write_bytes(content)
        with pytest.raises(BuildError, match="t.(csv|parquet)"):
            read(layout(path))
    path = tmp_path / "other.csv"
    path.write_text("name,ring\nx,1\n")
    with pytest.raises(BuildError, match="expected a column iauname or id_str"):
        layout(path)


def test_a_galaxy_stands_once(tmp_path):
    with pytest.raises(BuildError, match="x more than once"):
        read(layout(parquet(tmp_path / "t.parquet", iauname=["x", "y", "x"])))
    with pytest.raises(BuildError, match="no iauname in 1 row,"):
        read(layout(parquet(tmp_path / "t.parquet", iauname=["x", None])))


def test_descriptions_follow_the_names():
    assert "'bar'" in published_column("bar_strong_fraction", "float32").description
    assert "'strong'" in published_column("bar_strong", "int64").description
    assert published_column("bar_total-votes", "int64").description == "number of answers to the question 'bar'"
    assert published_column("petro_th50", "float64").unit == "arcsec"
    assert published_column("something", "float64").description == "as published"
