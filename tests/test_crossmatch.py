"""Crossmatching: equal to astropy's, right at the poles, at right ascension 0 and for odd input."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from astropy.table import Table as AstropyTable
from hypothesis import given, settings
from hypothesis import strategies as st

import skyshards
from skyshards.errors import UsageError
from skyshards.matching import neighbours as nearby
from skyshards.matching import runs, zones
from skyshards.matching.crossmatch import crossmatch

ARCSEC = 1 / 3600


def sphere(count, seed):
    """Positions all over the sky."""
    random = np.random.default_rng(seed)
    return random.uniform(0, 360, count), np.degrees(np.arcsin(random.uniform(-1, 1, count)))


def moved(ra, dec, arcsec, seed):
    """Positions moved by a distance in any direction, and shuffled."""
    random = np.random.default_rng(seed)
    angle = random.uniform(0, 360, len(ra)) * units.deg
    where = SkyCoord(ra, dec, unit="deg").directional_offset_by(angle, arcsec * units.arcsec)
    order = random.permutation(len(ra))
    return where.ra.deg[order], where.dec.deg[order]


def arrow(ra, dec, **columns):
    return pa.table({"ra": np.asarray(ra, float), "dec": np.asarray(dec, float), **columns})


def astropy_pairs(a, b, radius):
    first, second = (SkyCoord(ra, dec, unit="deg") for ra, dec in (a, b))
    nearest, apart, _ = first.match_to_catalog_sky(second)
    near = apart.arcsec <= radius
    return np.flatnonzero(near), nearest[near], apart.arcsec[near]


@pytest.mark.parametrize("radius", [0.5, 1.0, 3.0])
def test_equals_astropy(radius):
    a = sphere(3000, 1)
    b = moved(*a, np.random.default_rng(2).uniform(0, 2, 3000), 3)
    found = crossmatch(arrow(*a), arrow(*b), radius)
    rows_a, rows_b, apart = astropy_pairs(a, b, radius)
    assert len(found) > 0
    np.testing.assert_array_equal(found["row_a"], rows_a)
    np.testing.assert_array_equal(found["row_b"], rows_b)
    np.testing.assert_allclose(found["separation"], apart, atol=1e-7)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0, 360), st.floats(-90, 90)), min_size=2, max_size=30), st.floats(0.1, 7200))
def test_equals_all_pairs(places, radius):
    ra, dec = np.array(places).T
    a, b = SkyCoord(ra[::2], dec[::2], unit="deg"), SkyCoord(ra[1::2], dec[1::2], unit="deg")
    apart = a[:, None].separation(b[None, :]).arcsec
    nearest = apart.min(axis=1)
    found = crossmatch(arrow(ra[::2], dec[::2]), arrow(ra[1::2], dec[1::2]), radius)
    sure_in, sure_out = np.flatnonzero(nearest < radius - 1e-5), np.flatnonzero(nearest > radius + 1e-5)
    rows = found["row_a"].to_numpy()
    assert set(sure_in) <= set(rows) and not set(sure_out) & set(rows)
    np.testing.assert_allclose(found["separation"], nearest[rows], atol=1e-5)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((359.9999, 10.0), (0.0001, 10.0)),  # right ascension 0
        ((0.0, 89.9999), (180.0, 89.9999)),  # across the pole
        ((77.0, -90.0), (200.0, -90.0)),  # at the pole, where right ascension means nothing
        ((45.0, 0.0), (45.0001, 0.0001)),  # a corner of four pixels of nside 1
    ],
)
def test_finds_neighbours_across_borders(a, b):
    found = crossmatch(arrow([a[0]], [a[1]]), arrow([b[0]], [b[1]]), 1.0)
    assert found["row_b"].to_pylist() == [0]


def small_parts(monkeypatch):
    """Sort 20 rows at once, search zones of about 14, and merge about 10 pairs at once."""
    for name, rows in (("RUN", 20), ("ZONE", 14), ("MERGED", 10)):
        monkeypatch.setattr(zones, name, rows)
    monkeypatch.setattr(runs, "STEP", 2)


def vectors(count, seed):
    """Unit vectors: a few places that many rows share, the poles, and rows without a position."""
    random = np.random.default_rng(seed)
    places = random.normal(size=(count, 3))
    places[: count // 2] = places[random.integers(0, 5, count // 2)]
    places[:4] = [[0, 0, 1], [0, 0, -1], [1, 0, 0], [np.nan] * 3]
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    return places[random.permutation(count)]


@pytest.mark.parametrize("radius", [0.0, 1.0, 7200.0, 300_000.0])
@pytest.mark.parametrize("every", [False, True])
def test_zones_make_no_difference(every, radius, tmp_path, monkeypatch):
    small_parts(monkeypatch)
    first, second = vectors(60, 1), vectors(80, 1)
    with ThreadPoolExecutor(2) as executor:
        found = zones.neighbours_far(executor, tmp_path, first, second, radius, every)
    for rows, wanted in zip(found, nearby.neighbours(first, second, radius, every), strict=True):
        np.testing.assert_array_equal(rows, wanted)
    assert not list(tmp_path.iterdir())


def test_the_first_of_equal_rows():
    same = arrow([5.0] * 40, [5.0] * 40)
    assert crossmatch(same, same)["row_b"].to_pylist() == [0] * 40


def test_edge_is_included():
    found = crossmatch(arrow([10.0], [0.0]), arrow([10.0], [1.0]), 3600.0)
    assert found["separation"].to_numpy() == pytest.approx(3600.0, abs=1e-9)
    assert len(crossmatch(arrow([10.0], [0.0]), arrow([10.0], [1.0]), 3599.999)) == 0
    assert crossmatch(arrow([10.0], [20.0]), arrow([10.0], [20.0]), 0.0)["separation"].to_pylist() == [0.0]


def test_takes_tables_of_all_kinds(built_gz3d):
    table = skyshards.open(built_gz3d)
    catalog = table.catalog
    ra, dec = catalog["ra"].to_numpy(), catalog["dec"].to_numpy()
    big_endian = AstropyTable(
        {"ra": ra.astype(">f8"), "dec": dec.astype(">f8"), "iauname": np.array(catalog["iauname"])}
    )
    for other in (table, catalog, big_endian, {"ra": ra, "dec": dec}):
        found = crossmatch(table, other, 0.1)
        # Two plates may hold the same galaxy: then the nearest is at 0 all the same.
        assert len(found) == len(table) and found["separation"].to_numpy().max() < 1e-6
        assert found["id_a"].to_pylist() == catalog["object_id"].to_pylist()
    assert found["id_b"].to_pylist() == found["row_b"].to_pylist()  # without a name, the number


def test_selection_counts_its_own_rows(built_gz3d):
    table = skyshards.open(built_gz3d)
    few = table.select([3, 1])
    found = crossmatch(few, few, 0.1)
    assert found["row_a"].to_pylist() == [0, 1]
    assert found["id_a"].to_pylist() == few.catalog["object_id"].to_pylist()


def test_rows_without_position_match_nothing():
    a = pa.table({"ra": pa.array([1.0, None, 3.0, -999]), "dec": pa.array([1.0, 2.0, float("nan"), -999])})
    assert crossmatch(a, a)["row_a"].to_pylist() == [0]
    nothing = arrow([], [])
    assert len(crossmatch(nothing, a)) == len(crossmatch(a, nothing)) == len(crossmatch(nothing, nothing)) == 0


def test_by_name_gives_all_pairs():
    a = arrow([0, 0, 0], [0, 0, 0], iauname=["x", "y", None])
    b = arrow([0, 0, 0, 0], [1, 0, 2, 3], name=["y", "x", "y", None])
    found = crossmatch(a, b, on=("iauname", "name"))
    assert list(zip(found["row_a"].to_pylist(), found["row_b"].to_pylist(), strict=True)) == [(0, 1), (1, 0), (1, 2)]
    np.testing.assert_allclose(found["separation"], [0, 3600, 7200], atol=1e-6)


def test_by_name_needs_no_position_and_minds_no_type():
    a = pa.table({"id_str": ["588018090547020096", "x"]})
    b = pa.table({"dr7objid": [1, 588018090547020096]})
    found = crossmatch(a, b, on=("id_str", "dr7objid"))
    assert found["row_b"].to_pylist() == [1] and np.isnan(found["separation"].to_numpy()).all()


def test_says_what_is_missing():
    with pytest.raises(UsageError, match=r"table a: expected a column 'dec', found ra; .*position_a=\("):
        crossmatch(pa.table({"ra": [1.0]}), arrow([1], [1]))
    with pytest.raises(UsageError, match=r"table a: expected a column 'name', found ra, dec; .*on=\("):
        crossmatch(arrow([1], [1]), arrow([1], [1]), on=("name", "ra"))
    with pytest.raises(UsageError, match="radius"):
        crossmatch(arrow([1], [1]), arrow([1], [1]), -1.0)
    with pytest.raises(UsageError, match="radius_arcsec: expected an angle, found 1.0 km"):
        crossmatch(arrow([1], [1]), arrow([1], [1]), 1 * units.km)
    with pytest.raises(UsageError, match="position_b: expected two columns, ra and dec, found 'ra'"):
        crossmatch(arrow([1], [1]), arrow([1], [1]), position_b="ra")
    wrong = AstropyTable({"ra": [1.0] * units.km, "dec": [1.0] * units.deg})
    with pytest.raises(UsageError, match="table b, column 'ra': expected an angle, found 1.0 km"):
        crossmatch(arrow([1], [1]), wrong)


@pytest.mark.parametrize("radius", ["1 arcmin", None, [1.0]])
def test_radius_is_a_number_or_quantity(radius):
    a = arrow([1.0], [1.0])
    with pytest.raises(UsageError, match="radius_arcsec: expected 0 to 648000"):
        crossmatch(a, a, radius)


def test_a_folder_is_to_be_opened_first():
    a = arrow([1.0], [1.0])
    with pytest.raises(UsageError, match=r"table b: expected a table.*'data/gz3d'; open .* with skyshards\.open"):
        crossmatch(a, "data/gz3d")


def test_radius_is_in_arcsec_or_has_its_unit():
    a, b = arrow([10.0], [0.0]), arrow([10.0], [1.0])
    for radius in (3600.1, 1.001 * units.deg, 60.1 * units.arcmin):
        assert len(crossmatch(a, b, radius)) == 1
    for radius in (3599.9, 0.999 * units.deg, 3599.9 * units.arcsec):
        assert len(crossmatch(a, b, radius)) == 0


@pytest.mark.parametrize("kind", [AstropyTable, QTable])
def test_positions_of_other_names_and_units(kind):
    ra, dec = sphere(50, 1)
    here = arrow(ra, dec)
    there = kind({"RAJ2000": ra / 15 * units.hourangle, "DEJ2000": np.radians(dec) * units.rad})
    found = crossmatch(here, there, position_b=("RAJ2000", "DEJ2000"))
    assert found["row_b"].to_pylist() == list(range(50)) and max(found["separation"].to_pylist()) < 1e-6
    back = crossmatch(there, {"RA": ra, "DEC": dec}, position_a=("RAJ2000", "DEJ2000"), position_b=("RA", "DEC"))
    assert back["row_b"].to_pylist() == list(range(50))


def test_takes_sky_coordinates_of_any_frame():
    ra, dec = sphere(20, 2)
    for coordinates in (SkyCoord(ra, dec, unit="deg"), SkyCoord(ra, dec, unit="deg").galactic):
        for a, b in ((arrow(ra, dec), coordinates), (coordinates, arrow(ra, dec))):
            found = crossmatch(a, b)
            assert found["row_b"].to_pylist() == list(range(20)) and max(found["separation"].to_pylist()) < 1e-6
    assert crossmatch(arrow(ra, dec), SkyCoord(ra[3], dec[3], unit="deg"))["row_a"].to_pylist() == [3]


def test_masked_positions_with_units_match_nothing():
    masked = AstropyTable({"ra": [1.0, 2.0], "dec": [1.0, 2.0]}, units={"ra": "deg", "dec": "deg"}, masked=True)
    masked["ra"].mask[0] = True
    assert crossmatch(masked, arrow([1, 2], [1, 2]))["row_a"].to_pylist() == [1]


def test_by_one_name():
    a, b = arrow([0, 0], [0, 0], iauname=["x", "y"]), pa.table({"iauname": ["y"]})
    assert crossmatch(a, b, on="iauname").select(["row_a", "row_b"]).to_pylist() == [{"row_a": 1, "row_b": 0}]
