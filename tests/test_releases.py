"""The release that rows come from, of each archive: by its address, and never that of real data for simulated ones."""

import pytest

import skyshards
from candels_blend.download import RECORD, ZENODO_URL
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
        (doi_of(f"{ZENODO_URL}/records/{RECORD}"), "10.5281/zenodo.2604740"),
        (doi_of("http://127.0.0.1:8000/zenodo/api/records/4573248"), None),
        (doi_of("https://zenodo.org.example.org/records/1"), None),
    ],
)
def test_the_address_tells_the_release(found, expected):
    assert found == expected


@pytest.mark.parametrize("folder", EARLIER, ids=identity)
def test_folders_of_earlier_versions_open_without_it(folder):
    table = skyshards.open(folder)
    assert [table.source(row).release for row in range(len(table))] == [None] * len(table)
