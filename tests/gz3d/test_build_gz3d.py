"""GZ3D from the archive to the folder, by the command that users run, with an archive and files that misbehave."""

import csv
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import urllib3
from astropy.io import fits
from click.testing import CliRunner

import gz3d
import skyshards
from demo_archive import DemoArchive, Fault
from gz3d import build_parent_sample
from gz3d.fits import read_gz3d
from gz3d.sas import GZ3D_URL, list_gz3d
from skyshards import verify
from skyshards.cli.main import main
from skyshards.fetch.client import Fetcher
from skyshards.text import counted
from tests.versions import stock_reads_hdf5

REPOSITORY = Path(__file__).parents[2]
GALAXIES = 8


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    """Retries without the pauses between them."""
    monkeypatch.setattr(urllib3.Retry, "sleep", lambda self, response=None: None)


@pytest.fixture
def archive():
    with DemoArchive(galaxies=GALAXIES) as archive:
        yield archive
        assert archive.errors == []


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A folder of the files that `archive` serves."""
    folder = tmp_path_factory.mktemp("local")
    with DemoArchive(galaxies=GALAXIES) as archive:
        for name, url in list_gz3d(archive.sas_url, Fetcher()).files.items():
            Fetcher().download(url, folder / name)
    return folder


@pytest.fixture(scope="module")
def whole(local, tmp_path_factory):
    """What a build without any trouble makes of them."""
    folder = tmp_path_factory.mktemp("whole") / "gz3d"
    assert run("--local_data_path", local, "-o", folder).exit_code == 0
    return folder


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "gz3d"


def run(*arguments):
    """The command; whatever happens, what it says is in lines and no traceback."""
    outcome = CliRunner().invoke(main, ["build", "gz3d", "--workers", "1", *map(str, arguments)])
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit), outcome.exception
    assert "Traceback" not in outcome.output
    return outcome


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.hdf5"))
    }


def sources(folder):
    return {source["key"]: source for source in pq.read_table(folder / "sources.parquet").to_pylist()}


def failures(folder):
    with (folder / "failures.csv").open(newline="") as file:
        return {line["key"]: line["error"] for line in csv.DictReader(file)}


def names_asked_for(archive):
    return [request.path.rpartition("/")[2] for request in archive.requests if request.path.endswith(".fits.gz")]


def test_the_archive_and_a_folder_of_its_files_give_the_same_bytes(archive, whole, folder):
    outcome = run("--archive_url", archive.sas_url, "-o", folder)
    (line,) = outcome.stderr.splitlines()
    assert outcome.exit_code == 0 and " sources to do: " in line
    assert digests(folder) == digests(whole)
    assert not (folder / "fits").exists(), "downloads are deleted"
    assert sorted(names_asked_for(archive)) == sorted(sources(folder)), "each file is asked for once"
    for key, source in sources(folder).items():
        assert (source["url"], source["status"]) == (archive.sas_url + key, "done")


@stock_reads_hdf5
def test_the_summary_counts_and_its_lines_load(whole, local, folder):
    outcome = run("--local_data_path", local, "-o", folder)
    shards = digests(folder)
    assert f"{folder}: {GALAXIES} rows in {counted(len(shards), 'shards')}, " in outcome.stdout
    assert f"({GALAXIES} rows added, 0 sources failed, " in outcome.stdout
    lines = outcome.stdout.partition("Load it with\n")[2].splitlines()
    names = {}
    exec("\n".join(line.strip() for line in lines if line.startswith("    ")), names)
    assert next(iter(names["ds"]))["segmentation"]["array"].shape == (4, 525, 525)
    assert len(names["table"]) == GALAXIES


@pytest.mark.slow
def test_passing_faults_cost_nothing(archive, whole, folder):
    names = sorted(sources(whole))
    for name, kind in zip(names, ["503", "429", "reset", "truncate", "bad_checksum", "500", "502", "504"], strict=True):
        archive.add_fault(Fault(name, kind, times=2, retry_after=0))
    assert run("--archive_url", archive.sas_url, "-o", folder).exit_code == 0
    assert digests(folder) == digests(whole)
    assert len(names_asked_for(archive)) == 3 * GALAXIES


LASTING = [("404", 1), ("bad_checksum", 6), ("truncate", 6), ("503", 6)]
REASONS = ["HTTP status 404", "wrong checksum: expected sha1:", "bytes", "HTTP status 503"]


@pytest.mark.slow
def test_lasting_faults_are_recorded_and_only_those_sources_tried_again(archive, whole, folder):
    names = sorted(sources(whole))[1::2]
    for name, (kind, times) in zip(names, LASTING, strict=True):
        archive.add_fault(Fault(name, kind, times=times))
    outcome = run("--archive_url", archive.sas_url, "-o", folder)
    assert outcome.exit_code == 1
    assert "4 sources failed" in outcome.stdout and "failures.csv" in outcome.stderr
    recorded = failures(folder)
    assert list(recorded) == names
    for name, reason in zip(names, REASONS, strict=True):
        assert reason in recorded[name] and archive.sas_url + name in recorded[name]
        source = sources(folder)[name]
        assert (source["status"], source["error"], source["shard"]) == ("failed", recorded[name], "")
    assert len(skyshards.open(folder)) == 4 and list(verify.problems(folder)) == []
    assert [path.name for path in folder.rglob("*") if path.is_file() and "fits" in path.name] == []

    asked_before = len(names_asked_for(archive))
    assert run("--archive_url", archive.sas_url, "-o", folder).exit_code == 0
    assert sorted(names_asked_for(archive)[asked_before:]) == names
    assert digests(folder) == digests(whole)
    assert not (folder / "failures.csv").exists()
    assert (folder / "tries.csv").read_text().count(",2\n") == len(names)


def overwrite(path, hdu, data):
    """Put other bytes at the beginning of an HDU's data."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    with fits.open(io.BytesIO(content)) as hdus:
        start = hdus.fileinfo(hdu)["datLoc"]
    content[start : start + len(data)] = data
    path.write_bytes(gzip.compress(bytes(content), 1))


