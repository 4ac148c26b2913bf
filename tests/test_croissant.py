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
    (records,) = description["recordSet"]
    fields = {field["name"]: field for field in records["field"]}
    assert set(fields) == {path for path, spec in manifest.specs.items() if not spec.heavy}
    shards = next(file for file in description["distribution"] if file["@id"] == "shards")
    for path, spec in manifest.specs.items():
        words = shards["description"] if spec.heavy else fields[path]["description"]
        assert spec.description in words and spec.unit in words and (not spec.shape or str(list(spec.shape)) in words)
        assert spec.heavy or fields[path].get("repeated", False) == bool(spec.shape)
    assert "image: gri colour image" in shards["description"] and "in catalog.parquet." in shards["description"]


def test_says_where_and_when_it_was_published(folder):
    description = json.loads((folder / "croissant.json").read_text())
    found = [description[name] for name in ("url", "datePublished", "version")]
    assert found == ["https://doi.org/10.1093/mnras/stab2282", "2021", skyshards.__version__]


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ("doi = {10.1/x}, url = {https://a.org}", "https://doi.org/10.1/x"),
        ("url = {https://a.org/b.html}, eprint = {2102.08414}", "https://a.org/b.html"),
        ("eprint = {2102.08414}", "https://arxiv.org/abs/2102.08414"),
        ("series = {VizieR}", None),
    ],
)
def test_the_page_is_where_the_first_work_is(fields, url):
    bibtex = f"@misc{{a,\n  title = {{A}},\n  {fields}\n}}\n\n@misc{{b,\n  doi = {{10.1/later}}\n}}\n"
    assert croissant.publication(bibtex, "skyshards 0.1.0")["url"] == url


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


def test_mlcroissant_finds_no_fault_and_reads_all_records(folder):
    mlcroissant = pytest.importorskip("mlcroissant")
    data_set = mlcroissant.Dataset(folder / "croissant.json")
    assert not data_set.metadata.ctx.issues.errors and not data_set.metadata.ctx.issues.warnings
    assert [records.id for records in data_set.metadata.record_sets] == ["catalog"]  # and promises no others
    table = skyshards.open(folder)
    ids = [str(row["catalog/object_id"], "utf-8") for row in data_set.records("catalog")]
    assert ids == list(table.columns(["object_id"])[:]["object_id"])
    row = next(iter(data_set.records("catalog")))
    wanted = flatten(table[0])
    assert row["catalog/ra"] == wanted["ra"]
    assert list(row["catalog/segmentation.vote_fraction"]) == pytest.approx(list(wanted["segmentation.vote_fraction"]))
