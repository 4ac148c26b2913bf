"""Plate-IFUs from MaNGA's table of observations."""

import numpy as np
import pytest
from astropy.table import Table

import skyshards
from demo_archive import DemoArchive
from gz3d.build_parent_sample import GZ3DRecipe
from gz3d.drpall import plate_ifus
from skyshards.errors import BuildError, UsageError
from skyshards.pipeline.build import build


@pytest.fixture(scope="module")
def drpall(gz3d_fits, tmp_path_factory):
    """A table of two of the galaxies, one observed twice, and of some other galaxy."""
    ids = sorted({path.name.split("_")[1] for path in gz3d_fits.iterdir()})
    path = tmp_path_factory.mktemp("drpall") / "drpall.fits"
    table = Table({"plate": [9, 8, 7, 6], "MANGAID": [ids[0], ids[1], ids[0], "1-1"]})
    table["PLATEIFU"] = ["10001-1901", "8485-12701", "7443-1902", "1-2"]
    table["flux"] = np.zeros((4, 3))
    table.write(path)
    return path


def test_plate_ifus_by_galaxy(drpall):
    found = plate_ifus(drpall)
    assert sorted(found.values()) == ["1-2", "10001-1901 7443-1902", "8485-12701"] and found["1-1"] == "1-2"


def test_the_demos_table():
    with DemoArchive(galaxies=30) as archive:
        found = plate_ifus(archive.drpall)
        assert found.keys() == {galaxy.mangaid for galaxy in archive.galaxies[::3]}
        assert any(" " in plateifus for plateifus in found.values())


@pytest.mark.parametrize("content", [b"<html></html>", b"SIMPLE  =", b"mangaid,plate\n1-2,3\n", b""])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "drpall.csv").write_bytes(content)
    with pytest.raises(BuildError, match="drpall"):
        plate_ifus(tmp_path / "drpall.csv")


def test_rows_have_the_plate_ifu_where_it_is_known(gz3d_fits, drpall, tmp_path):
    recipe = GZ3DRecipe(local_data_path=gz3d_fits, drpall=drpall)
    assert build(recipe, tmp_path / "gz3d", limit=3, workers=0).failed == 0
    table = skyshards.open(tmp_path / "gz3d")
    known = plate_ifus(drpall)
    assert {row["plateifu"] for row in table} & known.keys() == set()
    assert [row["plateifu"] for row in table] == [known.get(row["object_id"], "") for row in table]
    assert any(table.catalog["plateifu"].to_pylist()) and table.catalog["plateifu"].null_count
    with pytest.raises(UsageError, match="was built with `drpall` sha256:.*, now without it"):
        build(GZ3DRecipe(local_data_path=gz3d_fits), tmp_path / "gz3d")
