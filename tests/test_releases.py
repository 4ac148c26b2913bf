"""The release that rows come from, of each archive: by its address, and never that of real data for simulated ones."""

import pytest

import skyshards
from candels_blend import Blends
from candels_blend.download import RECORD, ZENODO_URL, download, release_of
from demo_archive import DemoArchive
from gz3d.sas import GZ3D_URL
from gz3d.sas import release_of as gz3d_release
from gz_decals.release import RECORD_URL
from sdss_spectra.build_parent_sample import DR17_URL
from sdss_spectra.build_parent_sample import release_of as sdss_release
from skyshards.fetch.zenodo import doi_of
from tests.test_format import EARLIER, identity


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (gz3d_release(GZ3D_URL), "SDSS DR17, GZ3D v4_0_0"),
        (gz3d_release("https://mirror.example.org/dr18/env/MANGA_MORPHOLOGY/galaxyzoo3d/v5_1"), "SDSS DR18, GZ3D v5_1"),
        (gz3d_release("https://example.org/my/files/"), None),
        (sdss_release(DR17_URL), "SDSS DR17"),
        (sdss_release("https://example.org/sas/dr18/"), "SDSS DR18"),
        (sdss_release("https://example.org/spectra"), None),
        (doi_of(RECORD_URL), "10.5281/zenodo.4573248"),
        (doi_of(f"{ZENODO_URL}/api/records/{RECORD}"), "10.5281/zenodo.2604740"),
        (doi_of("http://127.0.0.1:8000/zenodo/api/records/4573248"), None),
        (doi_of("https://zenodo.org.example.org/records/1"), None),
    ],
)
def test_the_address_tells_the_release(found, expected):
    assert found == expected


def test_stamps_remember_the_record_that_they_came_from(tmp_path, monkeypatch):
    with DemoArchive(galaxies=3) as archive:
        assert release_of(download(tmp_path / "demo", archive.zenodo_url)) is None
        elsewhere = f"{archive.zenodo_url}/api/records/{RECORD}"
        monkeypatch.setattr("candels_blend.download.doi_of", {elsewhere: "10.5281/zenodo.2604740"}.get)
        assert release_of(download(tmp_path / "stamps", archive.zenodo_url)) == "10.5281/zenodo.2604740"
    blends = Blends(tmp_path / "stamps", length=2)
    assert blends.source(0).release == "10.5281/zenodo.2604740"


@pytest.mark.parametrize("folder", EARLIER, ids=identity)
def test_folders_of_earlier_versions_open_without_it(folder):
    table = skyshards.open(folder)
    assert [table.source(row).release for row in range(len(table))] == [None] * len(table)