@pytest.mark.slow
def test_bad_files_are_named_with_their_reasons_and_the_rest_is_built(local, whole, tmp_path, folder):
    files = shutil.copytree(local, tmp_path / "files")
    names = sorted(path.name for path in files.iterdir())
    (files / names[0]).write_bytes(b"<html>404 Not Found</html>")
    (files / names[1]).write_bytes((files / names[1]).read_bytes()[:-1000])
    (files / names[2]).write_bytes(gzip.compress(b"SIMPLE? no"))
    overwrite(files / names[3], 2, np.array(257, ">f8").tobytes())
    overwrite(files / names[4], 5, np.array(np.nan, ">f4").tobytes())
    (files / "notes.fits.gz").write_bytes(b"")
    (files / "folder.fits.gz").mkdir()
    (files / "gone.fits.gz").symlink_to(files / "nowhere")
    outcome = run("--local_data_path", files, "-o", folder)
    assert outcome.exit_code == 1 and "3 rows in" in outcome.stdout and "8 sources failed" in outcome.stdout
    recorded = failures(folder)
    for name, reason in {
        names[0]: "not a gzip file",
        names[1]: "cut short",
        names[2]: "not a FITS file",
        names[3]: "HDU 2: expected whole numbers from 0 to 255 in the mask, found 257.0",
        names[4]: "no position: .*ra=nan",
        "notes.fits.gz": "file name 'notes.fits.gz'",
        "folder.fits.gz": "folder.fits.gz",
        "gone.fits.gz": "gone.fits.gz",
    }.items():
        assert re.search(reason, recorded[name])
        assert "\n" not in recorded[name]
    assert list(verify.problems(folder)) == []

    for name in ("notes", "folder", "gone"):
        path = files / f"{name}.fits.gz"
        path.rmdir() if path.is_dir() else path.unlink()
    for name in names[:5]:
        shutil.copy(local / name, files / name)
    assert run("--local_data_path", files, "-o", folder).exit_code == 0
    assert digests(folder) == digests(whole)


