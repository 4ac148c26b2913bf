"""Joins: the pairs that astropy finds, the values that each table gives, and all that a table can do."""

import pickle
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

import skyshards
from skyshards.errors import FolderError, UsageError
from skyshards.format import healpix
from skyshards.format.columns import flatten
from skyshards.join import chained
from skyshards.matching.crossmatch import crossmatch
from skyshards.read.joined import JoinedTable
from tests.contract import assert_same
from tests.sky_folder import build_sky
from tests.test_crossmatch import arrow, moved, sphere

EDGES = [(0.0, 0.0), (359.99995, 1e-5), (45.0, 0.0), (12.0, 90.0), (200.0, 89.9999), (77.0, -90.0), (90.0, 41.8103)]
"""Right ascension 0, the poles, and where pixels of any nside meet."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three datasets of one sky, with other pixels, other orders, and rows that the others lack."""
    ra, dec = sphere(33, 1)
    ra, dec = np.append(ra, [place[0] for place in EDGES]), np.append(dec, [place[1] for place in EDGES])
    parent = tmp_path_factory.mktemp("joined")
    near = moved(ra, dec, np.random.default_rng(2).uniform(0, 1.6, len(ra)), 3)
    again = moved(ra, dec, np.random.default_rng(4).uniform(0, 1.2, len(ra)), 5)
    return [
        build_sky(parent / "first", ra, dec, 16),
        build_sky(parent / "second", *near, 64),
        build_sky(parent / "third", *(np.append(again[n], again[n][:20]) for n in (0, 1)), 1),
    ]


@pytest.fixture
def tables(folders):
    return [skyshards.open(folder) for folder in folders]


NAMES = ("first", "second", "third")


def join(*tables, **options):
    return skyshards.join(*tables, names=NAMES[: len(tables)], **options)


def coordinates(table):
    return SkyCoord(table.catalog["ra"].to_numpy(), table.catalog["dec"].to_numpy(), unit="deg")


def pairs_of(table):
    """The names of the joined rows, "" for none."""
    names = [name for name in NAMES if f"{name}.object_id" in table.column_names]
    columns = [table.catalog[f"{name}.object_id"].to_pylist() for name in names]
    return [tuple(name or "" for name in row) for row in zip(*columns, strict=True)]


def names(table):
    return table.catalog["object_id"].to_pylist()


def test_has_the_pairs_that_astropy_finds_nearest(tables):
    first, second, _ = tables
    nearest, apart, _ = coordinates(first).match_to_catalog_sky(coordinates(second))
    near = apart.arcsec <= 1.0
    wanted = [(names(first)[row], names(second)[nearest[row]]) for row in np.flatnonzero(near)]
    found = join(first, second)
    assert 10 < len(wanted) < len(first) and pairs_of(found) == wanted
    np.testing.assert_allclose(found.catalog["separation"], apart.arcsec[near], atol=1e-7)


def test_has_all_pairs_that_astropy_finds(tables):
    first, _, third = tables
    rows_third, rows_first, apart, _ = coordinates(first).search_around_sky(coordinates(third), 1 * units.arcsec)[:4]
    wanted = sorted(zip(rows_first.tolist(), rows_third.tolist(), apart.arcsec.tolist(), strict=True))
    found = join(first, third, match="all")
    other = [name.replace("second", "third") for name in names(third)]
    assert pairs_of(skyshards.join(first, third, match="all", names=("first", "third"))) == [
        (names(first)[a], other[b]) for a, b, _ in wanted
    ]
    assert len(wanted) > len(join(first, third))  # some rows of the third are twice there
    np.testing.assert_allclose(found.catalog["separation"], [apart for _, _, apart in wanted], atol=1e-7)


