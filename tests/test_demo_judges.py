"""The demo archive, judged by programs that others wrote: STILTS' taplint, and astroquery."""

import shutil
import subprocess

import numpy as np
import pytest
from astropy.wcs import WCS

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


@pytest.fixture
def hips2fits(demo, monkeypatch):
    pytest.importorskip("matplotlib.colors", reason="matplotlib, which astroquery's hips2fits needs, is not installed")
    module = pytest.importorskip("astroquery.hips2fits", reason="astroquery is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")  # which astroquery.hips2fits needs
    monkeypatch.setattr(module.hips2fits, "server", demo.hips2fits_url)
    yield module.hips2fits
    module.hips2fits._session.close()


@pytest.mark.parametrize("projection", ["RA---TAN DEC--TAN", "GLON-SIN GLAT-SIN"])
def test_astroquery_gets_the_image_of_a_wcs(demo, hips2fits, projection):
    galaxy = demo.galaxies[0]
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = projection.split()
    wcs.wcs.cdelt = -0.5 / 3600, 0.5 / 3600
    wcs.wcs.crpix = 40.5, 30.5
    wcs.wcs.crval = galaxy.ra, galaxy.dec
    wcs.pixel_shape = 80, 60
    (hdu,) = hips2fits.query_with_wcs("CDS/P/SDSS9/r", wcs)
    assert hdu.data.shape == (60, 80)
    assert WCS(hdu.header).wcs.compare(wcs.wcs, tolerance=1e-9)
    picture = hips2fits.query_with_wcs("CDS/P/SDSS9/color", wcs, format="jpg", min_cut=1, max_cut=99)
    assert picture.shape == (60, 80, 3)


def test_astroquery_gets_the_image_of_a_position(demo, hips2fits):
    from astropy.coordinates import Angle, Latitude, Longitude

    galaxy = demo.galaxies[0]
    place = {"ra": Longitude(galaxy.ra, "deg"), "dec": Latitude(galaxy.dec, "deg"), "fov": Angle("32s")}
    picture = hips2fits.query("CDS/P/SDSS9/color", 64, 64, "TAN", **place, format="jpg")
    assert np.asarray(picture)[28:36, 28:36].mean() > 2 * picture[:8].mean()


def test_astroquery_says_why_there_is_no_image(demo, hips2fits):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.pixel_shape = 10, 10
    with pytest.raises(AttributeError, match="No HiPS found"):
        hips2fits.query_with_wcs("CDS/P/nothing", wcs)
