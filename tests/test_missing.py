"""Missing values: a fill value in rows, a null in the catalogue, and the same in every reader."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import astropy.table
import datasets
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.utils.masked import Masked
from hypothesis import given
from hypothesis import strategies as st

import skyshards
from skyshards import Column, Schema, verify
from skyshards.errors import FolderError, SourceError
from skyshards.format import catalog
from skyshards.format.columns import flatten
from skyshards.format.missing import with_nulls, without_nulls
from skyshards.pipeline.build import build
from skyshards.pipeline.encode import encode
from skyshards.pipeline.recipe import Recipe, Source
from tests.contract import Contract
from tests.format_reader import assert_reads
from tests.test_format import with_manifest

NAN = float("nan")
VALUE, SEQUENCE = datasets.Value, datasets.Sequence

SCHEMA = Schema(
    {
        "object_id": Column(VALUE("string"), "name"),
        "ra": Column(VALUE("float64"), "right ascension", "deg"),
        "dec": Column(VALUE("float64"), "declination", "deg"),
        "healpix": Column(VALUE("int64"), "pixel"),
        "z": Column(VALUE("float32"), "redshift", missing=NAN),
        "mag": Column(VALUE("float64"), "magnitude", "mag", missing=-9999),
        "votes": Column(VALUE("int16"), "votes", missing=-1),
        "big": Column(VALUE("uint64"), "a number", missing=2**64 - 1),
        "note": Column(VALUE("string"), "a remark", missing=""),
        "label": Column(datasets.ClassLabel(names=["elliptical", "spiral"]), "a class", missing=-1),
        "shape": {
            "axes": Column(SEQUENCE(VALUE("float32"), length=2), "axes", "arcsec", missing=NAN),
            "words": Column(SEQUENCE(VALUE("string"), length=2), "words", missing="none"),
        },
        "mask": Column(datasets.Array2D((3, 4), "int16"), "a mask", missing=-1),
        "flux": Column(SEQUENCE(VALUE("float32")), "a spectrum", missing=[]),
        "source": Column(VALUE("string"), "source"),
    }
)
FULL = {
    "z": 0.25,
    "mag": 17.5,
    "votes": 40,
    "big": 2**63 + 5,
    "note": "é",
    "label": 1,
    "shape": {"axes": [2.5, 1.5], "words": ["a", "b"]},
    "mask": np.arange(12, dtype=np.int16).reshape(3, 4),
    "flux": [1.0, 2.0],
}
FILLS = {
    "z": NAN,
    "mag": -9999.0,
    "votes": -1,
    "big": 2**64 - 1,
    "note": "",
    "label": -1,
    "shape.axes": [NAN, NAN],
    "shape.words": ["none", "none"],
    "mask": [[-1] * 4] * 3,
    "flux": [],
}
"""By path, the fill values in types of JSON."""
LIGHT = [name for name in FILLS if name not in ("mask", "flux")]


def row(number: int, **values) -> dict:
    return {"object_id": f"galaxy-{number}", "ra": 10.0, "dec": number * 1e-3, **values}


ROWS = [
    row(0, **FULL),
    row(1),
    row(2, **dict.fromkeys(FULL)),
    row(3, **FULL | {"z": NAN, "votes": np.ma.masked, "shape": {"axes": [NAN, 1.0], "words": None}}),
]
"""All there, all lacking by two ways, and some."""


@dataclass(frozen=True)
class Gaps(Recipe):
    rows: tuple = tuple(ROWS)
    schema: Schema = field(default=SCHEMA)

    name = "gaps"

    @property
    def folder(self) -> Path:
        return Path(__file__).parent / "toy_card"

    def sources(self, fetcher):
        for number in range(len(self.rows)):
            yield Source(f"s{number}", info=number)

    def read(self, source, fetched):
        yield self.rows[source.info]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gaps") / "gaps"
    assert build(Gaps(), folder, workers=0).failed == 0
    return folder


@pytest.fixture
def table(folder):
    return skyshards.open(folder)


class TestGaps(Contract):
    """The contract, but for what needs a registered builder of this name."""

    test_registered_load_equals_table = None
    test_configs_read_fewer_columns = None
    test_own_card_is_complete = None

    @pytest.fixture
    def recipe(self):
        return Gaps()


def test_rows_without_a_value_have_the_fill_value_of_the_columns_dtype(table):
    whole = table[:]
    for position in (1, 2):
        found = flatten(table[position])
        for path, wanted in FILLS.items():
            np.testing.assert_array_equal(found[path], wanted, err_msg=path)
            is_text = SCHEMA.specs[path].dtype == "str"
            assert is_text or found[path].dtype == SCHEMA.specs[path].dtype
    assert whole["votes"].tolist() == [40, -1, -1, -1] and whole["votes"].dtype == np.int16
    assert whole["big"].tolist() == [2**63 + 5, 2**64 - 1, 2**64 - 1, 2**63 + 5]
    np.testing.assert_array_equal(whole["shape"]["axes"][3], np.array([NAN, 1.0], np.float32))
    assert list(table[3]["shape"]["words"]) == ["none", "none"]


def test_the_catalogue_has_true_nulls(folder, table):
    for rows in (table.catalog, pq.read_table(folder / "catalog.parquet")):
        nulls = {name: rows[name].is_null().to_pylist() for name in LIGHT}
        assert nulls["mag"] == nulls["big"] == nulls["note"] == [False, True, True, False]
        assert nulls["label"] == [False, True, True, False]
        assert nulls["z"] == nulls["votes"] == [False, True, True, True]
        assert not any(rows[name].null_count for name in ("shape.words", "shape.axes"))
        assert not any(rows[name].null_count for name in ("object_id", "ra", "dec", "healpix", "source"))


def test_verify_agrees_and_notices_a_null_that_is_none(folder, tmp_path):
    assert list(verify.problems(folder)) == []
    copy = shutil.copytree(folder, tmp_path / "copy")
    rows = pq.read_table(copy / "catalog.parquet")
    place = rows.schema.get_field_index("votes")
    rows = rows.set_column(place, rows.schema.field(place), pa.array([None, None, None, None], pa.int16()))
    pq.write_table(rows, copy / "catalog.parquet")
    assert any("column 'votes' differs from the catalogue's" in problem for problem in verify.problems(copy))


def test_a_null_where_none_is_declared_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    record = json.loads(pq.read_schema(copy / "catalog.parquet").metadata[b"skyshards"])
    with_manifest(copy, columns=[column | {"missing": None} for column in record["columns"]])
    with pytest.raises(FolderError, match="lacks values"):
        skyshards.open(copy)[:]


def test_the_reader_of_the_format_gives_fill_values(folder, tmp_path):
    assert_reads(folder, tmp_path)


def test_h5py_finds_the_fill_value(folder):
    with h5py.File(next(folder.rglob("*.hdf5"))) as file:
        for path, wanted in FILLS.items():
            stored = file[path.replace(".", "/")]
            if path != "flux":
                fill = stored.attrs["missing_value"]
                np.testing.assert_array_equal(fill, np.ravel(wanted)[0])
                assert isinstance(fill, str) or fill.dtype == stored.dtype


def test_card_and_schema_tell_of_it(folder, table):
    card = (folder / "README.md").read_text()
    assert "| `votes` | int16 |  | votes (-1 where missing) |" in card
    assert "redshift (NaN where missing)" in card and "a spectrum (an empty list where missing)" in card
    assert 'a remark ("" where missing)' in card and "a class (0 elliptical, 1 spiral; -1 where missing)" in card
    assert table.schema["votes"].missing == -1 and np.isnan(table.schema["z"].missing)
    assert table.schema["ra"].missing is None


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("votes > 3", [0]),
        ("not votes > 3", []),
        ("votes < 100 or z > 0", [0]),
        ("ra > 0", [0, 1, 2, 3]),
        ("mag < 18 and ra > 0", [0, 3]),
        ("note != 'x'", [0, 3]),
        ("shape.axes[1] > 0", [0, 3]),
        ("shape.axes[0] > 0 or votes > 0", [0]),
        ("big > 0", [0, 3]),
        ("isnan(z)", []),
        (pc.field("votes").is_null(), [1, 2, 3]),
        (~(pc.field("votes") > 3), []),
    ],
    ids=str,
)
def test_conditions_are_false_where_a_value_is_missing(table, condition, found):
    names = table.where(condition).catalog["object_id"].to_pylist()
    assert names == [f"galaxy-{number}" for number in found]


def test_a_missing_value_is_nobodys_name(table):
    assert len(table.find([40], by="votes")) == 1
    with pytest.raises(KeyError, match="no row has votes -1"):
        table.find([-1], by="votes")
    pairs = skyshards.crossmatch(table, table, on="note")
    assert len(pairs) == 4  # two rows of one remark, with themselves and each other


def test_a_left_join_gives_fill_values(table):
    both = skyshards.join(table, table.select([0]), names=("all", "one"), on="object_id", how="left")
    assert both[:]["one"]["mag"].tolist() == [17.5, -9999, -9999, -9999]
    assert both.where("one.mag > 0").catalog["all.object_id"].to_pylist() == ["galaxy-0"]


@pytest.mark.parametrize(
    "gap", [None, np.ma.masked, np.ma.masked_array(3, True), Masked(3.0 * units.mag, True)], ids=repr
)
def test_masked_values_are_missing(gap):
    assert encode(row(1, mag=gap), SCHEMA.specs, "s").light()["mag"] == -9999


def test_rows_of_an_astropy_table_may_be_masked():
    rows = astropy.table.Table({"votes": np.ma.masked_array([3, 4], [True, False])})
    assert [encode(row(1, votes=one["votes"]), SCHEMA.specs, "s").light()["votes"] for one in rows] == [-1, 4]


def test_missing_values_of_pandas_are_missing():
    pandas = pytest.importorskip("pandas")
    light = encode(row(1, votes=pandas.NA, note=NAN, label=NAN), SCHEMA.specs, "s").light()
    assert (light["votes"], light["note"], light["label"]) == (-1, "", -1)


def test_elements_may_be_missing():
    gaps = np.ma.masked_array([1.5, 2.5], [False, True])
    for axes in (gaps, [1.5, None], Masked(gaps.data * units.arcsec, gaps.mask)):
        values = {"axes": axes, "words": ["a", None]}
        light = encode(row(1, shape=values), SCHEMA.specs, "s").light()
        np.testing.assert_array_equal(light["shape.axes"], [1.5, NAN])
        assert light["shape.words"] == ["a", "none"]


@pytest.mark.parametrize("name", [name for name in FULL if name != "shape"])
def test_none_is_an_error_that_names_row_and_column_where_nothing_is_declared(name):
    specs = SCHEMA.specs | {name: replace(SCHEMA.specs[name], missing=None)}
    for values in ({name: None}, {}):
        with pytest.raises(SourceError, match=rf"object_id 'galaxy-7': .*'{name}'.*declare `missing`"):
            encode(row(7, **FULL | values if values else {k: v for k, v in FULL.items() if k != name}), specs, "s")


@pytest.mark.parametrize(
    ("feature", "missing", "message"),
    [
        (VALUE("bool"), False, "a bool has no value to spare; declare it as int8"),
        (VALUE("int16"), 2**15, "expected a value of int16|out of bounds"),
        (VALUE("int16"), 0.5, "expected a value of int16"),
        (VALUE("int16"), NAN, "expected a value of int16"),
        (VALUE("float32"), float("inf"), "expected a value of float32"),
        (VALUE("float32"), "none", "expected a value of float32"),
        (VALUE("string"), 0, "expected a text"),
        (datasets.ClassLabel(names=["a"]), 0, "expected -1, the label of none"),
        (datasets.Image(), b"", "leave such rows out"),
        (SEQUENCE(VALUE("int8")), -1, r"expected \[\], an empty list"),
    ],
    ids=str,
)
def test_what_cannot_stand_for_a_missing_value(feature, missing, message):
    with pytest.raises(TypeError, match=f"column 'x': missing=.*{message}"):
        Schema({"x": Column(feature, "x", missing=missing)}).specs  # noqa: B018


def test_a_folder_without_nulls_gets_them_when_it_is_built_upon(tmp_path):
    """As one of an earlier format, in which the declaration was words."""
    plain = {name: column._replace(missing=None) for name, column in SCHEMA.columns.items() if name != "shape"}
    full = Schema(plain | {"shape": {n: c._replace(missing=None) for n, c in SCHEMA.columns["shape"].items()}})
    filled = row(
        1, **{k: v for k, v in FILLS.items() if "." not in k}, shape={"axes": [NAN, NAN], "words": ["none"] * 2}
    )
    build(Gaps((filled,), Schema({name: full.columns[name] for name in SCHEMA.columns})), tmp_path / "a", workers=0)
    assert not any(column.null_count for column in catalog.open_folder(tmp_path / "a")[0].columns)
    build(Gaps((filled, *ROWS[2:])), tmp_path / "a", workers=0)
    build(Gaps((filled, *ROWS[2:])), tmp_path / "b", workers=0)
    first, second = (skyshards.open(tmp_path / name).catalog for name in "ab")
    assert first["mag"].null_count == 2 and first.to_pylist()[0]["mag"] is None
    assert first.select(LIGHT[1:6]).equals(second.select(LIGHT[1:6]))
    assert list(verify.problems(tmp_path / "a")) == []


@given(st.lists(st.none() | st.integers(-3, 3), min_size=1))
def test_nulls_come_and_go(values):
    spec = SCHEMA.specs["votes"]
    filled = pa.chunked_array([pa.array([-1 if value is None else value for value in values], pa.int16())])
    gaps = with_nulls(filled, spec)
    assert gaps.to_pylist() == [None if value == -1 else value for value in values]
    assert without_nulls(gaps, spec).equals(filled)


@pytest.mark.parametrize("form", ["parquet", "votable", "fits", "csv"])
def test_catalogues_have_nulls(form, tmp_path):
    from skyshards.export.catalogue import write_catalogue

    rows = tuple(row | ({"note": "a"} if row.get("note") else {}) for row in ROWS)  # FITS has ASCII only, no uint64
    schema = Schema({name: column for name, column in SCHEMA.columns.items() if name != "big"})
    folder = tmp_path / "plain"
    rows = tuple({name: value for name, value in row.items() if name != "big"} for row in rows)
    assert build(Gaps(rows, schema), folder, workers=0).failed == 0
    write_catalogue(folder, tmp_path / f"rows.{form}", form)
    if form == "fits" or form == "votable":
        found = astropy.table.Table.read(tmp_path / f"rows.{form}")
        assert list(found["votes"].mask) == [False, True, True, True]
        assert [bool(np.isnan(value)) or value is np.ma.masked for value in found["mag"]] == [False, True, True, False]
    if form == "parquet":
        assert pq.read_table(tmp_path / "rows.parquet")["mag"].to_pylist() == [17.5, None, None, 17.5]
    if form == "csv":
        assert pa.csv.read_csv(tmp_path / "rows.csv")["votes"].to_pylist() == [40, None, None, None]


@pytest.mark.slow
def test_an_export_has_nulls(folder, tmp_path):
    pytest.importorskip("hats", reason="the extra `hats` is not installed")
    from skyshards.export.run import export

    export(folder, tmp_path / "out", workers=0)
    found = pa.concat_tables([pq.read_table(path) for path in (tmp_path / "out").rglob("Npix=*.parquet")])
    assert found.sort_by("object_id")["votes"].to_pylist() == [40, None, None, None]
    assert list(datasets.load_dataset(str(tmp_path / "out"), split="train", streaming=True))[0]["z"] in (0.25, None)


def test_a_page_has_gaps(folder, tmp_path):
    from skyshards.page.write import write_page

    assert "NaN" not in write_page(folder, tmp_path / "page").index.read_text().split("<script")[0]
