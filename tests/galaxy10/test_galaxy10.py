"""Galaxy10 DECaLS against the contract, and its values against those that h5py reads from the file."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import requests
from click.testing import CliRunner

import skyshards
from galaxy10.build_parent_sample import FILE, SHA256, URL, Galaxy10Recipe, main
from galaxy10.galaxy10 import CLASSES
from skyshards.files import file_digest
from skyshards.pipeline.build import build
from skyshards.pipeline.recipe import Source
from skyshards.testing.contract import rows_of
from tests.contract import Contract, assert_same

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def published(demo, tmp_path_factory):
    """The demo archive's file."""
    path = tmp_path_factory.mktemp("file") / FILE
    path.write_bytes(requests.get(demo.galaxy10_url, timeout=300).content)
    return path


@pytest.fixture(scope="module")
def built(published, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "galaxy10"
    assert build(Galaxy10Recipe(local_data_path=published), folder, workers=2).failed == 0
    return folder


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


class TestDemoFile(Contract):
    @pytest.fixture
    def folder(self, built):
        return built

    @pytest.fixture
    def recipe(self, published):
        return Galaxy10Recipe(local_data_path=published)

    @pytest.fixture
    def expected(self, published):
        """What h5py alone reads from the file."""
        with h5py.File(published) as opened:
            columns = {name: dataset[:] for name, dataset in opened.items()}
        return {
            (str(row), FILE): {
                "ra": columns["ra"][row],
                "dec": columns["dec"][row],
                "image": columns["images"][row],
                "label": columns["ans"][row],
                "scale": columns["pxscale"][row] / 3600,
                "redshift": columns["redshift"][row],
            }
            for row in range(len(columns["ans"]))
        }

    def test_labels_have_names(self, table):
        assert tuple(table.schema["label"].classes) == CLASSES and len(CLASSES) == 10

    def test_some_redshifts_are_missing(self, table):
        assert 0 < np.isnan(table[:]["redshift"]).sum() < len(table)

    def test_a_galaxy_that_is_there_twice_has_two_rows(self, table):
        first, last = table.find("0")[0], table.find(str(len(table) - 1))[0]
        assert_same(first["image"], last["image"])
        assert (first["ra"], first["dec"], first["label"]) == (last["ra"], last["dec"], last["label"])


def test_the_contract_reads_blocks_as_the_recipe_does(published, built):
    rows = list(rows_of(Galaxy10Recipe(), Source(FILE), published))
    assert [row["object_id"] for row in rows] == [str(row) for row in range(len(skyshards.open(built)))]


def test_the_demo_is_built_from_its_one_file(tmp_path):
    for options, rows in ((["--tiny"], 5), ([], 41)):
        outcome = run("--demo", "--workers", 0, "-o", tmp_path / "galaxy10", *options)
        assert outcome.exit_code == 0, outcome.output
        table = skyshards.open(tmp_path / "galaxy10")
        assert sorted(table.catalog["object_id"].to_pylist(), key=int) == [str(row) for row in range(rows)]
        assert table.simulated
    assert not list(tmp_path.rglob("*.h5")), "the download is deleted after its last row"
    (source,) = pq.read_table(tmp_path / "galaxy10" / "sources.parquet").to_pylist()
    assert source["key"] == FILE and len(source["sha256"]) == 64


def test_tiny_and_then_all_is_all(published, built, tmp_path):
    folder = tmp_path / "galaxy10"
    for options in (["--tiny"], ["--limit", 7], []):
        outcome = run("--local_data_path", published, "--workers", 1, "-o", folder, *options)
        assert outcome.exit_code == 0, outcome.output
    assert_same(skyshards.open(folder)[:]["image"], skyshards.open(built)[:]["image"])
    assert {path.name for path in folder.glob("healpix=*")} == {path.name for path in built.glob("healpix=*")}


@pytest.mark.slow
def test_the_script_builds_from_a_folder_with_the_file(published, tmp_path):
    script = REPOSITORY / "galaxy10" / "build_parent_sample.py"
    command = [sys.executable, script, "--local_data_path", published.parent, "--limit", "3", "--workers", "1"]
    outcome = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=300)
    assert outcome.returncode == 0, outcome.stderr
    assert len(skyshards.open(tmp_path / "data" / "galaxy10")) == 3


