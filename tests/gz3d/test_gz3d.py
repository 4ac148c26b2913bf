"""GZ3D against the contract, from the demo archive's files and from files of the real format."""

import numpy as np
import pytest
from astropy.io import fits

from gz3d.build_parent_sample import GZ3DRecipe
from skyshards.pipeline.build import build
from tests.contract import Contract


def astropy_row(path):
    """A row as astropy reads it from the file, by its data model and without a line of ours."""
    with fits.open(path) as hdus:
        meta = hdus[5].data[0]
        total = int(meta["GZ_total_classifications"])
        votes = [int(meta["GZ_spiral_votes"]), int(meta["GZ_bar_votes"])]
        fractions = [-1.0, -1.0, *(count / total if total else -0.5 for count in votes)]
        return {
            "object_id": str(meta["MANGAID"]).strip(),
            "ra": np.float64(meta["ra"]),
            "dec": np.float64(meta["dec"]),
            "image": hdus[0].data,
            "scale": abs(hdus[1].header["PC1_1"] * hdus[1].header["CDELT1"]),
            "segmentation": {
                "class": np.array(["center", "star", "spiral", "bar"]),
                "vote_fraction": np.array(fractions),
                "array": np.stack([hdus[number].data for number in (1, 2, 3, 4)]),
            },
            "total_classifications": np.int16(total),
            "gz_bar_votes": np.int16(votes[1]),
            "gz_spiral_votes": np.int16(votes[0]),
            "iauname": str(meta["IAUNAME"]).strip(),
            "nsa_id": np.int64(meta["nsa_id"]),
            "ifudesignsize": np.float64(meta["IFUDESIGNSIZE"]),
            "manga_tileid": np.float64(meta["MANGA_TILEID"]),
            "sample": str(meta["sample"]).strip(),
            "subject_id": np.int64(path.name.removesuffix(".fits.gz").split("_")[-1]),
            "source": path.name,
        }


def astropy_rows(folder):
    rows = [astropy_row(path) for path in folder.glob("*.fits.gz")]
    return {(row["object_id"], row["source"]): row for row in rows}


@pytest.fixture(scope="module")
def built_from_real_format(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "gz3d"
    assert build(GZ3DRecipe(local_data_path=shared_data / "gz3d"), folder).failed == 0
    return folder


class TestDemoFiles(Contract):
    @pytest.fixture
    def folder(self, built_gz3d):
        return built_gz3d

    @pytest.fixture
    def recipe(self):
        return GZ3DRecipe()

    @pytest.fixture
    def expected(self, gz3d_fits):
        return astropy_rows(gz3d_fits)


class TestRealFormatFiles(Contract):
    @pytest.fixture
    def folder(self, built_from_real_format):
        return built_from_real_format

    @pytest.fixture
    def recipe(self):
        return GZ3DRecipe()

    @pytest.fixture
    def expected(self, shared_data):
        return astropy_rows(shared_data / "gz3d")

    def test_sources_that_share_a_galaxy_both_stay(self, table):
        ids = table.catalog["object_id"].to_pylist()
        assert ids.count("12-193481") == 2 and len(ids) == 12

    def test_galaxy_nobody_classified(self, table):
        row = next(row for row in table if row["object_id"] == "1-335895")
        assert row["total_classifications"] == 0
        assert row["segmentation"]["vote_fraction"].tolist() == [-1.0, -1.0, -0.5, -0.5]
