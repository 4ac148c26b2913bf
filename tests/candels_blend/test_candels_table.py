"""`Blends` has what a table has: a schema, selections by position, name, fold and condition, a catalogue, a picture."""

import pickle
import shutil

import numpy as np
import pytest

import skyshards
from candels_blend import Blends
from candels_blend.blends import OF_FOLDERS
from candels_blend.build_parent_sample import CandelsBlendRecipe
from candels_blend.candels_blend import schema_of
from candels_blend.download import RELEASE
from candels_blend.sample import Sample
from skyshards.errors import UsageError
from skyshards.pipeline.build import build


@pytest.fixture(scope="module")
def blends(datapath):
    return Blends(datapath, seed=5, length=60, method="bogg_masks")


@pytest.fixture(scope="module")
def triples(datapath):
    return Blends(datapath, seed=5, length=60, method="single_images", n_galaxies=3, cut="radius > 3")


def test_where_selects_rows_by_their_catalogue(blends):
    near = blends.where("distance < 20 and mag[0] < 24")
    expected = [i for i, row in enumerate(blends) if row["distance"] < 20 and row["mag"][0] < 24]
    assert 0 < len(near) < 60 and [row["object_id"] for row in near] == [blends[i]["object_id"] for i in expected]
    assert len(near.where("distance < 10")) == sum(row["distance"] < 10 for row in near)


def test_select_and_find(blends):
    names = ["s5-train-000007", "s5-train-000003"]
    for some in (blends.select([7, 3]), blends.find(names)):
        assert some[:]["object_id"].tolist() == names
        assert np.array_equal(some[-1]["image"], blends[3]["image"])
    assert blends.select([7, 3]).select_columns(["flux"]).column_names == ["flux"]
    with pytest.raises(IndexError):
        blends.select([60])
    with pytest.raises(KeyError, match="s5-train-000060"):
        blends.find("s5-train-000060")


def test_folds_are_those_of_rows(blends):
    for fold in range(10):
        assert len(blends.folds(fold)) == (blends[:]["fold"] == fold).sum()


def test_schema_is_that_of_a_built_dataset(blends, triples):
    assert list(blends.schema) == blends.column_names == list(schema_of("bogg_masks").specs)
    assert blends.schema["mag"].unit == "mag" and blends.schema["masks"].shape == (2, 128, 128)
    assert triples.schema["shift"].shape == (4,) and triples.schema["galaxies"].shape == (3, 128, 128)
    for some in (blends, triples):
        for name, value in some[0].items():
            info = some.schema[name]
            assert value.shape == info.shape and (info.dtype == "str" or value.dtype == info.dtype), name


def test_catalog_has_all_columns_but_pixels(triples):
    catalog, rows = triples.catalog, triples[:]
    assert set(triples.column_names) - set(catalog.column_names) == {"image", "masks", "galaxies"}
    for name in catalog.column_names:
        assert catalog[name].to_pylist() == rows[name].tolist(), name


def test_splits_and_size(blends):
    assert blends.splits == ("train", "test")
    assert blends.select_columns(["image", "flux"]).row_nbytes == 4 * 128 * 128 + 16


def test_repr_names_the_options_and_columns(datapath, blends, triples):
    assert repr(blends).startswith(f"Blends(datapath={datapath!r}, seed=5, length=60, method='bogg_masks'): 60 rows\n")
    assert "n_galaxies=3" in repr(triples) and "cut='radius > 3'" in repr(triples)
    assert "  mag: float64 [3] (mag)" in repr(triples)
    assert repr(Blends(datapath)).splitlines()[0].endswith("): endless")


def test_selections_survive_a_pickle(triples):
    some = triples.where("distance[0] < 30").select_columns(["galaxies", "distance"])
    again = pickle.loads(pickle.dumps(some))
    assert len(again) == len(some) > 0
    assert np.array_equal(again[0]["galaxies"], some[0]["galaxies"])


def test_batches(blends):
    keys = [[3, 1], slice(0, 3)]
    for key, batch in zip(keys, blends.batches(keys), strict=True):
        assert np.array_equal(batch["image"], blends[key]["image"])


def test_batches_in_memory_of_the_caller(blends):
    given = []

    def empty(shape, dtype):
        given.append(np.empty(shape, dtype))
        return given[-1]

    (batch,) = blends.batches([[3, 1]], empty=empty)
    numbers = [values for values in batch.values() if values.dtype.kind != "U"]
    assert len(numbers) == len(given) and all(any(values is own for own in given) for values in numbers)
    assert np.array_equal(batch["image"], blends[[3, 1]]["image"])


