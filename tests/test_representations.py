"""Representations joined by id, from any table, in any order; what cannot be joined is said."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from skyshards.embed.representations import Joined, open_representations
from skyshards.errors import BuildError


def write_features(path, ids, vectors, name="iauname", form="feat_{}", **kwargs):
    columns = {name: ids} | {form.format(number): vectors[:, number] for number in range(vectors.shape[1])}
    pq.write_table(pa.table(columns), path, **kwargs)
    return path


@pytest.mark.parametrize("form", ["feat_{}", "feat_{}_pred"])
@pytest.mark.parametrize("row_group_size", [7, 1000])
def test_joins_by_id_in_any_order(tmp_path, monkeypatch, form, row_group_size):
    monkeypatch.setattr("skyshards.embed.representations.BATCH_BYTES", 4 * 50 * 7)  # seven columns at once
    vectors = np.random.default_rng(0).random((50, 23)).astype(np.float32)
    ids = [f"J{number}" for number in range(50)]
    file = open_representations(
        write_features(tmp_path / "f.parquet", ids, vectors, form=form, row_group_size=row_group_size)
    )
    assert (file.id.name, file.length) == ("iauname", 23)
    joined = Joined(file, ["J9", "none", "J0", "J9"], tmp_path)
    assert joined.missing == 1 and len(joined) == 4
    for place, row in ((0, 9), (2, 0), (3, 9)):
        np.testing.assert_array_equal(joined[place], vectors[row])
    assert np.isnan(joined[1]).all() and joined[1].dtype == np.float32
    joined.close()
    assert os.listdir(tmp_path) == ["f.parquet"]


@pytest.mark.parametrize("theirs", [["00J1", "00J2"], [1, 2]])
def test_representations_of_no_galaxy_are_an_error(tmp_path, theirs):
    file = open_representations(write_features(tmp_path / "f.parquet", theirs, np.zeros((2, 2), np.float32)))
    with pytest.raises(BuildError, match=f"none of 2 galaxies, such as 'J1', .* names such as '{theirs[0]}'"):
        Joined(file, ["J1", "J2"], tmp_path)
    assert os.listdir(tmp_path) == ["f.parquet"]


@pytest.mark.parametrize("suffix", ["csv", "fits", "ecsv"])
def test_representations_may_be_in_any_table(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr("skyshards.embed.representations.BATCH_BYTES", 4 * 2 * 2)
    vectors = np.random.default_rng(0).random((2, 3)).astype(np.float32)
    table = Table({"iauname": ["J1 ", "J2"]} | {f"feat_{number}": vectors[:, number] for number in range(3)})
    table.write(tmp_path / f"f.{suffix}", format={"csv": "ascii.csv", "ecsv": "ascii.ecsv"}.get(suffix, suffix))
    joined = Joined(open_representations(tmp_path / f"f.{suffix}"), ["J2", "J1"], tmp_path)
    np.testing.assert_array_equal([joined[0], joined[1]], vectors[::-1])
    joined.close()


def test_numbers_may_be_ids(tmp_path):
    vectors = np.eye(2, dtype=np.float32)
    path = write_features(tmp_path / "f.parquet", [588018090547020096, 1], vectors, name="id_str")
    joined = Joined(open_representations(path), ["588018090547020096"], tmp_path)
    np.testing.assert_array_equal(joined[0], vectors[0])
    joined.close()


def test_says_what_is_wrong_with_a_file(tmp_path):
    path = tmp_path / "f.parquet"
    path.write_bytes(b"PAR1 nonsense")
    with pytest.raises(BuildError, match="is it whole"):
        open_representations(path)
    pq.write_table(pa.table({"iauname": ["x"], "feat_0": [1.0], "feat_2": [1.0]}), path)
    with pytest.raises(BuildError, match="once each"):
        open_representations(path)
    pq.write_table(pa.table({"name": ["x"], "feat_0": [1.0]}), path)
    with pytest.raises(BuildError, match="iauname or id_str"):
        open_representations(path)
    file = open_representations(write_features(path, ["x", "x"], np.zeros((2, 2), np.float32)))
    with pytest.raises(BuildError, match="more than once"):
        Joined(file, ["x"], tmp_path)
    file = open_representations(write_features(path, ["x", None, None], np.zeros((3, 2), np.float32)))
    with pytest.raises(BuildError, match="2 rows have no iauname"):
        Joined(file, ["x"], tmp_path)
    pq.write_table(pa.table({"iauname": ["x"], "feat_0": ["many"]}), path)
    with pytest.raises(BuildError, match="column feat_0: expected numbers, found 'many' in row 1"):
        open_representations(path)
    pq.write_table(pa.table({"iauname": [5.88e17], "feat_0": [1.0]}), path)
    with pytest.raises(BuildError, match="column iauname: expected names, found double"):
        open_representations(path)
    file = open_representations(write_features(path, ["x", "y"], np.zeros((2, 2), np.float32)))
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(60) + content[64:])
    with pytest.raises(BuildError, match="is it whole"):
        Joined(file, ["x"], tmp_path)
    assert os.listdir(tmp_path) == ["f.parquet"]
