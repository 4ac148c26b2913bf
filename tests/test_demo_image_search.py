"""From a name to pixels in the demo archive, with the calls of tutorials on the Virtual Observatory."""

import io
import warnings

import astropy.coordinates as coord
import numpy as np
import pytest
import pyvo as vo
import requests
from astropy.config import set_temp_cache
from astropy.coordinates import name_resolve
from astropy.io import fits
from astropy.utils.data import download_file
from astropy.wcs import WCS
from PIL import Image

from demo_archive import DemoArchive
from gz_sdss.sia import find_services

# pyvo reads answers as streams, and leaves their connections to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("pyvo_leftovers"),
]
M51 = (202.469575, 47.1952583)


@pytest.fixture(scope="module")
def archive():
    with DemoArchive(galaxies=8) as archive:
        yield archive
        assert archive.errors == []


@pytest.fixture
def addresses(archive, monkeypatch, tmp_path):
    """The demo archive's addresses in place of the real ones, and an empty cache."""
    before = vo.registry.regtap.get_RegTAP_service_url()
    vo.registry.choose_RegTAP_service(archive.registry_url)
    monkeypatch.setattr(vo.utils.vocabularies, "IVOA_VOCABULARY_ROOT", archive.vocabularies_url)
    monkeypatch.setattr(vo.registry.Waveband, "_legal_terms", None)
    vo.utils.vocabularies.get_vocabulary.cache_clear()
    with set_temp_cache(tmp_path), name_resolve.sesame_url.set([archive.sesame_url]), warnings.catch_warnings():
        warnings.simplefilter("ignore", vo.registry.rtcons.AstropyDeprecationWarning)  # of servicetype="image"
        yield
    vo.utils.vocabularies.get_vocabulary.cache_clear()
    vo.registry.choose_RegTAP_service(before)


def opened(url):
    """The image at a URL, from astropy's cache the second time."""
    with fits.open(download_file(url, cache=True, timeout=600)) as (hdu,):
        assert download_file(url, cache=True, sources=[]) is not None
        return hdu.data, hdu.header


def test_a_tutorial_runs_as_written_from_the_registry_to_the_pixels(addresses):
    uvot_services = vo.regsearch(servicetype="image", waveband="uv", keywords=["swift"])
    assert list(uvot_services.to_table()["short_name"]) == ["SWIFTUVOT"]
    coords = coord.SkyCoord.from_name("m51")
    assert (coords.ra.deg, coords.dec.deg) == pytest.approx(M51)

    pictures = uvot_services[0].search(pos=coords, size=0.2, format="image/jpeg")
    assert [record.title for record in pictures] == [
        f"swiftuvot{b}int" for b in ("v", "b", "u", "uvw1", "uvw2", "uvm2")
    ]
    picture = Image.open(io.BytesIO(requests.get(pictures[0].getdataurl()).content))
    assert (picture.format, picture.size) == ("JPEG", (300, 300))
    frames = uvot_services[0].search(pos=coords, size=0.2, format="image/fits")
    with fits.open(frames[0].getdataurl()) as hdus:
        assert hdus[0].data.shape == (300, 300)
        assert 0.05 < hdus[0].data.max() < 10  # counts per second: 0.1 is bright

    services = vo.regsearch(servicetype="image", keywords=["sloan"], waveband="optical")
    names = services.to_table()["short_name"]
    assert len(services.to_table()[np.where(np.isin(names, "SDSSDR7"))]["ivoid", "short_name"]) == 2
    (heasarc,) = [s for s in services if "SDSSDR7" in s.short_name and "heasarc" in s.ivoid]
    (jhu,) = [s for s in services if "SDSSDR7" in s.short_name and "jhu" in s.ivoid]
    skyview = heasarc.search(pos=coords, size=0.2, format="image/fits")
    skyserver = jhu.search(pos=coords, size=0.2, format=None)
    assert len(skyview.to_table()) == 5
    for url in (skyview[0].getdataurl(), skyserver[1].getdataurl()):
        pixels, header = opened(url)
        column, row = (int(place) for place in WCS(header).world_to_pixel_values(*M51))
        assert 1000 < np.median(pixels) < 1200  # SDSS's counts have a bias of 1000
        assert pixels[max(0, row - 5) : row + 5, max(0, column - 5) : column + 5].max() > 1200