def test_endless_blends_can_be_selected(datapath, blends):
    endless = Blends(datapath, seed=5, method="bogg_masks")
    some = endless.select([7, 3])
    assert len(some) == 2 and np.array_equal(some[0]["image"], blends[7]["image"])
    assert len(list(some)) == 2
    cone = (34.4, -5.2, 1)
    asked = (lambda: endless.where("distance < 20"), lambda: endless.folds(3), lambda: endless.cone(*cone))
    for ask in (*asked, lambda: endless.catalog):
        with pytest.raises(TypeError, match="endless; give length"):
            ask()


def test_each_name_of_a_table_is_settled(blends):
    """Blends have all public names of a table but those of folders alone, and say why these are missing."""

    def names(kind):
        return {name for name in dir(kind) if not name.startswith("_") or name in ("_repr_html_", "__reduce__")}

    assert names(skyshards.Table) - names(Blends) == set(OF_FOLDERS)
    assert names(Blends) - names(skyshards.Table) == {"pair"}
    for name in OF_FOLDERS:
        with pytest.raises(AttributeError, match=f"blends have no `{name}`: ."):
            getattr(blends, name)
    with pytest.raises(AttributeError, match="'Blends' object has no attribute 'sourc'"):
        blends.sourc  # noqa: B018


def test_name_and_source_are_those_of_a_built_dataset(datapath, tmp_path):
    recipe = CandelsBlendRecipe(datapath, 10, Sample(seed=5))
    build(recipe, tmp_path / "built", workers=0)
    for split in ("train", "test"):
        table, blends = skyshards.open(tmp_path / "built", split), Blends(datapath, seed=5, split=split, n_blends=10)
        assert blends.name == table.name and blends.source(-1) == table.source(-1)
        position = table[1]["ra"], table[1]["dec"]
        near = [some.cone(*position, 0.05).catalog["object_id"].to_pylist() for some in (blends, table)]
        assert sorted(near[0]) == sorted(near[1]) and str(table[1]["object_id"]) in near[0]
    with pytest.raises(IndexError, match="row 2 is out of range"):
        blends.source(2)


def test_source_names_the_release_of_stamps_from_zenodo(datapath, tmp_path):
    folder = shutil.copytree(datapath, tmp_path / "stamps")
    (folder / RELEASE).write_text("10.5281/zenodo.2604740")
    assert Blends(folder, length=2).source(1) == ("train", None, None, None, "10.5281/zenodo.2604740")
    assert Blends(datapath, split="test").source(1) == ("test", None, None, None, None)


def test_cone_is_around_central_galaxies(blends, triples):
    from astropy.coordinates import SkyCoord

    for some in (blends, triples.select(range(40, 2, -1))):
        rows = some[:]
        ra, dec = rows["ra"][5], rows["dec"][5]
        centre = SkyCoord(ra, dec, unit="deg")
        near = centre.separation(SkyCoord(rows["ra"], rows["dec"], unit="deg")).deg <= 0.1
        assert 0 < near.sum() < len(some)
        for found in (some.cone(ra, dec, 0.1), some.cone(centre, 0.1)):
            assert found[:]["object_id"].tolist() == rows["object_id"][near].tolist()
    with pytest.raises(UsageError, match="dec from -90 to 90"):
        blends.cone(0, 100, 1)


def test_notebooks_show_blends(datapath, triples):
    """Endless ones by their first."""
    for some in (triples.select([3]), Blends(datapath, n_galaxies=5)):
        html = some._repr_html_()
        assert "data:image" in html and "cannot be drawn" not in html
    assert "endless" in html and "s42-train-000005" in html and "shifted galaxy 5" in html


def test_plot(triples):
    pytest.importorskip("matplotlib")
    figure = triples.plot([0, 3])
    assert "s5-train-000000" in figure.axes[0].get_title() and " and " in figure.axes[0].get_title()


def test_crossmatch_finds_the_same_central_galaxies(blends):
    pairs = skyshards.crossmatch(blends, blends.select([4]), radius_arcsec=0.1)
    same = [i for i, row in enumerate(blends) if row["galaxy_id"][0] == blends[4]["galaxy_id"][0]]
    assert sorted(pairs["row_a"].to_pylist()) == same


# Chosen galaxies


@pytest.fixture(scope="module")
def ids(archive):
    return archive.catalogue["ID"].tolist()


