"""croissant.json: valid to MLCommons' own library, true to the dataset, and the same every time."""

import hashlib
import json
import shutil

import pytest

import skyshards
from skyshards.format import catalog, croissant
from skyshards.format.columns import flatten


@pytest.fixture
def folder(built_gz3d, tmp_path):
    """A copy of a built dataset, with `croissant.json`."""
    folder = shutil.copytree(built_gz3d, tmp_path / "copy")
    croissant.write(folder, catalog.open_folder(folder)[1])
    return folder


def test_describes_every_column(folder):
    description = json.loads((folder / "croissant.json").read_text())
    _, manifest = catalog.open_folder(folder)
    fields = {field["name"]: field for records in description["recordSet"] for field in records["field"]}
    assert set(fields) == set(manifest.specs)
    for path, spec in manifest.specs.items():
        assert spec.description in fields[path]["description"] and spec.unit in fields[path]["description"]
        assert fields[path].get("repeated", False) == bool(spec.shape)


def test_files_have_their_hashes(folder):
    for file in json.loads((folder / "croissant.json").read_text())["distribution"]:
        if file["@type"] == "cr:FileObject":
            content = (folder / file["contentUrl"]).read_bytes()
            assert file["sha256"] == hashlib.sha256(content).hexdigest()
            assert file["contentSize"] == f"{len(content)} B"


def test_globs_find_every_shard(folder):
    (shards,) = (
        file
        for file in json.loads((folder / "croissant.json").read_text())["distribution"]
        if file["@type"] == "cr:FileSet"
    )
    found = {path.relative_to(folder).as_posix() for pattern in shards["includes"] for path in folder.glob(pattern)}
    assert found == {shard.path for shard in catalog.open_folder(folder)[1].shards}


def test_the_same_every_time(folder):
    before = (folder / "croissant.json").read_bytes()
    croissant.write(folder, catalog.open_folder(folder)[1])
    assert (folder / "croissant.json").read_bytes() == before


def test_mlcroissant_finds_no_fault_and_reads_the_catalogue(folder):
    mlcroissant = pytest.importorskip("mlcroissant")
    data_set = mlcroissant.Dataset(folder / "croissant.json")
    assert not data_set.metadata.ctx.issues.errors
    table = skyshards.open(folder)
    ids = [str(row["catalog/object_id"], "utf-8") for row in data_set.records("catalog")]
    assert ids == list(table.columns(["object_id"])[:]["object_id"])
    row = next(iter(data_set.records("catalog")))
    wanted = flatten(table[0])
    assert row["catalog/ra"] == wanted["ra"]
    assert list(row["catalog/segmentation.vote_fraction"]) == pytest.approx(list(wanted["segmentation.vote_fraction"]))
