"""What of a catalogue is read, and when: tables of large folders must open at once and stay small."""

import multiprocessing
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord
from astropy.units import deg

import skyshards
from skyshards.errors import FolderError, UsageError
from skyshards.format import catalog
from skyshards.format.arrow_arrays import is_null, numbers, texts, values
from skyshards.format.healpix import in_cone, near_cone, pixel_of
from skyshards.pipeline.build import build
from skyshards.read import query
from tests.contract import assert_same
from tests.toy import Toy

ROWS, GROUP = 40, 7


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A dataset with a catalogue of one row group."""
    folder = tmp_path_factory.mktemp("columns") / "toy"
    build(Toy(ROWS), folder, workers=0)
    return folder


@pytest.fixture(scope="module")
def cut(whole, tmp_path_factory):
    """The same, with row groups of a few rows."""
    folder = shutil.copytree(whole, tmp_path_factory.mktemp("cut") / "toy")
    table, manifest = catalog.open_folder(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "GROUP_ROWS", GROUP)
        catalog.write(folder, manifest, table)
    assert pq.read_metadata(folder / catalog.CATALOG).num_row_groups == -(-ROWS // GROUP)
    return folder


def read_columns(table):
    """How many row groups of which columns have been read."""
    columns = table._data.columns._columns
    return {name: int(column.read.sum()) for name, column in columns.items() if column.read.any()}


def rewrite(folder, change):
    """Write a catalogue with another table."""
    table = pq.read_table(folder / catalog.CATALOG)
    pq.write_table(change(table), folder / "new", row_group_size=GROUP)
    os.replace(folder / "new", folder / catalog.CATALOG)


def assert_equal(found, expected):
    """Two catalogues are equal, NaN being equal to NaN."""
    assert found.schema.equals(expected.schema, check_metadata=True)
    assert repr(found.to_pylist()) == repr(expected.to_pylist())


def test_rows_are_the_same_whatever_was_read_before(whole, cut):
    expected, table = skyshards.open(whole), skyshards.open(cut)
    for rows in ([3], [39, 3, 3, 14], [], slice(None), [0, 20]):
        assert_same(table[rows], expected[rows])
        assert_equal(table.select(rows).catalog, expected.catalog.take(np.arange(ROWS)[rows]))
    assert_equal(table._data.rows, catalog.open_folder(whole)[0])


def test_opening_reads_no_column_and_one_row_one_group(cut):
    table = skyshards.open(cut)
    assert read_columns(table) == {}
    table.select_columns(["votes.mask", "object_id"])[GROUP]
    places = ["_shard", "_row", "_start:votes.mask", "_size:votes.mask", "_crc32:votes.mask"]
    assert read_columns(table) == dict.fromkeys(["object_id", *places], 1)


def test_a_batch_of_small_values_starts_no_thread(cut):
    table = skyshards.open(cut, threads=2).select_columns(["ra", "count"])
    assert [len(batch["ra"]) for batch in table.batches([[3, -1, 5], []])] == [3, 0]
    assert table._data.reader._opened is None
    assert table[[-1]]["ra"] == table[np.array([ROWS - 1], np.uint64)]["ra"]


def test_columns_are_forgotten_and_read_again(cut):
    table = skyshards.open(cut).select_columns(["ra", "object_id"])
    first = table[:GROUP]
    table._data.columns.forget_before(GROUP - 1)
    assert read_columns(table) == {"ra": 1, "object_id": 1}
    table._data.columns.forget_before(GROUP)
    assert read_columns(table) == {}
    assert_same(table[:GROUP], first)


def test_conditions_read_the_columns_that_they_name(cut):
    table = skyshards.open(cut)
    table.where("count > 0 and dec > -90").where("dec > -30")
    assert set(read_columns(table)) == {"count", "dec"}
    fresh = skyshards.open(cut)
    fresh.folds(range(5))
    assert set(read_columns(fresh)) == {"fold"}


def test_a_cone_reads_only_row_groups_that_overlap(cut):
    table = skyshards.open(cut)
    ra, dec = (float(table[12][name]) for name in ("ra", "dec"))
    assert len(table.cone(ra, dec, 0.01)) > 0
    fresh = skyshards.open(cut)
    fresh.cone(ra, dec, 0.01)
    assert set(read_columns(fresh)) == {"_shard", "ra", "dec"}
    assert max(read_columns(fresh).values()) < -(-ROWS // GROUP)


@pytest.mark.parametrize("order", ["as built", "reversed"])
def test_cones_do_not_depend_on_the_order_of_rows(cut, tmp_path, order):
    folder = shutil.copytree(cut, tmp_path / "toy")
    if order == "reversed":
        rewrite(folder, lambda table: table.take(np.arange(ROWS)[::-1]))
    table = skyshards.open(folder)
    places = SkyCoord(table.catalog["ra"] * deg, table.catalog["dec"] * deg)
    some = np.random.default_rng(0).permutation(ROWS)[:20]
    for ra, dec, radius in ((12.5, 45.0, 1.0), (0.0, 90.0, 70.0), (200.0, -30.0, 150.0), (3.0, 0.0, 180.0)):
        inside = places.separation(SkyCoord(ra * deg, dec * deg)).deg <= radius
        assert table.cone(ra, dec, radius)._index.tolist() == np.flatnonzero(inside).tolist()
        assert table.select(some).cone(ra, dec, radius)._index.tolist() == some[inside[some]].tolist()


def test_the_pixels_near_a_cone_have_all_positions_in_it():
    random = np.random.default_rng(0)
    ra, dec = random.uniform(0, 360, 20_000), np.degrees(np.arcsin(random.uniform(-1, 1, 20_000)))
    places = [((10, 90), 3.0), ((300, -50), 0.5), ((77, 3), 91.0), ((0, -90), 180.0)]
    # where healpy leaves out pixels, depending on its version and options
    places += [((0, 0), 142.0), ((0, -90), 60.0), ((0, -41.8103148957786), 110.0), ((45, 0), 10.0), ((0, 90), 1.0)]
    for nside in (1, 2, 4, 16):
        pixels = pixel_of(ra, dec, nside)
        for centre, radius in places:
            inside = in_cone(ra, dec, centre, radius)
            assert set(pixels[inside].tolist()).issubset(near_cone(centre, radius, nside).tolist())


def test_a_table_reads_the_catalogue_that_it_opened(cut, whole, tmp_path):
    folder = shutil.copytree(cut, tmp_path / "toy")
    table = skyshards.open(folder)
    rewrite(folder, lambda table: table.slice(0, 3))
    assert_same(table[:], skyshards.open(whole)[:])
    assert len(skyshards.open(folder)) == 3


def test_a_catalogue_cut_short_after_it_was_opened_is_an_error(cut, tmp_path):
    folder = shutil.copytree(cut, tmp_path / "toy")
    table = skyshards.open(folder)
    os.truncate(folder / catalog.CATALOG, 100)
    with pytest.raises(FolderError, match="catalog.parquet cannot be read"):
        table[0]


def test_texts_longer_than_declared_are_refused(cut, tmp_path):
    """The table makes NumPy arrays of their declared length."""
    folder = shutil.copytree(cut, tmp_path / "toy")

    def longer(table):
        names = ["x" * 5_000, *table["object_id"].to_pylist()[1:]]
        return table.set_column(0, table.schema.field("object_id"), pa.array(names))

    assert pq.read_schema(folder / catalog.CATALOG).names[0] == "object_id"
    rewrite(folder, longer)
    with pytest.raises(FolderError, match="'object_id' has longer texts than it declares"):
        skyshards.open(folder)[0]


def test_forked_processes_share_numbers(cut):
    table = skyshards.open(cut)
    process = multiprocessing.get_context("fork").Process(target=table._data.columns.array, args=("ra",))
    process.start()
    process.join()
    assert process.exitcode == 0 and "ra" not in read_columns(table)
    np.testing.assert_array_equal(table._data.columns._columns["ra"].values, table.catalog["ra"].to_numpy())


def without_skipping(table, condition):
    return np.flatnonzero(query.matching(condition, table._askable, table._asked)).tolist()


CONDITIONS = [
    "dec > 0",
    "dec > 100",
    "healpix < 1000 and ra > 90",
    "_split == 'train' and object_id < 'toy-2'",
    "_shard != 'x'",
    "not flux > 1",
    "barred or dec < -20",
]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_finds_the_same_rows_whatever_was_read(cut, condition):
    table = skyshards.open(cut)
    wanted = without_skipping(skyshards.open(cut), condition)
    some = np.random.default_rng(0).permutation(ROWS)[:20]
    assert table.where(condition)._index.tolist() == wanted
    assert table.select(some).where(condition)._index.tolist() == [row for row in some.tolist() if row in wanted]
    assert table.where(condition)._index.tolist() == wanted
    assert table.catalog.num_rows == ROWS
    assert table.where(condition)._index.tolist() == wanted


def test_row_groups_without_a_match_are_not_read(cut):
    table = skyshards.open(cut)
    pixel = int(table[ROWS // 2]["healpix"])
    fresh = skyshards.open(cut)
    assert len(fresh.where(f"healpix == {pixel} and dec > -91")) > 0
    assert set(read_columns(fresh)) == {"healpix", "dec"}
    assert max(read_columns(fresh).values()) < -(-ROWS // GROUP)


@pytest.mark.parametrize(
    ("condition", "error"),
    [("dec > 100 and nothing > 0", KeyError), ("dec > 100 and object_id > 3", UsageError), ("dec > ", UsageError)],
)
def test_what_is_no_condition_is_an_error_though_nothing_is_read(cut, condition, error):
    with pytest.raises(error):
        skyshards.open(cut).where(condition)


@pytest.mark.slow
def test_opening_a_row_a_cone_and_a_condition_import_no_pandas(cut):
    code = "import sys, skyshards\nt = skyshards.open(sys.argv[1])\nt[0], t.cone(1, 2, 3)\n"
    code += "t.where('dec > 0 and _split == \"train\"').where('flux < 1 or barred')\nprint('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(cut)], capture_output=True, text=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float32", "float64"])
def test_arrays_survive_arrow(dtype):
    array, lacking = (np.arange(19) % 5).astype(dtype), np.arange(19) % 3 == 0
    arrow = numbers(array, lacking)
    arrow.validate(full=True)
    assert arrow.equals(pa.array(array, mask=lacking))
    part = arrow.slice(3, 11)
    np.testing.assert_array_equal(is_null(part), lacking[3:14])
    np.testing.assert_array_equal(values(part), array[3:14])
    lists = numbers(array[:18].reshape(6, 3), kind=pa.list_(arrow.type, 3))
    lists.validate(full=True)
    assert lists.to_pylist() == array[:18].reshape(6, 3).tolist() and not is_null(lists).any()
    assert len(values(numbers(array[:0]))) == 0


def test_texts_survive_arrow():
    assert texts(["a", "", "é"]).equals(pa.array(["a", "", "é"])) and len(texts([])) == 0