def test_a_name_that_is_no_unicode_ends_no_build(local, tmp_path, folder):
    files = tmp_path / "files"
    files.mkdir()
    one = sorted(local.iterdir())[0]
    shutil.copy(one, files)
    shutil.copy(one, os.fsencode(files) + b"/gz3d_1-2\xff_19_7.fits.gz")
    run("--local_data_path", files, "-o", folder)
    assert len(sources(folder)) == 2 and sources(folder)[one.name]["status"] == "done"
    assert list(verify.problems(folder)) == []


def test_nothing_is_deleted_from_a_folder_of_the_users(local, tmp_path, folder):
    before = {path.name: path.stat().st_mtime_ns for path in local.iterdir()}
    run("--local_data_path", local, "-o", folder, "--limit", 2)
    assert {path.name: path.stat().st_mtime_ns for path in local.iterdir()} == before


@pytest.mark.slow
def test_keep_fits_keeps_the_files(archive, local, whole, folder):
    assert run("--archive_url", archive.sas_url, "--keep_fits", "-o", folder).exit_code == 0
    kept = {path.name: path.read_bytes() for path in (folder / "fits").glob("*.fits.gz")}
    assert kept == {path.name: path.read_bytes() for path in local.iterdir()}
    assert digests(folder) == digests(whole)
    (folder / next(iter(digests(folder)))).unlink()
    asked = len(names_asked_for(archive))
    assert run("--archive_url", archive.sas_url, "--keep_fits", "-o", folder).exit_code == 0
    assert len(names_asked_for(archive)) == asked, "what was kept is not fetched again"
    assert digests(folder) == digests(whole)


@pytest.mark.slow
def test_kept_files_stay_when_a_later_build_keeps_none(archive, whole, folder):
    assert run("--archive_url", archive.sas_url, "--keep_fits", "--limit", 2, "-o", folder).exit_code == 0
    kept = {path.name: path.read_bytes() for path in (folder / "fits").glob("*.fits.gz")}
    assert len(kept) == 2
    (folder / next(iter(digests(folder)))).unlink()  # and are read again
    for _ in range(2):
        assert run("--archive_url", archive.sas_url, "-o", folder).exit_code == 0
        assert {path.name: path.read_bytes() for path in (folder / "fits").glob("*.fits.gz")} == kept
    assert digests(folder) == digests(whole)


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--limit", "2"], ["--keep_fits"]])
def test_files_that_a_user_put_there_stay(archive, local, whole, folder, options):
    """One of the archive's, and one of the user's own; what the build downloaded goes as ever."""
    name = sorted(sources(whole))[0]
    (folder / "fits").mkdir(parents=True)
    shutil.copy(local / name, folder / "fits")
    (folder / "fits" / "notes.txt").write_text("mine")
    before = len(names_asked_for(archive))
    for _ in range(2):
        outcome = run("--archive_url", archive.sas_url, "-o", folder, *options)
        assert outcome.exit_code == 0, outcome.output
        left = {path.name for path in (folder / "fits").iterdir()}
        expected = {path.name for path in local.iterdir()} | {".kept"} if "--keep_fits" in options else {name}
        assert left == expected | {"notes.txt"}
        assert name not in names_asked_for(archive)[before:]
        assert (folder / "fits" / name).read_bytes() == (local / name).read_bytes()


def test_a_kept_file_that_is_damaged_is_fetched_again(archive, whole, folder):
    name = sorted(sources(whole))[0]
    (folder / "fits").mkdir(parents=True)
    (folder / "fits" / name).write_bytes(b"half a file")
    assert run("--archive_url", archive.sas_url, "--keep_fits", "-o", folder).exit_code == 0
    assert digests(folder) == digests(whole)


