"""GZ3D against the contract, from the demo archive's files and from files of the real format."""

import json

import numpy as np
import pytest
from astropy.io import fits

from gz3d.build_parent_sample import GZ3DRecipe
from gz3d.gz3d import schema_of
from skyshards.format.own_card import problems
from skyshards.pipeline.build import build
from tests.contract import Contract

TASKS = {"center_star": 8, "spiral": 9, "bar": 10}
RADII = {19: 6.25, 37: 8.75, 61: 11.25, 91: 13.75, 127: 16.25}
"""Half the diameters of MaNGA's IFUs, arcsec (Drory et al. 2015, table 1)."""


def hexagon(hdus):
    """The corners of the IFU, from the west by the south."""
    angles = np.radians([0, 60, 120, 180, 240, 300])
    scale = abs(hdus[1].header["PC1_1"] * hdus[1].header["CDELT1"]) * 3600
    radius = RADII[int(hdus[5].data["IFUDESIGNSIZE"][0])] / scale
    return {"x": 262.5 + radius * np.cos(angles), "y": 262.5 + radius * np.sin(angles)}


def link(text):
    url, _, query = text.strip().partition("?")
    place = dict(part.split("=") for part in query.split("&")) if query else {}
    return {"url": url, **{name: float(place.get(name, "nan")) for name in ("ra", "dec")}}


def drawings(hdus):
    """The points and outlines of HDUs 8 to 10, as their JSON has them."""
    found = {"classification_id": {}}
    for task, number in (("center_star", 8), ("spiral", 9), ("bar", 10)):
        table = hdus[number].data
        found["classification_id"][task] = table["classification_id"]
        for name in table.names[2:]:
            drawn = [(place, one) for place, text in enumerate(table[name]) for one in json.loads(text)]
            paths = [one for _, one in drawn] if name.endswith("paths") else [[one] for _, one in drawn]
            points = np.array([point for path in paths for point in path]).reshape(-1, 2)
            found[name] = {"x": points[:, 0], "y": points[:, 1], "volunteer": [place for place, _ in drawn]}
            if name.endswith("paths"):
                found[name]["corners"] = [len(path) for path in paths]
    return found


def astropy_row(path, polygons=False):
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
            "volunteers": {task: len(hdus[number].data) for task, number in TASKS.items()},
            "drew": {
                task: sum(any(map(json.loads, list(cells)[2:])) for cells in hdus[number].data)
                for task, number in TASKS.items()
            },
            **{
                name: {column: hdus[number].data[column] for column in hdus[number].columns.names}
                for name, number in (("center_clusters", 6), ("star_clusters", 7))
            },
            "plateifu": "",
            "hexagon": hexagon(hdus),
            "explorer_link": link(meta["explorer_link"]),
            **(drawings(hdus) if polygons else {}),
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


def astropy_rows(folder, polygons=False):
    rows = [astropy_row(path, polygons) for path in folder.glob("*.fits.gz")]
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


@pytest.mark.slow
class TestPolygons(Contract):
    """The columns that `--polygons` adds, from files of the real format."""

    @pytest.fixture
    def recipe(self, shared_data):
        return GZ3DRecipe(local_data_path=shared_data / "gz3d", polygons=True)

    @pytest.fixture
    def expected(self, shared_data):
        return astropy_rows(shared_data / "gz3d", polygons=True)

    def test_own_card_is_complete(self, recipe):
        """The card's table has the default columns, and a paragraph names those of the option."""
        assert list(problems(recipe.folder, schema_of(polygons=False))) == []
        text = (recipe.folder / "README.md").read_text(encoding="utf-8")
        for name in recipe.schema.columns.keys() - schema_of(polygons=False).columns.keys():
            assert f"`{name}`" in text or f"`{name}." in text, name
