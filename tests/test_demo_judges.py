"""The demo archive, judged by programs that others wrote: STILTS' taplint."""

import shutil
import subprocess

import pytest

from demo_archive import DemoArchive


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("stilts") is None, reason="STILTS is not installed (Debian's package stilts)")
@pytest.mark.parametrize("service", ["tap_url", "registry_url"])
def test_taplint_finds_no_error(service):
    with DemoArchive(galaxies=10) as archive:
        command = ["stilts", "taplint", f"tapurl={getattr(archive, service)}", "report=E", "format=text"]
        report = subprocess.run(command, capture_output=True, text=True, timeout=300).stdout
        assert archive.errors == []
    assert "Totals: Errors: 0" in report, report
