"""The catalogue of a built dataset in one file: every value, units and descriptions, whatever the format."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from astropy.io import fits
from astropy.table import Table

import skyshards
from skyshards.cli.main import main
from skyshards.cli.pairs import write_pairs
from skyshards.errors import BuildError, FolderError, UsageError
from skyshards.export.catalogue import FORMATS, MOC_ORDER, for_votable, write_catalogue
from skyshards.format.columns import flatten
from skyshards.pipeline.build import build
from tests.toy import Toy

LIGHT = (
    "object_id",
    "ra",
    "dec",
    "healpix",
    "fold",
    "flux",
    "count",
    "barred",
    "label",
    "votes.names",
    "votes.fraction",
    "source",
)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalogue") / "toy"
    build(Toy(30), folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def wanted(toy):
    values = flatten(skyshards.open(toy)[:])
    return {name: values[name] for name in LIGHT}


def assert_same(found, wanted, but=()):
    assert list(found) == list(LIGHT)
    for name in set(LIGHT) - set(but):
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


def columns_of(table):
    return {name: np.asarray(table[name]) for name in table.colnames}


@pytest.mark.parametrize("largest", [(1 << 63) - 1, 1 << 63], ids=["fits int64", "does not"])
def test_a_votable_has_unsigned_64_bit_integers_in_another_type(largest, tmp_path):
    numbers = pa.array([largest, None, 3], pa.uint64())
    lists = pa.array([[largest, 1]] * 3, pa.list_(pa.uint64(), 2))
    table = for_votable(pa.table({"number": numbers, "list": lists, "other": pa.array([1, 2, 3])}))
    kind = pa.int64() if largest < 1 << 63 else pa.string()
    assert table.schema.types == [kind, pa.string(), pa.int64()]
    assert [None if value is None else int(value) for value in table["number"].to_pylist()] == [largest, None, 3]
    assert json.loads(table["list"][0].as_py()) == [largest, 1]


def test_pairs_with_such_names_are_written(tmp_path):
    pairs = skyshards.crossmatch(
        {"object_id": np.array([1 << 63], np.uint64), "ra": [1.0], "dec": [2.0]}, {"ra": [1.0], "dec": [2.0]}
    )
    for name in ("pairs.vot", "pairs.fits"):
        write_pairs(pairs.schema, lambda: [pairs], tmp_path / name, None, None)
        assert [int(value) for value in Table.read(tmp_path / name)["id_a"]] == [1 << 63]


def test_votable(toy, wanted, tmp_path):
    write_catalogue(toy, tmp_path / "toy.vot", "votable")
    table = Table.read(tmp_path / "toy.vot", format="votable")
    assert_same(columns_of(table), wanted, but=["votes.names"])
    assert [json.loads(text) for text in table["votes.names"]] == wanted["votes.names"].tolist()
    assert table["flux"].unit == "uJy" and table["label"].description == "a class (0 elliptical, 1 spiral)"


def test_parquet(toy, wanted, tmp_path):
    write_catalogue(toy, tmp_path / "toy.parquet", "parquet")
    table = Table.read(tmp_path / "toy.parquet")
    assert_same(columns_of(table), wanted)
    assert table["flux"].unit == "uJy" and table["ra"].description == "right ascension (ICRS)"
    assert len(pd.read_parquet(tmp_path / "toy.parquet")) == 30


def test_csv(toy, wanted, tmp_path):
    write_catalogue(toy, tmp_path / "toy.csv", "csv")
    table = pacsv.read_csv(tmp_path / "toy.csv")
    found = {name: table[name].to_pylist() for name in table.column_names}
    for name in ("votes.names", "votes.fraction"):
        found[name] = np.array([json.loads(text) for text in found[name]], dtype=wanted[name].dtype)
    found["flux"] = np.array(found["flux"], np.float32)
    assert_same(found, wanted)


def test_fits(toy, built_gz3d, tmp_path):
    with pytest.raises(UsageError, match="expected ASCII in column 'object_id'.*votable"):
        write_catalogue(toy, tmp_path / "toy.fits", "fits")
    assert not list(tmp_path.iterdir())
    write_catalogue(built_gz3d, tmp_path / "gz3d.fits", "fits")
    table, values = Table.read(tmp_path / "gz3d.fits"), flatten(skyshards.open(built_gz3d)[:])
    lists = {name for name in values if name.startswith(("center_clusters.", "star_clusters."))}
    assert set(values) - set(table.colnames) == {"image", "segmentation.array"} | lists and len(lists) == 22
    for name in table.colnames:
        found = np.char.strip(np.asarray(table[name]).astype(str)) if values[name].dtype.kind == "U" else table[name]
        np.testing.assert_array_equal(found, values[name], err_msg=name)
    assert table["scale"].unit == "deg"
    header = fits.getheader(tmp_path / "gz3d.fits", 1)
    assert header["TCOMM1"].startswith("MaNGA ID") and header["EXTNAME"] == "gz3d"


def test_moc(toy, tmp_path):
    mocpy = pytest.importorskip("mocpy", reason="the extra `hats` is not installed")
    from astropy import units

    write_catalogue(toy, tmp_path / "moc.fits", "moc")
    moc = mocpy.MOC.load(tmp_path / "moc.fits", format="fits")
    where = skyshards.open(toy)[:]
    assert moc.contains_lonlat(where["ra"] * units.deg, where["dec"] * units.deg).all()
    assert moc.max_order == MOC_ORDER and moc.sky_fraction < 30 / (12 * 4**MOC_ORDER) + 1e-12


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_bytes_again(built_gz3d, tmp_path, form):
    if form == "moc":
        pytest.importorskip("mocpy", reason="the extra `hats` is not installed")
    for name in ("one", "two"):
        write_catalogue(built_gz3d, tmp_path / name, form)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        write_catalogue(built_gz3d, tmp_path / "one", form)


def test_what_cannot_be_written_is_said(toy, tmp_path):
    with pytest.raises(FolderError, match="not a built data"):
        write_catalogue(tmp_path, tmp_path / "x.csv", "csv")
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match="file"):
        write_catalogue(toy, tmp_path / "file" / "x.csv", "csv")


def test_from_the_command_line(toy, tmp_path, capsys):
    main(["export", str(toy), str(tmp_path / "toy.csv"), "--format", "csv"], standalone_mode=False)
    assert capsys.readouterr().out == f"{tmp_path / 'toy.csv'}: 30 rows\n"