def test_finds_pairs_across_the_borders_of_pixels(tables):
    first, second, _ = tables
    joined = join(first, second)
    sides = [joined.catalog[f"{name}.{axis}"].to_numpy() for name in NAMES[:2] for axis in ("ra", "dec")]
    fine = [healpix.pixel_of(*side, 1 << 14) for side in (sides[:2], sides[2:])]
    assert (fine[0] != fine[1]).any()  # else this would show nothing


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.floats(0, 360), st.floats(-90, 90)) | st.sampled_from(EDGES), min_size=2, max_size=24),
    st.floats(0.5, 7200),
    st.integers(0, 2**32 - 1),
)
def test_all_pairs_anywhere(places, radius, seed):
    ra, dec = np.array(places).T
    other = moved(ra, dec, np.random.default_rng(seed).uniform(0, 2 * radius, len(ra)), seed)
    a, b = SkyCoord(ra, dec, unit="deg"), SkyCoord(*other, unit="deg")
    apart = a[:, None].separation(b[None, :]).arcsec
    found = crossmatch(arrow(ra, dec), arrow(*other), radius, match="all")
    rows = found["row_a"].to_numpy(), found["row_b"].to_numpy()
    pairs = list(zip(*rows, strict=True))
    assert pairs == sorted(pairs) and len(set(pairs)) == len(pairs)
    inside = np.zeros(apart.shape, bool)
    inside[rows] = True
    sure = np.abs(apart - radius) > 1e-5
    assert (inside == (apart < radius))[sure].all()
    np.testing.assert_allclose(found["separation"], apart[rows], atol=1e-5)


@settings(max_examples=50)
@given(
    st.integers(0, 6),
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=8), min_size=1, max_size=3),
    st.booleans(),
)
def test_three_tables_give_all_combinations(length, matches, left):
    matches = [sorted((a, b) for a, b in pairs if a < length) for pairs in matches]
    wanted = [(row,) for row in range(length)]
    for pairs in matches:
        mates = {row: [b for a, b in pairs if a == row] or ([-1] if left else []) for row in range(length)}
        wanted = [(*row, mate) for row in wanted for mate in mates[row[0]]]
    arrays = [(*np.array(pairs, int).reshape(-1, 2).T, np.arange(len(pairs), dtype=float)) for pairs in matches]
    rows, apart = chained(length, arrays, left)
    assert list(zip(*(values.tolist() for values in rows), strict=True)) == wanted
    for values, mates in zip(apart, rows[1:], strict=True):
        np.testing.assert_array_equal(np.isnan(values), mates < 0)


def assert_rows(joined, batch, positions, tables):
    """A batch has what the tables themselves give for the names that the catalogue has."""
    for name, table in zip(NAMES, tables, strict=False):
        ids = joined.catalog[f"{name}.object_id"].take(pa.array(positions)).to_pylist()
        wanted = table.find(ids)[:]
        assert_same(batch[name], wanted, name)


def test_batches_and_rows_are_those_of_the_tables(tables):
    joined = join(*tables, match="all")
    positions = [3, 0, -1, 3, 7]
    batch = joined[positions]
    assert_rows(joined, batch, [position % len(joined) for position in positions], tables)
    assert set(batch) == {*NAMES, "separation"} and set(batch["separation"]) == {"second", "third"}
    np.testing.assert_array_equal(
        batch["separation"]["third"], joined.catalog["separation.third"].to_numpy()[positions]
    )
    whole = joined[:]
    for number, row in enumerate(joined):
        assert_same(flatten(row), {path: values[number] for path, values in flatten(whole).items()})


def test_keys_are_those_of_a_table(tables):
    joined = join(*tables[:2]).columns(["first.object_id"])
    everything = joined[:]["first"]["object_id"]
    mask = np.arange(len(joined)) % 3 == 0
    assert (joined[mask]["first"]["object_id"] == everything[mask]).all()
    assert (joined[-4:]["first"]["object_id"] == everything[-4:]).all()
    with pytest.raises(IndexError, match="out of range"):
        joined[len(joined)]


def test_columns_read_nothing_else(tables, monkeypatch):
    joined = join(*tables[:2])
    few = joined.columns(["second.votes", "first.picture", "separation"])
    votes = ("second.votes.names", "second.votes.fraction", "second.votes.mask")
    assert few.column_names == ["first.picture", *votes, "separation"]
    assert few.row_nbytes < joined.row_nbytes
    only = joined.columns(["separation", "first.ra"])
    for table in only._matches.parts.values():
        monkeypatch.setattr(type(table._data.reader.store), "read", None)
    assert set(flatten(only[:5])) == {"separation", "first.ra"}
    with pytest.raises(KeyError, match=r"no column 'first\.nothing'; available: first\.object_id, "):
        joined.columns(["first.nothing"])


def test_joins_the_rows_and_columns_of_selections(tables):
    first, second, _ = tables
    everything = join(first, second)
    few = first.select(slice(None, None, -2)).columns(["object_id", "noise"])
    joined = join(few, second.columns(["object_id", "flux"]))
    assert joined.column_names == ["first.object_id", "first.noise", "second.object_id", "second.flux", "separation"]
    kept = set(names(few))
    assert pairs_of(joined) == [pair for pair in pairs_of(everything) if pair[0] in kept][::-1]
    assert_same(joined[0]["first"]["noise"], first.find(pairs_of(joined)[0][0]).columns(["noise"])[0]["noise"])