@pytest.mark.slow
def test_a_cut_leaves_out_rows_and_says_so(local, folder):
    fractions = {path.name: max(read_gz3d(path)["segmentation"]["vote_fraction"]) for path in local.iterdir()}
    cut = sorted(fractions.values())[len(fractions) // 2]  # a value itself: the bound is included
    kept = {name for name, fraction in fractions.items() if fraction >= cut}
    assert 0 < len(kept) < len(fractions)
    outcome = run("--local_data_path", local, "--vote_fraction_cut", float(cut), "-o", folder)
    assert outcome.exit_code == 0
    assert f", {len(fractions) - len(kept)} left out by the options, " in outcome.stdout
    table = skyshards.open(folder)
    assert set(table.catalog["source"].to_pylist()) == kept
    assert table[:]["segmentation"]["vote_fraction"].max(axis=1).min() >= cut
    statuses = {name: source["status"] for name, source in sources(folder).items()}
    assert statuses == {name: "done" if name in kept else "left out" for name in fractions}
    assert "0 rows added" in run("--local_data_path", local, "--vote_fraction_cut", float(cut), "-o", folder).stdout
    outcome = run("--local_data_path", local, "--vote_fraction_cut", 0.99, "-o", folder)
    assert outcome.exit_code == 2 and "was built with --vote_fraction_cut " in outcome.stderr


@pytest.mark.slow
def test_cuts_on_bars_and_arms_and_folders_without_them(local, whole, folder):
    fractions = {path.name: read_gz3d(path)["segmentation"]["vote_fraction"] for path in local.iterdir()}
    spiral, bar = (sorted(values)[-6] for values in list(zip(*fractions.values(), strict=True))[2:])
    cuts = ("--bars_only", float(bar), "--spirals_only", float(spiral))
    assert run("--local_data_path", local, *cuts, "-o", folder).exit_code == 0
    kept = {name for name, values in fractions.items() if values[3] >= bar and values[2] >= spiral}
    assert set(skyshards.open(folder).catalog["source"].to_pylist()) == kept and 0 < len(kept) < GALAXIES
    outcome = run("--local_data_path", local, *cuts[:2], "-o", folder)
    assert outcome.exit_code == 2 and f"was built with --spirals_only {spiral}, now without it" in outcome.stderr
    outcome = run("--local_data_path", local, *cuts, "-o", whole)
    assert outcome.exit_code == 2 and f"was built without --bars_only, now with {bar}" in outcome.stderr


def test_polygons_are_another_dataset(local, whole, folder):
    outcome = run("--local_data_path", local, "--polygons", "-o", whole)
    assert outcome.exit_code == 2 and "was built without --polygons, now with it" in outcome.stderr
    assert run("--local_data_path", local, "--polygons", "--limit", 1, "-o", folder).exit_code == 0
    row = skyshards.open(folder)[0]
    assert len(gz3d.drawn(row, "bar")) == row["volunteers"]["bar"] == 15
    assert sum(map(bool, gz3d.drawn(row, "bar"))) == row["drew"]["bar"]


def test_a_folder_with_fewer_columns_is_read_but_not_built_upon(tmp_path):
    folder = shutil.copytree(REPOSITORY / "tests" / "format_1" / "gz3d", tmp_path / "gz3d")
    before = digests(folder)
    assert "volunteers.bar" not in skyshards.open(folder).column_names
    outcome = run("--demo", "-o", folder)
    assert outcome.exit_code == 2 and outcome.stdout == ""
    assert "was built by a version with other columns; delete it and build again, or build elsewhere" in outcome.stderr
    assert digests(folder) == before


def test_a_cut_of_0_keeps_those_nobody_classified(whole):
    fractions = skyshards.open(whole)[:]["segmentation"]["vote_fraction"]
    assert (fractions[:, 2:] == -0.5).all(axis=1).any()


@pytest.mark.slow
def test_a_sample_can_grow(archive, whole, folder):
    for limit, rows in (("--limit=3", 3), ("--tiny", 5)):
        outcome = run("--archive_url", archive.sas_url, "-o", folder, limit)
        assert outcome.exit_code == 0 and f"{folder}: {rows} rows" in outcome.stdout
    assert run("--archive_url", archive.sas_url, "-o", folder).exit_code == 0
    assert digests(folder) == digests(whole)
    assert len(names_asked_for(archive)) == GALAXIES


def test_a_file_an_object(local, folder):
    assert run("--local_data_path", local, "-o", folder, "--max_rows_per_shard", 1).exit_code == 0
    paths = sorted(folder.rglob("*.hdf5"))
    assert len(paths) == GALAXIES
    for path in paths:
        with h5py.File(path) as file:
            assert len(file["object_id"]) == 1
    assert list(verify.problems(folder)) == []


def test_no_more_connections_than_allowed(folder):
    slow = Fault(r"\.fits\.gz", "slow", times=None, delay=0.2)
    with DemoArchive(galaxies=GALAXIES, faults=[slow]) as archive:
        assert run("--archive_url", archive.sas_url, "-o", folder, "--connections", 3).exit_code == 0
        assert archive.peak_connections == 3
        assert all(request.headers["User-Agent"].startswith("skyshards") for request in archive.requests)


def environment():
    return os.environ | {"PYTHONPATH": str(REPOSITORY), "no_proxy": "127.0.0.1"}


@pytest.mark.slow
def test_the_three_commands_are_one(archive, tmp_path):
    """From a folder that is not the repository's, with `gz3d.py` first on the path of one of them."""
    commands = {
        "front door": [REPOSITORY / "build_parent_sample.py", "gz3d"],
        "own script": [REPOSITORY / "gz3d/build_parent_sample.py"],
        "installed": ["-c", "from skyshards.cli.main import main; main()", "build", "gz3d"],
    }
    found = {}
    for name, command in commands.items():
        folder = tmp_path / name / "out"
        folder.parent.mkdir()
        options = ["--archive-url", archive.sas_url, "--output-dir", "out", "--limit", "3", "--workers", "1"]
        options += ["--max-rows-per-shard", "2"]
        process = subprocess.run(
            [sys.executable, *command, *options], cwd=folder.parent, env=environment(), capture_output=True, text=True
        )
        (line,) = process.stderr.splitlines()
        assert process.returncode == 0 and line.startswith("3 sources to do: ")
        assert "out: 3 rows in" in process.stdout
        cards = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".md", ".bib")}
        found[name] = digests(folder), cards, pq.read_table(folder / "catalog.parquet").to_pylist()
        assert len(found[name][0]) >= 2 and len(cards) == 2
    assert found["front door"] == found["own script"] == found["installed"]


