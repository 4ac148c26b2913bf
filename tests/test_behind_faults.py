"""Every dataset that fetches, behind a proxy and from an archive with passing faults: the same shards."""

import functools
import gzip

import pytest
from click.testing import CliRunner

import skyshards
from demo_archive import DemoArchive, Fault
from skyshards.cli.main import build
from skyshards.files import file_digest
from skyshards.pipeline.recipe import DEMO
from tests.data_sets import DATA_SETS
from tests.raw_server import answer, raw_server

pytestmark = pytest.mark.slow

FAULTS = [Fault("", "503", 1, 0.2), Fault("", "reset"), Fault("", "truncate")]


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setattr("skyshards.fetch.client.LONGEST_BACKOFF", 0.01)

    def run(name, folder, **options):
        """Build three objects; gives the digests of the shards."""
        monkeypatch.setattr("demo_archive.DemoArchive", functools.partial(DemoArchive, **options))
        arguments = [name, "--demo", "--limit", "3", "--workers", "1", "-o", str(tmp_path / folder)]
        outcome = CliRunner().invoke(build, arguments)
        assert outcome.exit_code == 0, outcome.output
        shards = (tmp_path / folder).rglob("*.hdf5")
        return {path.relative_to(tmp_path / folder): file_digest(path) for path in shards}

    return run


@pytest.mark.parametrize("name", DATA_SETS)
def test_passing_faults_and_a_proxy_change_nothing(run, monkeypatch, tmp_path, name):
    expected = run(name, "undisturbed")
    assert skyshards.open(tmp_path / "undisturbed").source(0).release.startswith(DEMO)
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert run(name, "disturbed", faults=FAULTS) == expected != {}


ADDRESS = {  # of what each asks first; sdss_spectra and galaxy10 ask for nothing but their sources
    "gz3d": ["--archive_url"],
    "gz_sdss": ["--tap_url"],
    "candels_blend": ["--zenodo_url"],
    "gz_decals": ["--archive_url"],
}
HOW_TO_DIRECT = {"candels_blend": ["-d", "stamps"]}
PAGE = b"<!DOCTYPE html><html><head><title>Log in</title></head></html>"
LASTING = {
    "a login page": lambda connection: connection.send(answer(PAGE, "Content-Type: text/html")),
    "nothing": lambda connection: None,
    "a reset": lambda connection: connection.reset(),
    "no HTTP": lambda connection: connection.send(b"220 ftp.example.org ready\r\n"),
    "404": lambda connection: connection.send(answer(b"no such thing", status="404 Not Found")),
    "503 and a strange wait": lambda connection: connection.send(answer(b"", "Retry-After: -1", status="503 Busy")),
    "a circle": lambda connection: connection.send(answer(b"", f"Location: {connection.target}", status="302 Found")),
    "a bomb": lambda connection: connection.send(answer(BOMB, "Content-Encoding: gzip")),
    "no end": lambda connection: (connection.send(b"HTTP/1.1 200 OK\r\n\r\n"), connection.flood(bytes(1 << 20))),
    "half of it": lambda connection: connection.send(answer(PAGE, "Content-Length: 1000")),
}
BOMB = gzip.compress(bytes(30_000_000))


@pytest.mark.parametrize("kind", LASTING)
@pytest.mark.parametrize("name", ADDRESS)
def test_a_lasting_fault_is_an_error_of_one_line(monkeypatch, tmp_path, name, kind):
    """Whatever the server does, no traceback, no wait without end, and nothing that looks like a dataset."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("skyshards.fetch.client.LONGEST_BACKOFF", 0.01)
    monkeypatch.setattr("gz_sdss.vo.MAX_ANSWER", 10_000_000)
    monkeypatch.setattr("skyshards.fetch.client.MAX_PAGE", 10_000_000)
    with raw_server(LASTING[kind]) as server:
        arguments = [name, "--workers", "0", "-o", "out", *ADDRESS[name], server.url, *HOW_TO_DIRECT.get(name, [])]
        outcome = CliRunner().invoke(build, arguments)
    assert isinstance(outcome.exception, SystemExit) and outcome.exit_code == 1, outcome.output
    error = outcome.stderr.strip().splitlines()[-1]
    assert server.url in error or f"127.0.0.1:{server.url.rpartition(':')[2]}" in error, outcome.output
    assert not (tmp_path / "out" / "catalog.parquet").exists() and not list(tmp_path.rglob("*.part"))
