"""`catalog.parquet` and `sources.parquet`: what the files hold, and those of earlier versions."""

import json
import shutil
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import skyshards
from skyshards.format import catalog, provenance
from skyshards.pipeline.build import build
from tests.toy import SCHEMA, Toy
from tests.toy_folder import assert_whole

NAMES = ("elliptical", "spiral")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalog") / "toy"
    build(Toy(4, broken=(3,)), folder, workers=1)
    return folder


@pytest.fixture
def earlier(built, tmp_path):
    """The folder as version 0.1 wrote it: dictionary columns, nulls, and the number of a label's names."""
    folder = shutil.copytree(built, tmp_path / "toy")
    table = pq.read_table(folder / "catalog.parquet", read_dictionary=["_split", "_shard"])
    manifest = json.loads(table.schema.metadata[b"skyshards"])
    for column in manifest["columns"]:
        column["classes"] = column["classes"] and len(column["classes"])
    table = table.replace_schema_metadata({b"skyshards": json.dumps(manifest).encode()})
    pq.write_table(table, folder / "catalog.parquet")
    sources = pq.read_table(folder / "sources.parquet")
    for name, missing in provenance._MISSING.items():
        column = sources[name]
        column = pc.if_else(pc.equal(column, missing), pa.scalar(None, column.type), column)
        sources = sources.set_column(sources.column_names.index(name), name, column)
    pq.write_table(sources, folder / "sources.parquet")
    return folder


def test_no_dictionaries_and_no_nulls_in_the_files(built):
    for name in (catalog.CATALOG, provenance.SOURCES):
        table = pq.read_table(built / name)
        assert not any(pa.types.is_dictionary(kind) for kind in table.schema.types)
        assert sum(column.null_count for column in table.columns) == 0


def test_in_memory_the_shards_are_a_dictionary(built):
    """A path for each of 300,000 rows would take 10 MB."""
    table, _ = catalog.open_folder(built)
    assert pa.types.is_dictionary(table["_shard"].type) and pa.types.is_dictionary(table["_split"].type)


def test_folders_of_earlier_versions_open_and_grow(earlier, built):
    old, new = skyshards.open(earlier), skyshards.open(built)
    assert [row["object_id"] for row in old] == [row["object_id"] for row in new]
    assert catalog.open_folder(earlier)[1].specs["label"].classes == ("0", "1")
    assert list(provenance.read(earlier)) == list(provenance.read(built))
    build(Toy(6), earlier, workers=1)
    assert len(skyshards.open(earlier)) == 6
    assert catalog.open_folder(earlier)[1].specs["label"].classes == NAMES
    assert_whole(earlier)


def test_sources_of_earlier_versions_have_no_release(earlier):
    sources = pq.read_table(earlier / "sources.parquet")
    for lacking in (["release"], ["total", "read", "failed", "release"]):
        pq.write_table(sources.drop_columns(lacking), earlier / "sources.parquet")
        assert skyshards.open(earlier).source(0).release is None
        assert next(provenance.read(earlier)).release is None
    build(Toy(6), earlier, workers=1)
    assert skyshards.open(earlier).source(0).release is None
    assert pq.read_table(earlier / "sources.parquet")["release"].null_count == 0


def test_class_names_are_everywhere(built):
    table, manifest = catalog.open_folder(built)
    assert manifest.specs["label"].classes == SCHEMA.specs["label"].classes == NAMES
    stored = pq.read_schema(built / "catalog.parquet")
    assert json.loads(stored.field("label").metadata[b"classes"]) == list(NAMES)
    assert "label: int64 (0 elliptical, 1 spiral)" in repr(skyshards.open(built))
    assert "| a class (0 elliptical, 1 spiral) |" in (built / "README.md").read_text()


def test_the_votable_describes_every_column(built):
    schema = pq.read_schema(built / "catalog.parquet")
    assert schema.metadata[b"IVOA.VOTable-Parquet.version"] == b"1.0"
    root = ElementTree.fromstring(schema.metadata[b"IVOA.VOTable-Parquet.content"])
    fields = {field.get("name"): field for field in root.findall(".//{*}FIELD")}
    assert list(fields) == schema.names
    assert {name: fields["ra"].get(name) for name in ("datatype", "unit", "ucd")} == {
        "datatype": "double", "unit": "deg", "ucd": "pos.eq.ra;meta.main",
    }  # fmt: skip
    longest = max(len(name) for names in skyshards.open(built).catalog["votes.names"].to_pylist() for name in names)
    assert (fields["votes.names"].get("datatype"), fields["votes.names"].get("arraysize")) == (
        "unicodeChar", f"{longest}x2",
    )  # fmt: skip
    options = [(option.get("value"), option.get("name")) for option in fields["label"].findall(".//{*}OPTION")]
    assert options == [("0", "elliptical"), ("1", "spiral")]