def test_tiny_demo_needs_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = run("--tiny", "--demo")
    (line,) = outcome.stderr.splitlines()
    assert outcome.exit_code == 0 and " sources to do: " in line
    assert outcome.stdout.startswith("data/gz3d: 5 rows in") and "simulated" in outcome.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    assert "**Simulated data.**" in (tmp_path / "data/gz3d/README.md").read_text()
    assert any(row["plateifu"] for row in skyshards.open("data/gz3d").columns(["plateifu"])), "from the demo's drpall"
    for path in (tmp_path / "data/gz3d").rglob("*.hdf5"):
        with h5py.File(path) as file:
            assert file.attrs["simulated"] == "true"


def test_simulated_and_real_rows_do_not_mix(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "gz3d")
    outcome = run("--demo", "-o", folder)
    assert outcome.exit_code == 2 and "simulated" in outcome.stderr
    assert digests(folder) == digests(whole)


UNUSABLE = {
    "--limit 0": "--limit",
    "--limit -3": "--limit",
    "--limit many": "--limit",
    "--workers -1": "--workers",
    "--connections 0": "--connections",
    "--max_rows_per_shard 0": "--max_rows_per_shard",
    "--nside 12": "power of two",
    "--nside 0": "--nside",
    "--tiny --limit 3": "--tiny cannot be combined with --limit",
    "--vote_fraction_cut 1.5": "--vote_fraction_cut",
    "--vote_fraction_cut -0.1": "--vote_fraction_cut",
    "--vote_fraction_cut nan": "--vote_fraction_cut",
    "--bars_only 2": "--bars_only",
    "--spirals_only nan": "--spirals_only",
    "--drpall nowhere": "nowhere",
    "--demo --drpall a_file": "--demo cannot be combined with --drpall",
    "--local_data_path nowhere": "nowhere",
    "--local_data_path .": "no .fits.gz file",
    "--demo --local_data_path .": "--demo cannot be combined with --local_data_path",
    "--demo --archive_url http://127.0.0.1/": "--archive_url",
    "--no_such_option": "--no_such_option",
    "stray": "stray",
    "-o a_file": "a_file",
}