def test_only_the_published_address_has_the_published_checksum():
    (source,) = Galaxy10Recipe().sources(None)
    assert (source.url, source.checksum) == (URL, f"sha256:{SHA256}") and len(SHA256) == 64
    (source,) = Galaxy10Recipe("https://example.org/copy.h5").sources(None)
    assert source.checksum is None


def truncated(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def without_labels(path):
    with h5py.File(path, "r+") as file:
        del file["ans"]


def of_64_pixels(path):
    with h5py.File(path, "r+") as file:
        del file["images"]
        file["images"] = np.zeros((len(file["ans"]), 64, 64, 3), "uint8")


def with_fewer_positions(path):
    with h5py.File(path, "r+") as file:
        rows = file["ra"][:-1]
        del file["ra"]
        file["ra"] = rows


FOREIGN = {
    "truncated": (truncated, "expected the HDF5 file Galaxy10_DECals.h5, whole; found: "),
    "no HDF5": (lambda path: path.write_bytes(b"<html>404</html>"), "whole; found: "),
    "empty": (lambda path: path.write_bytes(b""), "whole; found: "),
    "no labels": (without_labels, "found no ans"),
    "small images": (of_64_pixels, "found images [11, 64, 64, 3]"),
    "fewer positions": (with_fewer_positions, "found ra [10]"),
    "missing": (lambda path: path.unlink(), "whole; found: "),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_local_file_that_is_another_is_refused_in_one_line(kind, published, tmp_path):
    change, words = FOREIGN[kind]
    copy = shutil.copy(published, tmp_path / FILE)
    change(copy)
    outcome = run("--local_data_path", tmp_path, "-o", tmp_path / "out", "--workers", 0)
    (line,) = outcome.stderr.splitlines()
    assert outcome.exit_code == 2 and line.startswith(f"Error: --local_data_path {copy}: ") and words in line
    assert not (tmp_path / "out" / "catalog.parquet").exists()


def test_a_download_that_is_another_file_is_refused(tmp_path, demo):
    outcome = run("--url", demo.decals_url, "-o", tmp_path / "out", "--workers", 0)
    assert outcome.exit_code == 1
    (failure,) = (tmp_path / "out" / "failures.csv").read_text().splitlines()[1:]
    assert "expected the HDF5 file" in failure


def test_demo_cannot_be_combined_with_another_source(published):
    for option in ("--url", "--local_data_path"):
        outcome = run("--demo", option, published)
        assert outcome.exit_code == 2 and f"--demo cannot be combined with {option}" in outcome.stderr


def test_a_bad_row_costs_that_row_alone(published, built, tmp_path):
    copy = shutil.copy(published, tmp_path / FILE)
    with h5py.File(copy, "r+") as opened:
        opened["ra"][4], opened["ans"][6] = np.nan, 10
    run("--local_data_path", copy, "-o", tmp_path / "out", "--workers", 1)
    found = set(skyshards.open(tmp_path / "out").catalog["object_id"].to_pylist())
    assert found == set(skyshards.open(built).catalog["object_id"].to_pylist()) - {"4", "6"}
    position, label = (tmp_path / "out" / "failures.csv").read_text().splitlines()[1:]
    assert "ra=nan" in position and "expected a label from 0 to 9" in label


def test_the_classes_of_the_demo_follow_looks():
    from demo_archive.holdings.galaxy10 import label
    from demo_archive.simulation.galaxies import simulate
    from demo_archive.simulation.looks import look

    galaxies = simulate(300, 0)
    assert {label(galaxy) for galaxy in galaxies} == set(range(10))
    edge_on = {label(galaxy) for galaxy in galaxies if look(galaxy).edge_on}
    assert {CLASSES[number] for number in edge_on} == {"Edge-on without Bulge", "Edge-on with Bulge"}
    cigars = [look(galaxy) for galaxy in galaxies if CLASSES[label(galaxy)] == "Cigar Shaped Smooth"]
    assert all(0.3 < shown.axis_ratio < 0.45 and shown.bulge == 1 for shown in cigars)


def test_the_file_is_the_same_every_time(published):
    from demo_archive import DemoArchive

    with DemoArchive(galaxies=10) as archive:
        content = requests.get(archive.galaxy10_url, timeout=300).content
    again = published.with_name("again.h5")
    again.write_bytes(content)
    assert file_digest(again) == file_digest(published)