def test_selections(tables):
    joined = join(*tables)
    catalog = joined.catalog
    bright = joined.where("first.flux > 0 and `third.count` < 100 and separation.second < 0.9")
    keep = (
        (catalog["first.flux"].to_numpy() > 0)
        & (catalog["third.count"].to_numpy() < 100)
        & (catalog["separation.second"].to_numpy() < 0.9)
    )
    assert 0 < len(bright) < len(joined) and pairs_of(bright) == [pairs_of(joined)[n] for n in np.flatnonzero(keep)]
    by_arrow = joined.where((pc.field("first.flux") > 0) & (pc.field("third.count") < 100)
                            & (pc.field("separation.second") < 0.9))  # fmt: skip
    assert pairs_of(by_arrow) == pairs_of(bright)
    assert pairs_of(joined.where("first.votes.fraction[1] > 0.5 and first._split == 'train'"))
    name = pairs_of(joined)[4]
    assert pairs_of(joined.find(name[0])) == pairs_of(joined.find([name[2]], by="third.object_id")) == [name]
    with pytest.raises(KeyError, match=r"no row has first.object_id 'nobody'"):
        joined.find("nobody")
    with pytest.raises(
        KeyError, match=r"no column 'flux' \(similar: first.flux, second.flux, third.flux\); available: first.object_id"
    ):
        joined.where("flux > 0")
    place = joined.select([6]).columns(["first.ra", "first.dec"])[0]["first"]
    assert pairs_of(joined)[6] in pairs_of(joined.cone(place["ra"], place["dec"], 1e-6))
    assert len(joined.cone(SkyCoord(0, 90, unit="deg"), 180 * units.deg)) == len(joined)
    assert pairs_of(joined.select([2, 0])) == [pairs_of(joined)[2], pairs_of(joined)[0]]
    assert joined.splits == ("train", "test")


def test_catalog_says_units_and_places(tables):
    joined = join(*tables[:2])
    catalog = joined.catalog
    assert catalog.schema.field("first.flux").metadata[b"unit"] == b"uJy"
    assert catalog.schema.field("separation").metadata[b"unit"] == b"arcsec"
    assert set(catalog.column_names) >= {"first._split", "second._shard", "second._row", "separation"}
    assert "second.picture: image file" in repr(joined) and repr(joined).startswith("Join of first, second: ")
    assert joined.select([1, 0]).catalog.equals(catalog.take([1, 0]))


def test_left_join_keeps_every_row_in_order(tables):
    first, second, third = tables
    joined = join(first, second, third, how="left")
    assert [row[0] for row in pairs_of(joined)] == names(first)
    inner = [row[:2] for row in pairs_of(join(first, second))]
    matched = joined.catalog["matched.second"].to_numpy()
    assert [row[:2] for row in pairs_of(joined) if row[1]] == inner and matched.sum() == len(inner)
    assert 0 < matched.sum() < len(first)
    np.testing.assert_array_equal(np.isnan(joined.catalog["separation.second"]), ~matched)
    assert joined.catalog["second.count"].null_count == (~matched).sum()


@pytest.mark.parametrize("key", [slice(None), "matched", "unmatched"])
def test_values_that_are_missing(tables, key):
    first, second, _ = tables
    joined = join(first, second, how="left")
    matched = joined.catalog["matched"].to_numpy()
    keys = {"matched": matched, "unmatched": ~matched}
    positions = np.arange(len(joined))[keys[key] if isinstance(key, str) else key]
    batch, there = flatten(joined[positions]), matched[positions]
    assert (batch["matched"] == there).all()
    real = (
        flatten(second.find([row[1] for row in pairs_of(joined.select(positions)) if row[1]])[:]) if there.any() else {}
    )
    blanks = {"second.object_id": "", "second.count": -1, "second.barred": False, "second.label": -1,
              "second.flux": np.nan, "second.noise": np.nan, "second.votes.mask": 0, "second.picture": 0,
              "second.votes.names": "", "second.votes.fraction": np.nan, "separation": np.nan}  # fmt: skip
    for path, blank in blanks.items():
        values = batch[path]
        assert len(values) == len(positions)
        np.testing.assert_array_equal(values[~there], np.full_like(values[~there], blank), err_msg=path)
        if there.any() and path != "separation":
            assert_same(values[there], real[path.removeprefix("second.")], path)
    assert batch["second.picture"].shape[1:] == (6, 7, 3) and batch["second.noise"].dtype == np.float32
    for number in positions[:4].tolist():
        assert_same(joined[number], joined.__getitems__([number])[0])


