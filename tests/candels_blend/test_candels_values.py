"""Values of the archive's catalogue that are missing, or written otherwise: in rows they are what the card says."""

import shutil

import numpy as np
import pandas as pd
import pytest

from candels_blend import Blends
from candels_blend.stamp_archive import CATALOGUE, COLUMNS, read_archive, read_csv


@pytest.fixture
def changed(datapath, tmp_path):
    """An archive with other cells in its catalogue: a function of column and values by row."""
    folder = shutil.copytree(datapath, tmp_path / "data")

    def change(column, values):
        catalogue = pd.read_csv(folder / CATALOGUE)
        catalogue[column] = catalogue[column].astype(object)
        for row, value in values.items():
            catalogue.loc[row, column] = value
        catalogue.to_csv(folder / CATALOGUE, index=False)
        return folder

    return change


@pytest.mark.parametrize("blank", [[0], range(40)], ids=["one", "all"])
def test_a_blank_type_leaves_the_others_as_they_are(datapath, changed, blank):
    types = pd.read_csv(datapath / CATALOGUE)["galtype"].tolist()
    expected = ["" if row in blank else galtype for row, galtype in enumerate(types)]
    folder = changed("galtype", dict.fromkeys(blank))
    archive = read_archive(folder)
    assert archive.catalogue["galtype"].tolist() == expected
    by_id = dict(zip(archive.catalogue["ID"], expected, strict=True))
    batch = Blends(folder, seed=1).columns(["galtype", "galaxy_id"])[:300]
    assert batch["galtype"].tolist() == [[by_id[number] for number in pair] for pair in batch["galaxy_id"].tolist()]


def test_a_redshift_of_minus_99_is_none(changed):
    folder = changed("z", {3: -99, 4: 0.0})
    number, other = read_archive(folder).catalogue["ID"][[3, 4]]
    batch = Blends(folder, seed=1).columns(["z", "galaxy_id"])[:300]
    assert (np.isnan(batch["z"]) == (batch["galaxy_id"] == number)).all() and (batch["galaxy_id"] == number).any()
    assert (batch["z"][batch["galaxy_id"] == other] == 0).all()


@pytest.mark.parametrize("mag", [99, 99.0, -99, 99.9, None])
def test_a_galaxy_without_a_magnitude_is_left_out_and_named(changed, mag):
    archive = read_archive(changed("mag", {3: mag}))
    assert 3 not in archive.rows and len(archive.rows) == 39
    assert archive.left_out == {"no magnitude in the catalogue": [archive.catalogue["ID"][3]]}


def test_right_ascensions_from_minus_180_are_wrapped(datapath, changed):
    ra = pd.read_csv(datapath / CATALOGUE)["RA"]
    archive = read_archive(changed("RA", {3: ra[3] - 360 if ra[3] > 180 else -0.25, 4: -180, 5: -180.5}))
    assert archive.catalogue["RA"][3] == (pytest.approx(ra[3]) if ra[3] > 180 else 359.75)
    assert archive.catalogue["RA"][4] == 180
    assert list(archive.left_out) == ["no position or radius in the catalogue"] and 5 not in archive.rows


def test_a_column_may_begin_with_many_whole_numbers_or_none(datapath, tmp_path):
    """Of a file of some megabytes, the first rows do not tell what a column holds."""
    catalogue = pd.read_csv(datapath / CATALOGUE)
    rows = 60_000
    many = catalogue.iloc[np.arange(rows) % len(catalogue)].assign(ID=range(rows), z="-99", radius="")
    many.iloc[-1, many.columns.get_loc("z")], many.iloc[-1, many.columns.get_loc("radius")] = "0.5", "1.25"
    many.to_csv(tmp_path / CATALOGUE, index=False)
    found = read_csv(tmp_path / CATALOGUE, COLUMNS, text=("galtype",))
    assert len(found) == rows and found["z"].iloc[-1] == 0.5 and found["radius"].iloc[-1] == 1.25
    assert found["z"].iloc[0] == -99 and np.isnan(found["radius"].iloc[0])


def test_cells_that_stand_for_missing_values(changed):
    archive = read_archive(changed("mag", {3: "--", 4: "None", 5: r"\N"}))
    assert not {3, 4, 5} & set(archive.rows.tolist()) and len(archive.rows) == 37
