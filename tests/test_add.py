"""Columns that come later: matched by name or position, read like any others, kept by builds, and taken away again."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import astropy.table
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from datasets import load_dataset

import skyshards
from skyshards import verify
from skyshards.cli.main import main
from skyshards.errors import BuildError, FolderError, UsageError
from skyshards.format import catalog
from skyshards.format.catalog_file import CatalogFile
from skyshards.page.write import write_page
from skyshards.pipeline.build import build
from skyshards.pipeline.workspace import hold
from tests import blocks
from tests.format_reader import assert_reads
from tests.toy import Toy
from tests.toy_folder import assert_whole, shard_bytes
from tests.versions import stock_reads_hdf5

ROWS = 12
WITHOUT = (2, 7)
"""Rows of the folder that the table lacks."""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("add") / "toy"
    build(Toy(ROWS), folder, workers=0)
    return folder


@pytest.fixture
def folder(built, tmp_path):
    return shutil.copytree(built, tmp_path / "toy")


@pytest.fixture(scope="module")
def catalogue(built):
    return skyshards.open(built).catalog


def predicted(catalogue):
    """A table of every kind of column, in another order than the folder, with a row that the folder lacks."""
    rows = [row for row in reversed(range(len(catalogue))) if row not in WITHOUT]
    names = [catalogue["object_id"][row].as_py() for row in rows] + ["stranger"]
    random = np.random.default_rng(0)
    return pa.table(
        {
            "object_id": names,
            "p_ring": pa.array(random.random(len(names)), pa.float32()),
            "votes_ring": pa.array([*range(len(names) - 1), None], pa.int16()),
            "flags": pa.array(range(len(names)), pa.uint8()),
            "is_ring": [bool(number % 2) for number in range(len(names))],
            "remark": [f"spïral {number}" for number in range(len(names))],
            "shape": pa.FixedSizeListArray.from_arrays(pa.array(random.random(2 * len(names))), 2),
            "embedding": list(random.standard_normal((len(names), 100), np.float32)),
            "spectrum": [random.random(number).astype(np.float32) for number in range(len(names))],
            "mask": pa.array([[[number, 1], [2, 3], [4, 5]] for number in range(len(names))]),
        }
    )


@pytest.fixture
def predictions(catalogue, tmp_path):
    pq.write_table(predicted(catalogue), tmp_path / "predictions.parquet")
    return tmp_path / "predictions.parquet"


def values_by_name(path):
    return {row["object_id"]: row for row in pq.read_table(path).to_pylist()}


def test_every_kind_of_column_is_read_like_any_other(folder, predictions):
    before = shard_bytes(folder)
    done = skyshards.add(folder, predictions)
    assert (done.name, done.rows, done.of, done.used, done.table_rows) == ("predictions", 10, ROWS, 10, 11)
    assert {path: digest for path, digest in shard_bytes(folder).items() if not path.startswith("added/")} == before
    assert_whole(folder)
    table, wanted = skyshards.open(folder), values_by_name(predictions)
    for row in table:
        given = wanted.get(str(row["object_id"]))
        assert row["p_ring"].dtype == row["embedding"].dtype == np.float32 and row["votes_ring"].dtype == np.int16
        if given is None:
            assert np.isnan(row["p_ring"]) and np.isnan(row["shape"]).all() and np.isnan(row["embedding"]).all()
            assert (row["votes_ring"], row["flags"], row["is_ring"], row["remark"]) == (-1, 255, -1, "")
            assert len(row["spectrum"]) == 0 and (row["mask"] == -1).all() and row["mask"].shape == (3, 2)
            continue
        for name in ("p_ring", "votes_ring", "flags", "is_ring", "remark"):
            assert row[name] == given[name], name
        for name in ("shape", "embedding", "spectrum", "mask"):
            np.testing.assert_array_equal(row[name], np.asarray(given[name], row[name].dtype), err_msg=name)
    lacking = [row for row in range(ROWS) if row in WITHOUT]
    assert np.flatnonzero(table.catalog["p_ring"].is_null().to_numpy()).tolist() == lacking
    assert np.flatnonzero(table.catalog["remark"].is_null().to_numpy()).tolist() == lacking
    assert np.flatnonzero(table.catalog["_added:predictions"].is_null().to_numpy()).tolist() == lacking


def test_rows_are_found_by_added_columns(folder, predictions):
    skyshards.add(folder, predictions)
    table, wanted = skyshards.open(folder), values_by_name(predictions)
    found = table.where("p_ring > 0.5").columns(["object_id", "embedding"])[:]
    assert set(found["object_id"]) == {name for name, row in wanted.items() if row["p_ring"] > 0.5} - {"stranger"}
    np.testing.assert_array_equal(found["embedding"], [wanted[str(name)]["embedding"] for name in found["object_id"]])
    spectra = table.columns(["spectrum"])[[0, 2, 1]]["spectrum"]  # row 2 has none
    assert spectra.lengths[1] == 0 and spectra.lengths[0] == len(table[0]["spectrum"])


def test_the_documents_reader_reads_additions(folder, predictions, tmp_path):
    skyshards.add(folder, predictions)
    assert_reads(folder, tmp_path)


@pytest.mark.slow
def test_dropping_gives_the_bytes_of_before(folder, built, predictions):
    skyshards.add(folder, predictions)
    skyshards.add(folder, predictions, name="second", prefix="second_", columns=["p_ring", "embedding"])
    assert_whole(folder)
    skyshards.drop(folder, "predictions")
    assert_whole(folder)
    assert "second_p_ring" in skyshards.open(folder).column_names and not (folder / "added/predictions.hdf5").exists()
    skyshards.drop(folder, "second")
    assert subprocess.run(["diff", "-r", built, folder], capture_output=True, text=True).stdout == ""


def test_the_same_table_gives_the_same_bytes_and_a_new_one_replaces_it(folder, catalogue, predictions):
    assert not skyshards.add(folder, predictions).replaced
    first = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    assert skyshards.add(folder, predictions).replaced
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()} == first
    pq.write_table(predicted(catalogue).select(["object_id", "p_ring"]), predictions)
    skyshards.add(folder, predictions)
    assert_whole(folder)
    assert "embedding" not in skyshards.open(folder).column_names
    assert not skyshards.open(folder).schema["p_ring"].shape


def test_a_further_build_keeps_additions(folder, predictions, capsys):
    skyshards.add(folder, predictions)
    wanted = values_by_name(predictions)
    build(Toy(ROWS + 5), folder, workers=0)
    assert f"no values of predictions in 7 of {ROWS + 5} rows; run `skyshards add` again" in capsys.readouterr().err
    assert_whole(folder)
    for row in skyshards.open(folder):
        given = wanted.get(str(row["object_id"]))
        if given is None:
            assert np.isnan(row["p_ring"]) and np.isnan(row["embedding"]).all() and len(row["spectrum"]) == 0
        else:
            assert row["p_ring"] == np.float32(given["p_ring"])
            np.testing.assert_array_equal(row["embedding"], np.float32(given["embedding"]))


def test_a_catalogue_of_several_row_groups_is_never_read_whole(predictions, tmp_path, monkeypatch):
    """Adding, replacing, building further, repacking and dropping give what they give with a single row group."""
    found = []
    table = CatalogFile.table

    def some(self, names=None):
        assert names is not None and (len(names) == 1 or "dec" not in names)
        return table(self, names)

    monkeypatch.setattr(CatalogFile, "table", some)
    for name, rows in (("one", catalog.GROUP_ROWS), ("several", 5)):
        monkeypatch.setattr(catalog, "GROUP_ROWS", rows)
        folder = tmp_path / name
        build(Toy(ROWS), folder, workers=0)
        skyshards.add(folder, predictions, columns=["p_ring", "spectrum"])
        skyshards.add(folder, predictions)
        skyshards.add(folder, predictions, name="again", prefix="again_")
        build(Toy(ROWS + 3), folder, workers=0)
        skyshards.drop(folder, "again")
        skyshards.repack(folder, tmp_path / f"{name}-fast", "fast", workers=0)
        found += [skyshards.open(each).catalog for each in (folder, tmp_path / f"{name}-fast")]
        assert pq.ParquetFile(folder / "catalog.parquet").num_row_groups == -(-(ROWS + 3) // rows)
        assert not list(verify.problems(folder))
    one, one_fast, several, several_fast = found
    for mine, expected in ((several, one), (several_fast, one_fast)):
        assert mine.schema.equals(expected.schema) and repr(mine.to_pylist()) == repr(expected.to_pylist())  # NaN too
    assert several["p_ring"].null_count == len(WITHOUT) + 3


def test_a_lost_shard_is_built_again_beside_its_additions(folder, predictions):
    skyshards.add(folder, predictions)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    next(folder.glob("healpix=*/*.hdf5")).unlink()
    build(Toy(ROWS), folder, workers=0)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@stock_reads_hdf5
def test_stock_datasets_read_additions(folder, predictions, tmp_path):
    skyshards.add(folder, predictions)
    table, options = skyshards.open(folder), {"split": "train", "cache_dir": str(tmp_path / "cache")}
    scalars = load_dataset(str(folder), "catalog", **options)
    np.testing.assert_array_equal(scalars["p_ring"], table[:]["p_ring"])
    assert list(scalars["remark"]) == table[:]["remark"].tolist() and scalars["object_id"][0] == table[0]["object_id"]
    own = load_dataset(str(folder), "predictions", **options)
    there = ~np.isnan(table[:]["p_ring"])
    np.testing.assert_array_equal(own["embedding"], table[:]["embedding"][there])
    assert list(own["object_id"]) == table[:]["object_id"][there].tolist()
    assert "p_ring" not in load_dataset(str(folder), **options).column_names  # its shards are as they were


def test_the_builder_loads_additions(folder, predictions, tmp_path):
    skyshards.add(folder, predictions)
    table, options = skyshards.open(folder), {"split": "train", "cache_dir": str(tmp_path / "cache")}
    loaded = load_dataset("skyshards", "predictions", data_dir=str(folder), **options)
    assert loaded.num_rows == ROWS and loaded.column_names[:3] == ["object_id", "source", "p_ring"]
    everything = load_dataset("skyshards", data_dir=str(folder), **options)
    np.testing.assert_array_equal(list(everything["shape"]), table[:]["shape"])


@stock_reads_hdf5
def test_splits_have_their_own_scalars(tmp_path):
    class Split(Toy):
        splits = ("train", "test")

        def sources(self, fetcher):
            for number, source in enumerate(super().sources(fetcher)):
                yield type(source)(source.key, info=source.info, split=self.splits[number % 2])

    build(Split(6), tmp_path / "toy", workers=0)
    names = skyshards.open(tmp_path / "toy").catalog["object_id"].to_pylist()
    pd.DataFrame({"object_id": names, "score": np.arange(6.0)}).to_csv(tmp_path / "scores.csv")
    skyshards.add(tmp_path / "toy", tmp_path / "scores.csv", columns=["score"])
    assert_whole(tmp_path / "toy")
    for split, wanted in (("train", [0, 1, 2]), ("test", [3, 4, 5])):
        options = {"split": split, "cache_dir": str(tmp_path / "cache")}
        assert list(load_dataset(str(tmp_path / "toy"), "catalog", **options)["score"]) == wanted
    own = load_dataset(str(tmp_path / "toy"), "scores", cache_dir=str(tmp_path / "cache"))
    assert {name: len(rows) for name, rows in own.items()} == {"all_splits": 6}


def test_the_card_tells_of_additions(folder, predictions):
    skyshards.add(folder, predictions)
    text = (folder / "README.md").read_text()
    section = text.partition("## Added columns")[2].partition("## In the formats")[0]
    assert f"values in 10 of {ROWS} rows" in section and "| `embedding` | float32 [100] |" in section
    assert "255 in `flags`" in section and text.count("## This copy") == 1
    croissant = json.loads((folder / "croissant.json").read_text())
    assert "added/predictions.hdf5" in [file.get("contentUrl") for file in croissant["distribution"]]


def test_info_lists_additions(folder, predictions):
    skyshards.add(folder, predictions)
    assert f"addition predictions: 10 of {ROWS} rows, 9 columns of predictions.parquet" in verify.describe(folder)


@pytest.mark.parametrize("suffix", ["csv", "fits", "vot", "ecsv"])
def test_tables_of_any_format_keep_their_words(folder, catalogue, tmp_path, suffix):
    table = astropy.table.Table({"source": catalogue["source"].to_pylist()[:4], "mag": [1.5, 2, np.nan, 4]})
    table["mag"].unit, table["mag"].description = "mag", "brightness"
    table["stamp"] = np.arange(24, dtype=np.int32).reshape(4, 2, 3) if suffix == "fits" else 0
    form = {"csv": "ascii.csv", "ecsv": "ascii.ecsv", "vot": "votable"}.get(suffix, suffix)
    table.write(tmp_path / f"mags.{suffix}", format=form)
    skyshards.add(folder, tmp_path / f"mags.{suffix}", on="source")
    assert_whole(folder)
    opened = skyshards.open(folder)
    column = opened.schema["mag"]
    np.testing.assert_array_equal(opened[:4]["mag"], [1.5, 2, np.nan, 4])
    assert column.unit == ("" if suffix == "csv" else "mag")
    assert column.description == ("of mags.csv" if suffix == "csv" else "brightness")
    if suffix == "fits":
        np.testing.assert_array_equal(opened[:4]["stamp"], np.arange(24).reshape(4, 2, 3))
        assert (opened[4]["stamp"] == -1).all()


def test_units_and_ucds_of_parquet_are_kept(folder, catalogue, tmp_path):
    words = {"description": "brightness in r", "unit": "mag", "ucd": "phot.mag;em.opt.R"}
    names = pa.field("object_id", pa.string())
    schema = pa.schema([names, pa.field("mag_r", pa.float64(), metadata=words)])
    pq.write_table(pa.table([catalogue["object_id"], np.arange(ROWS * 1.0)], schema=schema), tmp_path / "mags.parquet")
    skyshards.add(folder, tmp_path / "mags.parquet")
    column = skyshards.open(folder).schema["mag_r"]
    assert (column.unit, column.description) == ("mag", "brightness in r (UCD phot.mag;em.opt.R)")
    assert "| mag | brightness in r (UCD phot.mag;em.opt.R) (NaN where missing) |" in (folder / "README.md").read_text()


def test_words_in_a_votable_of_parquet_are_kept(folder, tmp_path):
    """`skyshards crossmatch` and TOPCAT write them so."""
    field = '<FIELD name="p" datatype="double" unit="arcsec" ucd="pos"><DESCRIPTION>how far</DESCRIPTION></FIELD>'
    names = '<FIELD name="source" datatype="char" arraysize="*"/>'
    text = f'<VOTABLE version="1.4"><RESOURCE><TABLE>{names}{field}</TABLE></RESOURCE></VOTABLE>'
    table = pa.table({"source": ["s00000"], "p": [0.5]})
    pq.write_table(
        table.replace_schema_metadata({"IVOA.VOTable-Parquet.content": text}), tmp_path / "separations.parquet"
    )
    skyshards.add(folder, tmp_path / "separations.parquet", on="source")
    column = skyshards.open(folder).schema["p"]
    assert (column.unit, column.description) == ("arcsec", "how far (UCD pos)")


def table_of(tmp_path, file="t.parquet", /, **columns):
    pq.write_table(pa.table(columns), tmp_path / file)
    return tmp_path / file


def test_numbers_match_numbers_in_text(folder, tmp_path):
    """Identifiers are int64 here and text there, and floats where pandas had gaps."""
    counts = skyshards.open(folder).catalog["count"].to_pylist()
    for number, keys in enumerate(([str(counts[0])], pa.array([counts[0]], pa.int64()), [float(counts[0]), None])):
        path = table_of(tmp_path, f"t{number}.parquet", count=keys, **{f"x{number}": [1.5] * len(keys)})
        assert skyshards.add(folder, path, on="count").rows == counts.count(counts[0])
        assert skyshards.open(folder)[0][f"x{number}"] == 1.5
    with pytest.raises(BuildError, match=r"found floats such as 1\.5e\+18, which lose digits of long numbers"):
        skyshards.add(folder, table_of(tmp_path, count=[1.5e18], x=[1.0]), on="count")


def test_embeddings_match_by_source_too(tmp_path):
    """Of one galaxy, seen in two sources, each row has its own embedding."""

    class Twice(Toy):
        def read(self, source, fetched):
            for row in super().read(source, fetched):
                yield row | {"object_id": "the only one"}

    build(Twice(3), tmp_path / "toy", workers=0)
    sources = skyshards.open(tmp_path / "toy").catalog["source"].to_pylist()
    features = {f"feat_{number}": np.arange(3, dtype=np.float32) + number for number in range(100)}
    path = table_of(tmp_path, object_id=["the only one"] * 3, source=sources[::-1], **features)
    skyshards.add(tmp_path / "toy", path)
    assert_whole(tmp_path / "toy")
    vectors = skyshards.open(tmp_path / "toy")[:]["representation"]
    np.testing.assert_array_equal(vectors, np.arange(100, dtype=np.float32) + [[2], [1], [0]])
    with pytest.raises(BuildError, match="'the only one' in 3 rows; with column 'source', `on` need not be given"):
        skyshards.add(tmp_path / "toy", path, on="object_id")


@pytest.mark.parametrize("form", ["feat_{}", "feat_{}_pred"])
@pytest.mark.parametrize("row_group_size", [5, 1000])
@pytest.mark.parametrize("length", [3, 100])
def test_numbered_columns_are_one_vector_read_in_stripes(
    folder, catalogue, tmp_path, monkeypatch, form, row_group_size, length
):
    monkeypatch.setattr("skyshards.additions.values.STRIPE_BYTES", 4 * ROWS * 7)
    names = catalogue["object_id"].to_pylist()[1:]
    values = np.random.default_rng(1).random((ROWS, length), np.float32)
    columns = {form.format(number): values[:0:-1, number] for number in reversed(range(length))}
    path = tmp_path / "representations.parquet"
    pq.write_table(pa.table({"iauname": names[::-1]} | columns), path, row_group_size=row_group_size)
    assert skyshards.add(folder, path).columns == ("representation",)
    assert_whole(folder)
    found = skyshards.open(folder)[:]["representation"]
    np.testing.assert_array_equal(found[1:], values[1:])
    assert np.isnan(found[0]).all() and found.dtype == np.float32


@pytest.mark.parametrize("suffix", ["csv", "fits", "ecsv"])
def test_numbered_columns_may_be_in_any_table(folder, catalogue, tmp_path, suffix):
    values = np.random.default_rng(2).random((ROWS, 3), np.float32)
    names = [f"{name} " for name in catalogue["source"].to_pylist()]  # padded, as text in FITS may be
    table = astropy.table.Table({"id_str": names} | {f"feat_{number}": values[:, number] for number in range(3)})
    table.write(tmp_path / f"f.{suffix}", format={"csv": "ascii.csv", "ecsv": "ascii.ecsv"}.get(suffix, suffix))
    skyshards.add(folder, tmp_path / f"f.{suffix}", on=("source", "id_str"))
    np.testing.assert_array_equal(skyshards.open(folder)[:]["representation"], values)


@pytest.mark.parametrize("place", [slice(4, 204), slice(-4, None)])
def test_a_damaged_table_is_named_and_nothing_is_changed(folder, built, predictions, place):
    content = bytearray(predictions.read_bytes())
    content[place] = bytes(len(content[place]))
    predictions.write_bytes(content)
    with pytest.raises(BuildError, match=r"predictions\.parquet: .*is it whole"):
        skyshards.add(folder, predictions)
    assert subprocess.run(["diff", "-r", built, folder], capture_output=True, text=True).stdout == ""


def test_one_row_of_the_table_may_serve_two(folder, tmp_path):
    done = skyshards.add(folder, table_of(tmp_path, label=[0, 1], x=[0.5, 1.5], v=[[1.0] * 70, [2.0] * 70]), on="label")
    assert (done.rows, done.used) == (ROWS, 2)
    assert_whole(folder)
    table = skyshards.open(folder)[:]
    np.testing.assert_array_equal(table["x"], table["label"] + 0.5)
    np.testing.assert_array_equal(table["v"][:, 69], table["label"] + 1.0)


def test_positions_match_the_nearest_row(folder, catalogue, tmp_path):
    ra, dec = (catalogue[name].to_numpy() for name in ("ra", "dec"))
    arcsec = 1 / 3600
    away = np.concatenate([dec[:6] + 0.3 * arcsec, dec[:6] + 0.45 * arcsec, dec[6:8] + 2.7 * arcsec, [np.nan]])
    table = astropy.table.Table({"RA": [*ra[:6], *ra[:6], *ra[6:8], 1.0], "Dec": away, "mag": np.arange(15.0)})
    table["RA"].unit = table["Dec"].unit = "deg"
    table["Dec"] = np.radians(table["Dec"])
    table["Dec"].unit = "rad"
    table.write(tmp_path / "their.catalogue.fits")
    done = skyshards.add(folder, tmp_path / "their.catalogue.fits", radius_arcsec=0.5)
    assert (done.name, done.rows, done.used, done.columns) == ("their", 6, 6, ("mag",))
    assert_whole(folder)
    np.testing.assert_array_equal(skyshards.open(folder)[:]["mag"], [*range(6), *[np.nan] * 6])
    with pytest.raises(UsageError, match="none of its 15 positions lies within 1e-05 arcsec of one of 12 rows"):
        skyshards.add(folder, tmp_path / "their.catalogue.fits", radius_arcsec=1e-5)
    with pytest.raises(UsageError, match="has no columns RAJ2000 and DEJ2000, but RA, Dec, mag"):
        skyshards.add(folder, tmp_path / "their.catalogue.fits", radius_arcsec=1, position=("RAJ2000", "DEJ2000"))


def test_missing_values_may_be_named(folder, catalogue, tmp_path):
    names = catalogue["object_id"].to_pylist()[1:4]
    path = table_of(tmp_path, object_id=names, n=[-1, 0, 1], who=["a", None, "c"], x=[1.0, 2.0, None])
    with pytest.raises(BuildError, match="column 'n': has values -1, which rows without a value would get"):
        skyshards.add(folder, path)
    skyshards.add(folder, path, missing={"n": "-9", "who": "nobody", "x": -99})
    assert_whole(folder)
    table = skyshards.open(folder)[:5]
    assert table["n"].tolist() == [-9, -1, 0, 1, -9] and table["x"].tolist() == [-99, 1, 2, -99, -99]
    assert table["who"].tolist() == ["nobody", "a", "nobody", "c", "nobody"]
    assert skyshards.open(folder).catalog["n"].to_pylist()[:5] == [None, -1, 0, 1, None]


@pytest.mark.parametrize(
    ("columns", "options", "error", "words"),
    [
        ({"object_id": ["x", "x"], "p": [1, 2]}, {}, BuildError, "expected every value once, found 'x' in 2 rows"),
        (
            {"object_id": ["x"], "p": [1]},
            {},
            UsageError,
            "none of its 1 row has the object_id of one of 12 rows: 'gal",
        ),
        ({"object_id": [None], "p": [1]}, {}, UsageError, "nothing in object_id of the table"),
        ({"name": ["x"], "p": [1]}, {}, UsageError, "no column object_id or iauname or id_str; name one with `on`"),
        ({"name": ["x"], "p": [1]}, {"on": "name"}, UsageError, "the dataset has no column 'name' of names"),
        ({"name": ["x"], "p": [1]}, {"on": "flux"}, UsageError, "the dataset has no column 'flux' of names"),
        ({"name": ["x"], "p": [1]}, {"on": "source"}, UsageError, "has no column 'source', but name, p"),
        ({"source": ["s00001"], "flux": [1]}, {"on": "source"}, UsageError, "'flux' .* is the name of a column of the"),
        ({"source": ["s00001"], "votes": [1]}, {"on": "source"}, UsageError, "'votes' .* or put a `prefix` before"),
        ({"source": ["s00001"], "_p": [1]}, {"on": "source"}, UsageError, "'_p' .* cannot be the name of a column"),
        ({"source": ["s00001"], "a/b": [1]}, {"on": "source"}, UsageError, "'a/b' .* cannot be the name of a column"),
        ({"source": ["s00001"], "p": [1]}, {"on": "source", "columns": ["q"]}, UsageError, "has no column 'q', but so"),
        ({"source": ["s00001"]}, {"on": "source"}, UsageError, "has no column to add, only source"),
        ({"source": ["s00001"], "p": [None]}, {"on": "source"}, UsageError, "p is left out: it has no value"),
        ({"source": ["s00001"], "p": [1]}, {"on": "source", "name": "a b"}, UsageError, "expected letters, digits"),
        ({"source": ["s00001"], "p": [1]}, {"on": "source", "name": "flags"}, UsageError, "flags is a config of the"),
        ({"source": ["s00001"], "p": [1]}, {"on": "source", "missing": {"p": "x"}}, UsageError, "missing: column 'p'"),
        ({"source": ["s00001"], "p": [1]}, {"on": "source", "radius_arcsec": 1}, UsageError, "cannot be combined"),
        ({"source": ["s00001"], "p": [1]}, {"position": ("a", "b")}, UsageError, "is for matches by position"),
        ({"source": ["s00001"], "p": ["a\0b"]}, {"on": "source"}, BuildError, "expected text, found a NUL"),
        ({"source": ["s00001"], "p": [[1, None]]}, {"on": "source"}, BuildError, "found a null in a list"),
        (
            {"source": ["s00001"], "feat_0": [1.0], "feat_2": [1.0]},
            {"on": "source"},
            BuildError,
            "feat_0 to feat_1 once each",
        ),
        (
            {"source": ["s00001"], "feat_0": ["a"], "feat_1": [1]},
            {"on": "source"},
            BuildError,
            "expected numbers, found",
        ),
    ],
)
def test_what_cannot_be_added_is_said_and_nothing_is_changed(folder, built, tmp_path, columns, options, error, words):
    path = table_of(tmp_path, **columns)
    with pytest.raises(error, match=words) as raised:
        skyshards.add(folder, path, **options)
    assert "\n" not in str(raised.value)
    assert subprocess.run(["diff", "-r", built, folder], capture_output=True, text=True).stdout == ""


def test_columns_that_cannot_be_stored_are_left_out_by_name(folder, tmp_path):
    path = table_of(
        tmp_path,
        source=["s00001"],
        when=pa.array([0], pa.timestamp("s")),
        __index_level_0__=[5],
        ragged=[[[1], [2, 3]]],
        words=[["a", "b"]],
        p=[1],
    )
    done = skyshards.add(folder, path, on="source")
    assert done.columns == ("p",)
    assert [note.partition(":")[0] for note in done.notes] == [
        "when is left out", "ragged is left out", "words is left out",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="column 'when' cannot be added: values of type timestamp"):
        skyshards.add(folder, path, on="source", columns=["when"])


def test_other_folders_are_named(built, tmp_path, predictions):
    with pytest.raises(FolderError, match="not a built dataset"):
        skyshards.add(tmp_path / "nothing", predictions)
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(UsageError, match="there is no such file"):
        skyshards.add(built, tmp_path / "prediction.parquet")
    with pytest.raises(UsageError, match="has no addition 'prediction'; there are: none"):
        skyshards.drop(built, "prediction")


def test_two_at_once_are_refused(folder, built, predictions):
    with hold(folder, "downloads"), pytest.raises(BuildError, match="another build is running in this folder; wait"):
        skyshards.add(folder, predictions)
    assert subprocess.run(["diff", "-r", built, folder], capture_output=True, text=True).stdout == ""


def test_a_build_that_has_not_ended_comes_first(folder, predictions, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr("skyshards.pipeline.build.pack_all", lambda *_: _fail())
        build(Toy(ROWS + 2), folder, workers=0)
    with pytest.raises(BuildError, match="a build has not ended; complete it first, as `skyshards info` says"):
        skyshards.add(folder, predictions)
    build(Toy(ROWS + 2), folder, workers=0)
    skyshards.add(folder, predictions)
    assert_whole(folder)


def _fail():
    raise RuntimeError("stopped here")


def test_a_folder_that_cannot_be_written_to_is_left(folder, predictions, monkeypatch):
    monkeypatch.setattr("skyshards.additions.stage.is_read_only", lambda path: True)  # root may write anywhere
    with pytest.raises(BuildError, match="cannot be written to; make it writable, or copy it first"):
        skyshards.add(folder, predictions)


STOPS = (
    "skyshards.additions.stage.large_column",
    "skyshards.additions.stage.scalars.write",
    "skyshards.additions.stage.card.amend",
    "skyshards.additions.stage.hashes.write",
    "skyshards.additions.stage.publish",
)


@pytest.mark.parametrize("place", STOPS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_nothing_is_half_there_after_a_stop(folder, built, predictions, monkeypatch, place, error):
    def stop(*arguments):
        raise error

    with monkeypatch.context() as patch, pytest.raises((KeyboardInterrupt, BuildError)):
        patch.setattr(place, stop)
        skyshards.add(folder, predictions)
    assert subprocess.run(["diff", "-r", built, folder], capture_output=True, text=True).stdout == ""
    skyshards.add(folder, predictions)
    assert_whole(folder)


@pytest.mark.slow
def test_a_killed_move_is_finished(folder, predictions, monkeypatch, tmp_path):
    """Whatever of the files was moved when the process died, the next command moves the rest."""
    skyshards.add(shutil.copytree(folder, tmp_path / "whole"), predictions)
    for moved in range(8):
        copy = shutil.copytree(folder, tmp_path / f"copy-{moved}")
        count = iter(range(100))
        replace = os.replace

        def until(source, target, moved=moved, count=count, replace=replace):
            if "ready" in str(source) and next(count) == moved:
                raise KeyboardInterrupt
            replace(source, target)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("skyshards.pipeline.workspace.os.replace", until)
            skyshards.add(copy, predictions)
        assert len(skyshards.open(copy)[:]["object_id"]) == ROWS
        with pytest.raises(UsageError, match="has no addition 'other'"):
            skyshards.drop(copy, "other")
        assert_whole(copy)
        assert subprocess.run(["diff", "-r", tmp_path / "whole", copy], capture_output=True, text=True).stdout == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["added/predictions.hdf5", "added/catalog/train.hdf5"])
def test_damage_to_added_files_is_found(folder, predictions, name):
    skyshards.add(folder, predictions)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    assert any(name in problem for problem in verify.problems(folder))
    (folder / name).unlink()
    assert any(f"{name}: missing" in problem for problem in verify.problems(folder))
    skyshards.add(folder, predictions)
    assert_whole(folder)


def test_values_of_other_rows_are_found(folder, predictions):
    skyshards.add(folder, predictions)
    table, manifest = catalog.open_folder(folder)
    for name in ("p_ring", "_start:embedding"):
        swapped = table[name].take(pa.array([1, 0, *range(2, ROWS)]))
        place = table.schema.get_field_index(name)
        catalog.write(folder, manifest, table.set_column(place, table.schema.field(place), swapped))
        assert any("added/predictions.hdf5" in problem for problem in verify.problems(folder)), name


def test_the_command_tells_what_it_did(folder, predictions):
    def run(*words):
        return CliRunner().invoke(main, [str(word) for word in words])

    outcome = run("add", folder, predictions, "--on", "object_id", "--columns", "p_ring,embedding", "--prefix", "my_")
    assert outcome.exit_code == 0, outcome.output
    assert "added predictions: 2 columns (my_p_ring, my_embedding)" in outcome.output
    assert f"values in 10 of {ROWS} rows, matched by equal object_id; no match for 1 of 11 rows of the table" in (
        outcome.output
    )
    outcome = run("add", folder, predictions, "--on", "objectid")
    assert outcome.exit_code == 2 and outcome.output.startswith("Error: --on: the dataset has no column 'objectid'")
    outcome = run("add", folder, predictions, "--missing", "p_ring")
    assert outcome.exit_code == 2 and "--missing: expected NAME=VALUE, found 'p_ring'" in outcome.output
    outcome = run("drop", folder, "predictions")
    assert (outcome.exit_code, outcome.output) == (0, f"{folder}: dropped predictions\n")
    outcome = run("drop", folder, "predictions")
    assert outcome.exit_code == 2 and "has no addition 'predictions'; there are: none" in outcome.output


def test_a_table_that_is_not_in_the_catalogue_is_read_over_http(folder, predictions, tmp_path):
    skyshards.add(folder, predictions)
    remote = skyshards.open(f"file://{folder}")
    np.testing.assert_array_equal(remote[:]["embedding"], skyshards.open(folder)[:]["embedding"])


def test_joins_exports_and_pages_know_added_columns(folder, predictions, tmp_path):
    skyshards.add(folder, predictions)
    table = skyshards.open(folder)
    both = skyshards.join(table.where("p_ring > 0.3"), table, names=["first", "second"])
    np.testing.assert_array_equal(both[:]["first"]["embedding"], both[:]["second"]["embedding"])
    write_page(folder, tmp_path / "page")
    assert "p_ring" in (tmp_path / "page" / "index.html").read_text()


@pytest.mark.slow
def test_the_page_on_adding_columns_says_what_is_so(built_gz3d, tmp_path, monkeypatch):
    shutil.copytree(built_gz3d, tmp_path / "data" / "gz3d")
    monkeypatch.chdir(tmp_path)
    blocks.run((Path(__file__).parents[1] / "docs" / "adding-columns.md").read_text(encoding="utf-8"), "adding-columns")
    assert "p_ring" in skyshards.open("data/gz3d").column_names
    assert_whole(tmp_path / "data" / "gz3d")
