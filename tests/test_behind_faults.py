"""Every dataset that fetches, behind a proxy and from an archive with passing faults: the same shards."""

import functools

import pytest
from click.testing import CliRunner

from demo_archive import DemoArchive, Fault
from skyshards.cli.data_sets import DATA_SETS
from skyshards.cli.main import build
from skyshards.files import file_digest

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
def test_passing_faults_and_a_proxy_change_nothing(run, monkeypatch, name):
    expected = run(name, "undisturbed")
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert run(name, "disturbed", faults=FAULTS) == expected != {}
