"""Further columns of a catalogue in rows: which ones, their types, and what the table says of them."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import skyshards
from demo_archive import DemoArchive
from gz_sdss import tables
from gz_sdss.build_parent_sample import main
from gz_sdss.further_columns import EVERY, FURTHER, declared
from gz_sdss.tables import NEEDED, read_table, typed, write_csv
from gz_sdss.tap_catalog import CATALOG, PHOTO_COLUMNS, QUERY, REQUEST, VOTE_COLUMNS, VOTES, CatalogRequest, get_catalog
from skyshards.errors import BuildError, UsageError
from skyshards.input_tables.table_file import open_table

ZOO2 = (
    QUERY.replace(
        " FROM ", ", z.nvote, t.t01_smooth_or_features_a01_smooth_count, t.total_votes, t.ra AS ra_2 FROM ", 1
    )
    + " LEFT JOIN BestDR10.zoo2MainSpecz AS t ON t.dr7objid = z.dr7objid"
)
SMOOTH = "t01_smooth_or_features_a01_smooth_count"


@pytest.fixture(scope="module")
def archive():
    with DemoArchive(galaxies=60, maxrec=25) as archive:
        yield archive
        assert archive.errors == []


@pytest.fixture
def table(tmp_path):
    """A Parquet file with further columns of every kind."""
    rows = 4
    values = {name: pa.array(np.arange(rows, dtype=float) + 1) for name in NEEDED}
    values |= {name: pa.array(range(rows), pa.int64()) for name in ("dr7objid", "specobjid", "objid")}
    values |= {
        "Label": pa.array(["a", None, '"c, d"', ""]),
        "count": pa.array([3, None, 5, 6], pa.int16()),
        "offset": pa.array([-3, None, 5, 6], pa.int32()),
        "flag": pa.array([True, False, None, True]),
        "code": pa.array(["007", "008", "009", "010"]),
        "single": pa.array([0.1, None, 0.3, 0.4], pa.float32()),
        "mask": pa.array([1, 2, 3, 2**64 - 1], pa.uint64()),
        "lists": pa.array([[1], [2], [3], []]),
    }
    fields = [pa.field(name, array.type) for name, array in values.items()]
    words = {"description": "of the sky", "unit": "deg", "ucd": "pos.angDistance"}
    fields = [field.with_metadata(words) if field.name == "single" else field for field in fields]
    fields = [field.with_metadata({"ucd": "??"}) if field.name == "count" else field for field in fields]
    pq.write_table(pa.table(list(values.values()), schema=pa.schema(fields)), tmp_path / "own.parquet")
    return tmp_path / "own.parquet"


def test_every_further_column_keeps_its_type_values_and_words(table):
    found, notes = typed(open_table(table), EVERY)
    columns = {column.name: column for column in declared(found)}
    assert {name: (column.about.dtype, column.missing) for name, column in columns.items()} == {
        "published_Label": ("str", ""),
        "count": ("int16", -1),
        "offset": ("int32", -(2**31)),
        "flag": ("int8", -1),
        "code": ("str", ""),
        "single": ("float32", "nan"),
        "mask": ("uint64", 2**64 - 1),
    }
    assert notes == ["lists (values of type list<element: int64>)"]
    assert columns["single"].column.description == "of the sky (UCD pos.angDistance)"
    assert columns["single"].column.unit == "deg"
    assert columns["count"].column.description == "as published"
    assert found["code"].tolist() == ["007", "008", "009", "010"]
    assert found["mask"].tolist() == [1, 2, 3, 2**64 - 1]
    assert found["count"].isna().tolist() == [False, True, False, False]


def test_a_saved_catalogue_is_read_back_as_it_was(table, tmp_path):
    names = ("published_Label", "count", "code", "single", "modelMagErr_r")
    found, _ = typed(open_table(table), ("Label", "count", "code", "single", "modelMagErr_r"))
    write_csv(found, tmp_path / "t.csv.gz")
    known = {column.name: column.about for column in declared(found)}
    again = read_table(tmp_path / "t.csv.gz", names, known)
    assert again.attrs == found.attrs
    for name in names:
        one, other = (frame[name].astype(object).where(frame[name].notna(), None) for frame in (found, again))
        assert one.replace("", None).tolist() == other.tolist()


@pytest.mark.parametrize(
    ("keep", "found"),
    [
        ((), []),
        (("COUNT",), ["COUNT"]),
        (("c*", "flag"), ["count", "flag", "code"]),
        (("p_el_debiased", "count"), ["count"]),
        (("modelMagErr_?",), [f"modelMagErr_{band}" for band in "ugriz"]),
    ],
)
def test_columns_are_chosen_by_name_or_pattern(table, keep, found):
    assert list(typed(open_table(table), keep)[0].attrs.get(FURTHER, {})) == found


@pytest.mark.parametrize("keep", ["nothing", "x*"])
def test_a_column_that_is_not_there_is_named(table, keep):
    with pytest.raises(UsageError, match=rf"own.parquet has no column '{keep[0]}.*it has dr7objid, specobjid"):
        typed(open_table(table), (keep,))


def test_names_that_only_a_pattern_fits_need_a_table():
    with pytest.raises(UsageError, match=r"found 't01_\*'; patterns need `adql` or `catalog`"):
        _ = CatalogRequest(columns=("t01_*",)).query
    with pytest.raises(UsageError, match="found 'nvote FROM x'"):
        _ = CatalogRequest(columns=("nvote FROM x",)).query


def test_the_default_query_finds_the_table_of_a_column(shared_data):
    query = CatalogRequest(columns=("nvote", "petroMag_r", "z.ra", "p.objID", "z.rastring", "type")).query
    further = query.partition(" FROM ")[0].partition("extinction_z AS extinction_z")[2]
    assert further == ", z.nvote AS nvote, p.petroMag_r AS petroMag_r, z.rastring AS rastring, p.type AS type"
    columns = json.loads((shared_data / "schema/BestDR9.zooSpec.json").read_text())
    assert {column["name"] for column in columns} == {"ra", "dec", *VOTE_COLUMNS, *VOTES}
    assert {"ra", "dec"} < set(PHOTO_COLUMNS)


def test_pages_of_the_default_query_have_them(archive, tmp_path):
    request = CatalogRequest(columns=("nvote", "rastring", "petroMag_r"))
    found = get_catalog(request, tmp_path, archive.tap_url)
    asked = len(archive.requests)
    again = get_catalog(request, tmp_path, archive.tap_url)
    fewer = get_catalog(replace(request, columns=("petroMag_r",)), tmp_path, archive.tap_url)
    plain = get_catalog(CatalogRequest(), tmp_path, archive.tap_url)
    assert len(archive.requests) == asked, "the saved table answers"
    assert list(plain) == list(NEEDED) and list(fewer) == [*NEEDED, "petroMag_r"]
    assert found.attrs == again.attrs and list(found.attrs[FURTHER]) == ["nvote", "rastring", "petroMag_r"]
    assert found.attrs[FURTHER]["petroMag_r"] == ["float32", "Petrosian magnitude", "mag", "phot.mag;em.opt.R"]
    for name in found.attrs[FURTHER]:
        assert found[name].tolist() == again[name].tolist()
    assert "further" in json.loads((tmp_path / REQUEST).read_text())
    get_catalog(replace(request, columns=("p_mg",)), tmp_path, archive.tap_url)
    assert len(archive.requests) > asked, "it lacks a column"


def test_a_query_s_further_columns_are_all_kept(archive, tmp_path):
    request = CatalogRequest(adql=ZOO2, top=25, columns=EVERY)
    for _ in range(2):  # from the service, then as saved
        found = get_catalog(request, tmp_path, archive.tap_url)
        assert list(found.attrs[FURTHER]) == ["nvote", SMOOTH, "total_votes", "published_ra_2"]
        assert found.attrs[FURTHER][SMOOTH][0] == "int32" and found.attrs[FURTHER][SMOOTH][3] == "meta.number"
        assert found[SMOOTH].isna().any() and found[SMOOTH].notna().any()
    assert pd.read_csv(tmp_path / CATALOG).columns.is_unique


def test_votes_of_galaxy_zoo_2_are_in_rows(tmp_path):
    (tmp_path / "query.adql").write_text(ZOO2)
    options = ["--demo", "-o", tmp_path / "out", "--adql", tmp_path / "query.adql", "--keep_columns", "t01_*,NVOTE"]
    outcome = CliRunner().invoke(main, [*map(str, options), "--limit", "6", "--workers", "0"], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    table = skyshards.open(tmp_path / "out")
    assert table.schema[SMOOTH].missing == -1 and "total_votes" not in table.schema
    assert table.schema["NVOTE"].dtype == "int32"
    rows = table.catalog.to_pandas()
    assert (rows["modelMag_r"] >= 17.0).equals(rows[SMOOTH].isna())
    assert (table.where(f"{SMOOTH} < 10").catalog["label"].to_numpy() == 1).all()


def test_of_a_file_only_those_asked_for(table, tmp_path, capsys):
    from gz_sdss.build_parent_sample import GZSDSSRecipe
    from gz_sdss.cuts import Cuts

    cuts = Cuts(min_vote=0, min_pixels=0, max_pixels=1e9, **{f"max_magerr_{band}": 99 for band in "ugriz"})
    recipe = GZSDSSRecipe(tmp_path, catalog=table, cuts=cuts, keep_columns=("count", "lists"))
    kept = recipe.filtered()
    assert list(kept.attrs[FURTHER]) == ["count"]
    said = capsys.readouterr().err
    assert "unless `keep_columns` names them: Label, offset, flag, code, single, mask, lists" in said
    assert "columns that rows cannot have: lists (values of type" in said


def test_what_a_result_does_not_say_its_service_does(archive, tmp_path, monkeypatch):
    """Services differ in what a result says of its columns; TAP_SCHEMA says it of all."""
    speaking = tables.of_votable

    def silent_of_votable(element, origin, keep):
        for field in element.fields:
            field.unit = field.ucd = field.description = None
        return speaking(element, origin, keep)

    monkeypatch.setattr("gz_sdss.tap_catalog.of_votable", silent_of_votable)
    request = CatalogRequest(columns=("petroMag_r", "nvote", "p.run"))
    further = get_catalog(request, tmp_path, archive.tap_url).attrs[FURTHER]
    assert further == {
        "petroMag_r": ["float32", "Petrosian magnitude", "mag", "phot.mag;em.opt.R"],
        "nvote": ["int32", "Votes in all", "", ""],
        "run": ["int32", "Run number", "", "meta.id;obs"],
    }


def test_a_service_without_metadata_is_no_error(archive, tmp_path, monkeypatch):
    def fail(*_):
        raise BuildError("no table TAP_SCHEMA.columns")

    monkeypatch.setattr("gz_sdss.tap_words.run_query", fail)
    found = get_catalog(CatalogRequest(columns=("nvote",)), tmp_path, archive.tap_url)
    assert found.attrs[FURTHER] == {"nvote": ["int32", "Votes in all", "", ""]}
