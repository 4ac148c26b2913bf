"""Builds of sdss_spectra: from catalogues and built folders, with files that are missing or on disk."""

import re

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import skyshards
from demo_archive import DemoArchive, Fault
from sdss_spectra.build_parent_sample import DR17_URL, main
from skyshards import verify
from tests.raw_server import answer, raw_server


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in ("--workers", "0", *arguments)])


@pytest.fixture(scope="module")
def built(demo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "spectra"
    assert run("--catalog_file", demo.spectra, "--archive_url", demo.dr17_url, "-o", folder).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def galaxies(tmp_path_factory):
    """A folder of gz_sdss with the demo's galaxies."""
    from gz_sdss.build_parent_sample import main as gz_sdss

    folder = tmp_path_factory.mktemp("built") / "gz_sdss"
    arguments = ["--demo", "--limit", "6", "--workers", "0", "-o", str(folder)]
    assert CliRunner().invoke(gz_sdss, arguments).exit_code == 0
    return folder


def test_a_row_leads_to_its_file(demo, tmp_path):
    asked, built = len(demo.requests), tmp_path / "built"
    assert run("--catalog_file", demo.spectra, "--archive_url", demo.dr17_url, "-o", built).exit_code == 0
    table = skyshards.open(built)
    assert {table.source(number).url for number in range(len(table))} == {
        request.target.join((demo.url, "")) for request in demo.requests[asked:] if "/spectra/lite/" in request.path
    }
    assert not list(built.rglob("*.fits")), "downloads are deleted"


def test_spectra_of_a_built_folder_join_it_by_name_and_by_place(galaxies, tmp_path):
    outcome = run("--demo", "--catalog_file", galaxies, "-o", tmp_path / "spectra")
    assert outcome.exit_code == 0 and "6 rows in" in outcome.stdout
    images, spectra = skyshards.open(galaxies), skyshards.open(tmp_path / "spectra")
    by_name = skyshards.join(images, spectra, on="specobjid")
    by_place = skyshards.join(images, spectra, radius_arcsec=1.0)
    assert len(by_name) == len(by_place) == 6
    for row in by_name:
        assert row["gz_sdss"]["specobjid"] == row["sdss_spectra"]["specobjid"]
        assert 0 < row["separation"] < 0.4
        is_spiral = row["gz_sdss"]["label"] == 1
        assert row["sdss_spectra"]["subclass"] == ("STARFORMING" if is_spiral else "")


def test_a_missing_spectrum_fails_alone(demo, tmp_path):
    rows = [line.split(",")[1:4] for line in demo.spectra.read_text().splitlines()[2:5]]
    lines = [["plate", "mjd", "fiberid"], *rows, ["267", *rows[0][1:]]]
    (tmp_path / "mine.csv").write_text("\n".join(map(",".join, lines)))
    outcome = run("--catalog_file", tmp_path / "mine.csv", "--archive_url", demo.dr17_url, "-o", tmp_path / "out")
    assert outcome.exit_code == 1 and "(3 rows added, 1 source failed" in outcome.stdout
    (failure,) = [
        row for row in pq.read_table(tmp_path / "out" / "sources.parquet").to_pylist() if row["status"] == "failed"
    ]
    assert "/26/spectra/lite/0267/spec-0267-51602-0001.fits: HTTP status 404" in failure["error"]
    assert list(verify.problems(tmp_path / "out")) == []


def test_a_spectrum_that_failed_is_fetched_again(tmp_path):
    with DemoArchive(galaxies=4, faults=[Fault(r"-0080\.fits", "404", times=1)]) as archive:
        command = ["--catalog_file", archive.spectra, "--archive_url", archive.dr17_url, "-o", tmp_path / "out"]
        outcome = run(*command)
        assert outcome.exit_code == 1 and "(3 rows added, 1 source failed" in outcome.stdout
        assert "HTTP status 404" in (tmp_path / "out" / "failures.csv").read_text()
        outcome = run(*command)
        assert outcome.exit_code == 0 and "4 rows in" in outcome.stdout


def test_another_catalogue_adds_its_spectra(demo, tmp_path):
    head, columns, *rows = demo.spectra.read_text().splitlines()
    for name, part in {"one": rows[:2], "two": rows[1:5]}.items():
        (tmp_path / f"{name}.csv").write_text("\n".join([columns, *part]))
        command = ["--catalog_file", tmp_path / f"{name}.csv", "--archive_url", demo.dr17_url, "-o", tmp_path / "out"]
        assert run(*command).exit_code == 0
    assert len(skyshards.open(tmp_path / "out")) == 5


def test_files_on_disk_are_not_downloaded(built, tmp_path):
    with DemoArchive(galaxies=4) as archive:
        command = ["--catalog_file", archive.spectra, "--archive_url", archive.dr17_url]
        from demo_archive.holdings.sdss_spectra import file_path, spec_file

        for galaxy in archive.galaxies[:3]:
            path = tmp_path / "mirror" / file_path(galaxy)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(spec_file(galaxy))
        outcome = run(*command, "--local_data_path", tmp_path / "mirror", "-o", tmp_path / "out")
        assert outcome.exit_code == 0 and "4 rows in" in outcome.stdout
        assert [request.path.rpartition("/")[2] for request in archive.requests] == [
            file_path(archive.galaxies[3]).rpartition("/")[2]
        ]
    assert run("--local_data_path", tmp_path / "mirror", "-o", tmp_path / "local").exit_code == 0
    assert len(skyshards.open(tmp_path / "local")) == 3


def test_real_and_simulated_galaxies_do_not_mix(galaxies, tmp_path):
    outcome = run("--catalog_file", galaxies, "-o", tmp_path / "out")
    assert outcome.exit_code == 2
    assert "expected real galaxies, found simulated ones; --demo is for" in " ".join(outcome.stderr.split())


LASTING = {
    "a login page": (answer(b"<!DOCTYPE html><html></html>", "Content-Type: text/html"), "an HTML page"),
    "404": (answer(b"no such thing", status="404 Not Found"), "HTTP status 404"),
    "half of it": (answer(b"SIMPLE  =", "Content-Length: 1000"), "Connection broken"),
}


@pytest.mark.parametrize("kind", LASTING)
def test_what_a_server_does_to_all_spectra_is_said_of_each(kind, demo, tmp_path, monkeypatch):
    monkeypatch.setattr("skyshards.fetch.client.LONGEST_BACKOFF", 0.01)
    content, reason = LASTING[kind]
    with raw_server(lambda connection: connection.send(content)) as server:
        outcome = run("--limit", 2, "--catalog_file", demo.spectra, "--archive_url", server.url, "-o", tmp_path / "out")
    assert isinstance(outcome.exception, SystemExit) and outcome.exit_code == 1, outcome.output
    assert (tmp_path / "out" / "failures.csv").read_text().count(reason) == 2


UNUSABLE = {
    "": "no spectra are named; give --catalog_file .* or --local_data_path",
    "--catalog_file nowhere.csv": "nowhere.csv",
    "--catalog_file .": "catalog",
    "--catalog_file empty.csv": "empty.csv",
    "--local_data_path .": "contains no spec-PLATE-MJD-FIBER.fits file",
    "--demo --local_data_path .": "--demo cannot be combined with --local_data_path",
    "--demo --archive_url http://127.0.0.1/": "--demo cannot be combined with --archive_url",
}


@pytest.mark.parametrize("options", UNUSABLE)
def test_unusable_options_are_refused_in_a_line(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.csv").touch()
    outcome = run(*options.split())
    assert outcome.exit_code in (1, 2) and outcome.stdout == ""
    assert re.search(UNUSABLE[options], outcome.stderr.strip().splitlines()[-1])
    assert not list(tmp_path.rglob("*.parquet"))


def test_help_says_where_spectra_come_from():
    assert DR17_URL in "".join(run("--help").stdout.split())