def test_skyview_lists_bands_in_its_order_each_as_fits_and_then_as_jpeg(archive):
    (service,) = [
        service for service in listed(archive) if "heasarc/sdssdr7" in service.url or "sdssdr7&" in service.url
    ]
    found = vo.dal.SIAService(service.url).search(pos=M51, size=0.1)
    wanted = [(f"sdssdr7{band}", f"image/{form}") for band in "giurz" for form in ("fits", "jpeg")]
    assert [(record.title, record.format) for record in found] == wanted
    assert found.to_table().colnames[:7] == ["Survey", "Ra", "Dec", "Dim", "Size", "Scale", "Format"]
    for record in list(found)[:2]:
        assert record.naxis.value.tolist() == [300, 300]
        assert record.scale.value == pytest.approx([-0.1 / 300, 0.1 / 300])


def listed(archive):
    return find_services("sloan", "optical", archive.registry_url)


@pytest.mark.parametrize("words", ["sloan", "DR7", "Sloan DR7"])
def test_sloan_dr7_is_found_by_its_words_at_two_services(archive, words):
    assert find_services(words, "", archive.registry_url) == listed(archive) and len(listed(archive)) == 2


def skyserver(archive):
    (service,) = [service for service in listed(archive) if "skyserver" in service.url]
    return service


@pytest.mark.parametrize("form", ["all", "image/jpeg", "graphic", "metadata"])
def test_skyserver_fails_on_any_format_but_its_own(archive, form):
    service = vo.dal.SIAService(skyserver(archive).url)
    with pytest.raises(vo.dal.DALServiceError, match="ArgumentException"):
        service.search(pos=M51, size=0.2, format=form)
    own = [record.getdataurl() for record in service.search(pos=M51, size=0.2)]
    for same in ("image/fits", ""):
        assert [record.getdataurl() for record in service.search(pos=M51, size=0.2, format=same)] == own


def test_skyserver_lists_the_five_bands_of_each_frame_in_order(archive):
    found = vo.dal.SIAService(skyserver(archive).url).search(pos=M51, size=0.2)
    assert len(found) >= 10
    assert [record.title[-1] for record in found] == list("ugriz") * (len(found) // 5)
    assert {record.format for record in found} == {"image/fits"}


def test_outside_the_survey_neither_lists_anything(archive):
    for service in listed(archive):
        assert len(vo.dal.SIAService(service.url).search(pos=(10, -60), size=0.2, format="image/fits")) == 0


@pytest.mark.parametrize(
    "path",
    [
        "/skyview/cgi-bin/vo/sia.pl?survey=nothing&POS=1,2&SIZE=1",
        "/skyview/cgi-bin/images?position=1,2&survey=sdssdr7g&size=1e9&return=FITS",
        "/skyview/cgi-bin/images?position=nan,2&survey=sdssdr7g&size=1&return=FITS",
        "/skyview/cgi-bin/images?position=1&survey=sdssdr7g&size=1&return=FITS",
        "/skyserver/imaging/fpC-1-y-1.fit.gz",
        "/skyserver/imaging/fpC-9999-g-1.fit.gz",
        "/rdf/nothing",
    ],
)
def test_what_is_not_there_is_404(archive, path):
    assert requests.get(archive.url + path).status_code == 404


def test_a_name_that_nobody_knows_is_not_found(addresses):
    with pytest.raises(name_resolve.NameResolveError, match="nowhere"):
        coord.SkyCoord.from_name("nowhere at all")
    assert coord.SkyCoord.from_name("NGC 5194").ra.deg == pytest.approx(M51[0])