def test_pair_is_a_row_of_the_chosen_galaxies(blends):
    drawn = blends[7]
    ids = drawn["galaxy_id"].tolist()
    row = blends.pair(*ids, shift=tuple(drawn["shift"]))
    for name in set(row) - {"image", "object_id", "source"}:
        assert np.array_equal(row[name], drawn[name]), name
    assert row["object_id"] == f"s5-pair-{ids[0]}-{ids[1]}" and row["source"] == "pair"
    assert not np.array_equal(row["image"], drawn["image"])  # other noise
    assert list(blends.select_columns(["flux"]).pair(*ids)) == ["flux"]


def test_pair_depends_on_its_arguments_alone(blends, ids):
    a, b = ids[3], ids[5]
    one, other = blends.pair(a, b), blends.pair(a, b)
    assert np.array_equal(one["image"], other["image"])
    for differs in (blends.pair(a, b, noise=1), blends.pair(b, a), blends.pair(a, b, shift=(9, -4))):
        assert not np.array_equal(one["image"][:20], differs["image"][:20])
    assert np.array_equal(blends.pair(a, b, shift=(0, 0), noise=1)["shift"], [0, 0])


def test_shift_of_a_pair_is_drawn_by_the_rule(blends, archive, ids):
    radius = dict(zip(archive.catalogue["ID"], archive.catalogue["radius"], strict=True))
    for g1, g2 in ((ids[1], ids[2]), (ids[3], ids[4]), (ids[10], ids[30])):
        lower, upper = max(radius[g1], radius[g2]), min(4 * min(radius[g1], radius[g2]), 64)
        assert min(lower, 0.8 * upper) <= blends.pair(g1, g2)["distance"] <= upper


def test_more_chosen_galaxies(triples, ids):
    row = triples.pair(*ids[1:4], shift=[(5, -9), (40, 0)])
    assert row["galaxy_id"].tolist() == ids[1:4] and row["shift"].tolist() == [5, -9, 40, 0]
    assert row["distance"].tolist() == [np.hypot(5, 9), 40]
    assert np.array_equal(row["galaxies"].sum(axis=0), row["image"])


@pytest.mark.parametrize(
    ("places", "options", "message"),
    [
        ((1,), {}, "expected 2 galaxies, as in these blends .*, found 1"),
        ((1, 2, 3), {}, "expected 2 galaxies"),
        ((1, 2), {"shift": 3}, r"shift: expected \(dy, dx\) of integers from -127 to 127, found 3"),
        ((1, 2), {"shift": (1.5, 2)}, "shift: expected"),
        ((1, 2), {"shift": (128, 0)}, "shift: expected"),
        ((1, 2), {"shift": [(1, 2), (3, 4)]}, "shift: expected"),
        ((1, 2), {"shift": [(1, 2), (3,)]}, "shift: expected"),
        ((1, 2), {"noise": -1}, "noise: expected an integer of at least 0"),
    ],
)
def test_pair_that_cannot_be_made(blends, ids, places, options, message):
    with pytest.raises(UsageError, match=message):
        blends.pair(*[ids[place] for place in places], **options)


@pytest.mark.parametrize("unknown", [999, "a", None, 2.5])
def test_pair_of_an_unknown_galaxy(blends, ids, unknown):
    with pytest.raises(UsageError, match=f"the archive has no galaxy of ID {unknown!r}"):
        blends.pair(ids[1], unknown)


def test_pair_of_an_unusable_stamp_says_why(datapath, tmp_path):
    import pandas as pd

    folder = shutil.copytree(datapath, tmp_path / "data")
    catalogue = pd.read_csv(folder / "candels_cat.csv")
    catalogue.loc[3, "mag"] = 99
    catalogue.to_csv(folder / "candels_cat.csv", index=False)
    with pytest.raises(UsageError, match="ID .* is unusable: no magnitude in the catalogue"):
        Blends(folder).pair(int(catalogue["ID"][3]), int(catalogue["ID"][4]))


def test_no_shift_for_a_pair(datapath, ids):
    with pytest.raises(UsageError, match=f"galaxies {ids[1]} and {ids[2]}: no shift found; give `shift`"):
        Blends(datapath, rad_diff=0.01).pair(*ids[1:3])


def test_blends_that_are_not_masked(datapath, archive, ids):
    plain, masked = (Blends(datapath, seed=5, length=9, masked=masked) for masked in (False, True))
    row = plain.pair(*ids[1:3], shift=(0, 0))
    assert np.array_equal(row["image"], archive.images[1] + archive.images[2])
    assert np.array_equal(plain[:]["galaxy_id"], masked[:]["galaxy_id"])
    assert np.array_equal(plain[:]["masks"], masked[:]["masks"])
    assert np.array_equal(pickle.loads(pickle.dumps(plain))[4]["image"], plain[4]["image"])