def test_undecoded_images_that_are_missing_are_no_bytes(folders):
    first, second = (skyshards.open(folder, decode=False) for folder in folders[:2])
    joined = join(first, second, how="left").columns(["second.picture", "matched"])
    batch = joined[:]
    assert [len(content) > 0 for content in batch["second"]["picture"]] == batch["matched"].tolist()


def test_conditions_on_what_is_missing_are_false(tables):
    joined = join(*tables[:2], how="left")
    assert len(joined.where("second.count < 1000")) == joined.catalog["matched"].to_numpy().sum()
    assert len(joined.where("not second.count > 1000 or second.object_id == ''")) == len(join(*tables[:2]))
    assert len(joined.where(pc.field("second.count") < 1000)) == len(join(*tables[:2]))
    assert len(joined.where("not matched")) == len(joined) - len(join(*tables[:2]))
    assert len(joined.where(pc.field("second.count").is_null())) == len(joined.where("not matched"))
    with pytest.raises(KeyError, match="no row has second.object_id ''"):
        joined.find("", by="second.object_id")


def test_joins_with_nothing(tables):
    first, second, _ = tables
    nothing = second.select([])
    assert len(join(first, nothing)) == 0 and len(join(nothing, first, how="left")) == 0
    assert len(join(first, nothing)[:]["separation"]) == 0
    joined = join(first, nothing, how="left")
    assert not joined[:3]["matched"].any() and len(joined.where("second.barred")) == 0
    assert joined[:3]["second"]["noise"].shape == (3, 12, 12)


def test_by_name(tables):
    first, second, _ = tables
    joined = join(first, second, on="source")
    assert pairs_of(joined) == [
        (a, b)
        for a, of_a in zip(names(first), first.catalog["source"].to_pylist(), strict=True)
        for b, of_b in zip(names(second), second.catalog["source"].to_pylist(), strict=True)
        if of_a == of_b
    ]
    apart = coordinates(first.find([a for a, _ in pairs_of(joined)])).separation(
        coordinates(second.find([b for _, b in pairs_of(joined)]))
    )
    np.testing.assert_allclose(joined.catalog["separation"], apart.arcsec, rtol=1e-9, atol=1e-6)
    assert pairs_of(join(first, second, on=("source", "source"))) == pairs_of(joined)


def test_a_table_with_itself(tables):
    first = tables[0]
    joined = skyshards.join(first, first, names=("one", "other"), radius_arcsec=0.01 * units.arcsec)
    batch = joined[:]
    assert len(joined) == len(first) and (batch["separation"] == 0).all()
    assert_same(batch["one"], batch["other"])


def test_says_what_cannot_be_joined(tables):
    first, second, third = tables
    for arguments, options, words in [
        ((first, second), {}, r"two tables have the same name \(sky, sky\); name them, as in names="),
        ((first, second), {"names": ("a",)}, "names: expected one for each of 2 tables"),
        ((first, second), {"names": ("a", "separation")}, "'separation' is not a valid name for a table"),
        ((first, second), {"names": ("a", "b.c")}, "'b.c' is not a valid name for a table"),
        ((first,), {}, "expected two tables or more, found 1"),
        ((first, second, 2.0), {}, "expected tables of built datasets, found float; .* options by name"),
        ((first, second.catalog), {}, "found Table; open a folder"),
        ((first, second), {"how": "outer"}, "how: expected one of inner, left, found 'outer'"),
        ((first, second), {"names": NAMES[:2], "match": "best"}, "match: expected one of nearest, all, found 'best'"),
        ((first, second), {"names": NAMES[:2], "on": "nothing"}, "table first: expected a column 'nothing'"),
        ((first, second, third), {"names": NAMES, "on": ("source", "source")}, "on: expected a column for each of 3"),
        ((first, second), {"names": NAMES[:2], "radius_arcsec": -1}, "radius_arcsec: expected 0 to 648000"),
        ((join(first, second), third), {}, "found JoinedTable; .* pass all tables to one join"),
    ]:
        with pytest.raises(UsageError, match=words):
            skyshards.join(*arguments, **options)


