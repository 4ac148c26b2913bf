"""The format of folders: those of earlier versions open, those of later ones are refused by name."""

import importlib
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

import skyshards
from skyshards import verify
from skyshards.cli.main import main
from skyshards.errors import NewerFormat
from skyshards.format import catalog
from skyshards.format.columns import flatten
from skyshards.format.layout import FORMAT_VERSION
from skyshards.pipeline.build import build
from skyshards.read.arrow import as_numpy
from tests.toy import Toy
from tests.versions import stock_reads_hdf5

EARLIER = sorted(Path(__file__).parent.glob("format_*/*"))
"""Folders of each dataset as earlier versions built them, from the demo archive of their time."""


def identity(path):
    return f"{path.parent.name}-{path.name}"


def test_there_are_earlier_folders_of_each_dataset():
    names = ("candels_blend", "gz3d", "gz_decals", "gz_sdss")
    assert [identity(path) for path in EARLIER] == [
        f"format_{number}-{name}" for number in range(FORMAT_VERSION) for name in names
    ]


@pytest.mark.parametrize("folder", EARLIER, ids=identity)
def test_an_earlier_folder_opens(folder):
    _, manifest = catalog.open_folder(folder)
    assert manifest.format < FORMAT_VERSION
    table = skyshards.open(folder, decode=False)
    place = 0
    for shard in manifest.shards:
        with h5py.File(folder / shard.path) as file:
            for number in range(shard.rows):
                row = flatten(table[place])
                place += 1
                for name, spec in manifest.specs.items():
                    stored = file[name.replace(".", "/")]
                    value = stored.asstr()[number] if spec.kind == "string" else stored[number]
                    found = np.frombuffer(row[name], np.uint8) if spec.kind == "bytes" else row[name]
                    np.testing.assert_array_equal(found, value, err_msg=name)
    assert place == len(table) > 0


@pytest.mark.parametrize("folder", EARLIER, ids=identity)
def test_an_earlier_folder_verifies(folder):
    assert list(verify.problems(folder)) == []


@stock_reads_hdf5
@pytest.mark.parametrize("folder", EARLIER, ids=identity)
def test_an_earlier_folder_loads(folder):
    rows = load_dataset(str(folder), split="train", streaming=True)
    assert sum(1 for _ in rows) == len(skyshards.open(folder, "train"))


@pytest.mark.parametrize("own", [True, False], ids=["own", "skyshards"])
@pytest.mark.parametrize("folder", EARLIER, ids=identity)
def test_an_earlier_folder_loads_by_builders_of_today(folder, own):
    """What a row holds is what the folder says, also where the dataset declares other columns today."""
    importlib.import_module(folder.name)
    name = folder.name if own else "skyshards"
    table = skyshards.open(folder, "train", decode=False)
    rows = load_dataset(name, data_dir=str(folder), split="train", streaming=True, decode=False)
    for batch, wanted in zip(rows.with_format("arrow").iter(1), table, strict=True):
        for path, values in flatten(as_numpy(batch)).items():
            np.testing.assert_array_equal(values[0], flatten(wanted)[path], err_msg=path)


def with_manifest(folder, **changes):
    table = pq.read_table(folder / "catalog.parquet")
    record = json.loads(table.schema.metadata[b"skyshards"])
    record |= changes
    pq.write_table(table.replace_schema_metadata({b"skyshards": json.dumps(record)}), folder / "catalog.parquet")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("format") / "toy"
    build(Toy(3), folder, workers=1)
    return folder


@pytest.fixture
def folder(built, tmp_path):
    return shutil.copytree(built, tmp_path / "toy")


def test_the_format_stands_in_card_manifest_and_shards(built):
    _, manifest = catalog.open_folder(built)
    writer = f"skyshards {skyshards.__version__}"
    assert (manifest.format, manifest.written_by) == (FORMAT_VERSION, writer)
    assert f"Written by {writer} in format {FORMAT_VERSION}." in (built / "README.md").read_text()
    with h5py.File(built / manifest.shards[0].path) as file:
        assert (file.attrs["format"], file.attrs["written_by"]) == (str(FORMAT_VERSION), writer)


def test_what_is_not_known_is_passed_over(folder, built):
    _, manifest = catalog.open_folder(folder)
    columns = [vars(spec) | {"unheard_of": None} for spec in manifest.columns]
    columns = [{name: value for name, value in column.items() if name not in ("nbytes", "heavy")} for column in columns]
    with_manifest(folder, later=1, columns=columns, shards=[[*shard, "more"] for shard in manifest.shards])
    assert catalog.open_folder(folder)[1] == manifest


def test_a_later_format_is_refused_by_name(folder):
    later = FORMAT_VERSION + 1
    with_manifest(folder, format=later, written_by="skyshards 7.0", columns="of another kind")
    message = (
        rf"{folder}: written by skyshards 7.0 \(format {later}\), this is skyshards .* \(format {later - 1}\): upg"
    )
    with pytest.raises(NewerFormat, match=message):
        skyshards.open(folder)
    with pytest.raises(NewerFormat, match=message):
        build(Toy(3), folder, workers=1)


def test_a_later_format_is_refused_by_every_command(folder):
    from click.testing import CliRunner

    with_manifest(folder, format=FORMAT_VERSION + 1)
    for command in ("info", "verify", "cite"):
        outcome = CliRunner().invoke(main, [command, str(folder)])
        assert outcome.exit_code == 1 and "upgrade" in outcome.stderr and "damaged" not in outcome.stderr


def test_an_earlier_folder_is_built_upon(tmp_path):
    """What is added is in the format of today, and so is the manifest."""
    folder = tmp_path / "toy"
    build(Toy(8), folder, limit=4, workers=1)
    with_manifest(folder, format=0)
    build(Toy(8), folder, workers=1)
    assert catalog.open_folder(folder)[1].format == FORMAT_VERSION
    assert list(verify.problems(folder)) == []