@pytest.mark.parametrize("options", UNUSABLE)
def test_unusable_options_are_refused_in_a_line(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    outcome = run(*options.split())
    assert outcome.exit_code == 2
    (line,) = outcome.stderr.splitlines()
    assert re.search(UNUSABLE[options], line)
    assert outcome.stdout == ""
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a_file"]


@pytest.mark.slow
@pytest.mark.parametrize("url", ["{}/nothing/", "nonsense", "ftp://127.0.0.1/", "http://127.0.0.1:0/"])
def test_a_wrong_archive_is_named_in_a_line(archive, folder, url):
    outcome = run("--archive_url", url.format(archive.url), "-o", folder)
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    *_, line = outcome.stderr.splitlines()
    assert url.format(archive.url) in line and "--archive_url" in line
    assert not folder.exists() or list(folder.iterdir()) == []


def test_an_output_folder_below_a_file(local, tmp_path):
    (tmp_path / "file").touch()
    outcome = run("--local_data_path", local, "-o", tmp_path / "file/gz3d")
    assert outcome.exit_code == 1 and len(outcome.stderr.splitlines()) == 1


def test_help_names_every_option_both_ways():
    text = run("--help").stdout
    names = """output_dir tiny limit local_data_path keep_fits vote_fraction_cut archive_url demo workers connections
               bars_only spirals_only polygons drpall
               max_rows_per_shard nside"""
    for name in names.split():
        assert f"--{name}" in text and f"--{name.replace('_', '-')}" in text
    assert GZ3D_URL in "".join(text.split())  # in lines that help wraps


@pytest.mark.slow
def test_another_archive_is_refused(archive, folder):
    assert run("--archive_url", archive.sas_url, "-o", folder, "--limit", 2).exit_code == 0
    before = digests(folder)
    with DemoArchive(galaxies=3) as other:
        outcome = run("--archive_url", other.sas_url, "-o", folder)
        assert outcome.exit_code == 2 and other.sas_url.rstrip("/") in outcome.stderr
        assert other.requests == []
    assert digests(folder) == before
    assert run("--archive_url", archive.sas_url.rstrip("/"), "-o", folder).exit_code == 0


@pytest.mark.slow
def test_the_demo_archive_is_the_same_in_every_run(folder):
    assert run("--demo", "-o", folder, "--limit", 1).exit_code == 0
    assert run("--demo", "-o", folder, "--limit", 2).exit_code == 0


def test_a_listing_shorter_than_an_earlier_one_is_an_error(archive, folder, monkeypatch):
    assert run("--archive_url", archive.sas_url, "-o", folder).exit_code == 0
    before = digests(folder)
    whole = list_gz3d(archive.sas_url, Fetcher())
    fewer = replace(whole, files=dict(list(whole.files.items())[:-2]))
    monkeypatch.setattr(build_parent_sample, "list_gz3d", lambda *_: fewer)
    outcome = run("--archive_url", archive.sas_url, "-o", folder)
    assert outcome.exit_code == 1
    assert f"lacks 2 of the {GALAXIES} sources that this folder has of it" in outcome.stderr
    assert digests(folder) == before
