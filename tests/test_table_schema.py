"""What a table says of itself: columns, name, format, and where each row came from."""

import pickle
import shutil

import pytest

import skyshards
from skyshards.errors import FolderError
from skyshards.format.layout import FORMAT_VERSION
from skyshards.pipeline.build import build
from skyshards.pipeline.recipe import Source
from tests.toy import SCHEMA, Toy


class Fetched(Toy):
    """Rows that come from files."""

    def sources(self, fetcher):
        for source in super().sources(fetcher):
            yield Source(source.key, url=f"https://archive.test/{source.key}", info=source.info)

    def fetch(self, source, fetcher, path):
        return source.key.encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schema") / "toy"
    build(Fetched(6), folder, workers=0, simulated=True)
    return folder


@pytest.fixture
def table(folder):
    return skyshards.open(folder)


def test_the_schema_is_what_was_declared(table):
    assert list(table.schema) == table.column_names == list(SCHEMA.specs)
    for name, spec in SCHEMA.specs.items():
        column = table.schema[name]
        assert (column.name, column.shape, column.unit) == (name, spec.shape, spec.unit)
        assert (column.description, column.classes) == (spec.description, spec.classes)
    assert table.schema["label"].classes == ("elliptical", "spiral") and table.schema["ra"].classes is None
    assert [table.schema[name].dtype for name in ("flux", "barred", "source")] == ["float32", "bool", "str"]
    assert table.schema["picture"].dtype == "image file"


def test_the_schema_fits_the_values(table):
    row = table[0]
    for name in ("ra", "flux", "count", "label", "noise"):
        assert (str(row[name].dtype), row[name].shape) == (table.schema[name].dtype, table.schema[name].shape)


def test_the_schema_prints_a_line_a_column(table):
    lines = repr(table.schema).splitlines()
    assert len(lines) == len(SCHEMA.specs)
    assert "flux: float32 (uJy): flux" in lines and "votes.mask: uint8 [16, 18]: a mask" in lines
    assert "label: int64 (0 elliptical, 1 spiral): a class" in lines


def test_columns_are_names_and_a_verb_that_selects(table):
    assert table.columns == table.column_names and repr(table.columns) == repr(table.column_names)
    assert isinstance(table.column_names, list)
    for narrow in (table.columns(["votes", "ra"]), table.select_columns(["votes", "ra"])):
        assert narrow.column_names == ["ra", "votes.names", "votes.fraction", "votes.mask"] == list(narrow.schema)
        assert set(narrow[0]) == {"ra", "votes"}
    table.column_names.clear()
    assert table.column_names == list(SCHEMA.specs)


def test_a_table_knows_its_name_and_format(table):
    assert (table.name, table.simulated) == ("toy", True)
    assert table.format == (FORMAT_VERSION, f"skyshards {skyshards.__version__}")
    assert table.format.version == FORMAT_VERSION


def test_every_row_knows_its_source(table):
    for part in (table, table.where("label == 1"), table.select([5, 2, 2]), pickle.loads(pickle.dumps(table))):
        for number, key in enumerate(part.catalog["source"].to_pylist()):
            origin = part.source(number)
            assert (origin.source, origin.url, origin.nbytes) == (key, f"https://archive.test/{key}", len(key))
            assert len(origin.sha256) == 64
    assert table.source(-1) == table.source(5)
    with pytest.raises(IndexError, match="row 6 is out of range"):
        table.source(6)


def test_rows_that_were_not_fetched_have_no_url(tmp_path):
    build(Toy(1), tmp_path, workers=0)
    assert skyshards.open(tmp_path).source(0) == ("s00000", None, None, None, None)


def test_a_folder_without_sources_is_named(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "toy")
    (copy / "sources.parquet").unlink()
    with pytest.raises(FolderError, match=f"{copy}/sources.parquet: cannot be read"):
        skyshards.open(copy).source(0)
    build(Toy(1), tmp_path / "other", workers=0)
    shutil.copy(tmp_path / "other" / "sources.parquet", copy)
    with pytest.raises(FolderError, match="sources.parquet has no source 's0000[1-5]'"):
        [skyshards.open(copy).source(row) for row in range(6)]


def test_a_join_has_schema_and_sources(folder, tmp_path):
    build(Toy(3), tmp_path / "few", workers=0)
    joined = skyshards.join(skyshards.open(folder), skyshards.open(tmp_path / "few"), how="left", names=("all", "few"))
    assert joined.simulated and list(joined.schema) == joined.column_names
    assert joined.schema["all.flux"].unit == "uJy" and joined.schema["separation"].unit == "arcsec"
    assert joined.columns(["all.flux"]).column_names == ["all.flux"]
    for number, matched in enumerate(joined.catalog["matched"].to_pylist()):
        origins = joined.source(number)
        assert origins["all"].source == joined.catalog["all.source"][number].as_py()
        assert (origins["few"] is not None) == matched