def test_a_pickle_has_the_same_rows_and_minds_another_build(folders, tmp_path):
    second = build_sky(tmp_path / "second", [1.0, 2.0], [3.0, 4.0])
    first = build_sky(tmp_path / "first", [2.0, 1.0], [4.0, 3.0])
    joined = join(skyshards.open(first), skyshards.open(second)).select([1, 0]).columns(["first.noise", "separation"])
    again = pickle.loads(pickle.dumps(joined))
    assert isinstance(again, JoinedTable) and again.column_names == joined.column_names
    assert_same(again[:], joined[:])
    content = pickle.dumps(joined)
    build_sky(second, [1.0, 2.0, 9.0], [3.0, 4.0, 9.0])
    with pytest.raises(FolderError, match="open it again"):
        pickle.loads(content)


def test_batches_are_read_ahead(tables):
    joined = join(*tables[:2], how="left")
    keys = [[0, 5], slice(2, 9), [], [1]]
    for key, batch in zip(keys, joined.batches(keys), strict=True):
        assert_same(batch, joined[key])


def test_batches_are_read_into_the_memory_of_the_caller(tables):
    given = []

    def empty(shape, dtype):
        given.append(np.empty(shape, dtype))
        return given[-1]

    joined = join(*tables[:2], how="left")
    (batch,) = joined.batches([slice(None)], empty=empty)
    assert_same(batch, joined[:])
    for path, values in flatten(batch).items():
        assert values.dtype.kind in "OU" or any(values is array for array in given), path


@pytest.mark.parametrize("workers", [0, 2])
def test_data_loader(tables, workers):
    data = pytest.importorskip("torch.utils.data", reason="the extra `torch` is not installed")
    joined = join(*tables[:2], how="left").columns(["first.object_id", "second.votes", "second.picture", "matched"])
    seen = 0
    for batch in data.DataLoader(joined, batch_size=6, num_workers=workers):
        wanted = joined[seen : seen + len(batch["matched"])]
        seen += len(batch["matched"])
        assert batch["first"]["object_id"] == wanted["first"]["object_id"].tolist()
        for path in ("matched", "second.votes.mask", "second.picture"):
            assert_same(flatten(batch)[path].numpy(), flatten(wanted)[path], path)
    assert seen == len(joined)
    sampler = data.BatchSampler(data.RandomSampler(joined), 8, drop_last=False)
    source = joined.columns(["first.object_id"])
    loader = data.DataLoader(source, sampler=sampler, batch_size=None, num_workers=workers, collate_fn=dict)
    found = [name for batch in loader for name in batch["first"]["object_id"].tolist()]
    assert sorted(found) == sorted(row[0] for row in pairs_of(join(*tables[:2], how="left")))


STATEFUL = """
import pickle, sys
import torch
import torchdata.stateful_dataloader as stateful
import skyshards

first, second, state_file, stop = *sys.argv[1:4], int(sys.argv[4])
joined = skyshards.join(*map(skyshards.open, (first, second)), names=("first", "second"))
torch.manual_seed(5)
sampler = stateful.sampler.BatchSampler(stateful.sampler.RandomSampler(joined), 4, drop_last=False)
source = joined.select_columns(["first.ra", "second.votes.mask", "separation"])
loader = stateful.StatefulDataLoader(source, sampler=sampler, batch_size=None, num_workers=2)
if stop < 0:
    loader.load_state_dict(pickle.load(open(state_file, "rb")))
seen = []
for number, batch in enumerate(loader, 1):
    seen += batch["separation"].tolist()
    if number == stop:
        pickle.dump(loader.state_dict(), open(state_file, "wb"))
        break
print(seen)
"""


def test_stateful_data_loader_resumes_in_a_new_process(folders, tables, tmp_path):
    pytest.importorskip("torchdata", reason="the extra `torch` is not installed")

    def run(steps):
        arguments = [str(folders[0]), str(folders[1]), str(tmp_path / "state"), str(steps)]
        command = [sys.executable, "-c", STATEFUL, *arguments]
        outcome = subprocess.run(command, capture_output=True, text=True, timeout=200)
        assert outcome.returncode == 0, outcome.stderr
        return [float(apart) for apart in outcome.stdout.strip().strip("[]").split(", ")]

    seen = run(3)
    assert len(seen) == 12
    assert sorted(seen + run(-1)) == sorted(join(*tables[:2]).catalog["separation"].to_pylist())
