"""Rows and functions against the values that the GZ3D team's own reader gives for the same files."""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import gz3d
from gz3d.fits import read_gz3d


@pytest.fixture(scope="module")
def known(cases):
    """What that reader says, by the name of the file."""
    return json.loads((cases / "gz3d_reader" / "expected.json").read_text())


@pytest.fixture(scope="module")
def rows(known, shared_data):
    return {name: read_gz3d(shared_data / "gz3d" / name, polygons=True) for name in known}


def test_volunteers_and_how_many_drew(known, rows):
    for name, row in rows.items():
        counts = known[name]["rows"]
        assert row["volunteers"] == {task: counts[task] for task in ("center_star", "spiral", "bar")}
        assert [row["drew"][task] for task in ("spiral", "bar")] == [counts["spiral_drew"], counts["bar_drew"]]


@pytest.mark.parametrize("clusters", ["center_clusters", "star_clusters"])
def test_clusters(known, rows, clusters):
    for name, row in rows.items():
        assert row[clusters].keys() == known[name][clusters].keys()
        for column, values in known[name][clusters].items():
            np.testing.assert_array_equal(row[clusters][column], values, err_msg=f"{name} {column}")


def test_the_wcs_is_that_of_hdu_1(known, rows, shared_data):
    for name, row in rows.items():
        with fits.open(shared_data / "gz3d" / name) as hdus:
            theirs = WCS(hdus[1].header)
        ours = gz3d.wcs(row)
        assert ours.wcs.compare(theirs.wcs) and ours.array_shape == theirs.array_shape == (525, 525)
        assert ours.wcs.crpix.tolist() == known[name]["crpix"] and ours.wcs.crval.tolist() == known[name]["crval"]
        assert ours.wcs.cdelt.tolist() == known[name]["cdelt"] and ours.wcs.get_pc().tolist() == known[name]["pc"]
        place = ours.wcs_world2pix([[row["ra"], row["dec"]]], 1)[0]
        np.testing.assert_allclose(place, known[name]["center_in_pix"], atol=1e-9)


def test_masks_on_the_grid_of_spaxels(rows, cases):
    with np.load(cases / "gz3d_reader" / "spaxel_masks.npz") as known:
        for name, row in list(rows.items())[::3]:
            found = gz3d.spaxel_masks(row)
            for kind in gz3d.CLASSES:
                np.testing.assert_allclose(found[kind], known[f"{name}:{kind}"], atol=1e-4, err_msg=f"{name} {kind}")
            nothing = [found[kind] == 0 for kind in ("spiral", "bar", "center")]
            assert np.array_equal(found["other"], np.logical_and.reduce(nothing))


@pytest.mark.parametrize(
    ("kind", "hdu", "column"),
    [
        ("center", 8, "center_points"),
        ("star", 8, "star_points"),
        ("spiral", 9, "spiral_paths"),
        ("bar", 10, "bar_paths"),
    ],
)
def test_drawings_are_those_of_the_json(rows, shared_data, kind, hdu, column):
    for name, row in rows.items():
        with fits.open(shared_data / "gz3d" / name) as hdus:
            texts = list(hdus[hdu].data[column])
        drawn = [[shape.tolist() for shape in one] for one in gz3d.drawn(row, kind)]
        assert drawn == [json.loads(text) for text in texts]
