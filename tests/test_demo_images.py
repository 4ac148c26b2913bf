"""The demo archive's Hips2Fits, SIA and registry: pictures of one sky, found and fetched as real ones are."""

import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import pyvo
import requests
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from demo_archive import DemoArchive

# pyvo reads answers as streams, and leaves their connections to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("pyvo_leftovers"),
]

COLOUR = "CDS/P/SDSS9/color"


@pytest.fixture(scope="module")
def archive():
    with DemoArchive(galaxies=30) as archive:
        yield archive
        assert archive.errors == []


@pytest.fixture(scope="module")
def galaxy(archive):
    """One without bright neighbours."""
    return archive.galaxies[0]


def cutout(archive, galaxy, **changes):
    fov = 2.5 * galaxy.petroR90_r / 3600
    given = {"hips": COLOUR, "width": 64, "height": 64, "fov": fov, "projection": "TAN", "coordsys": "icrs"}
    given |= {"ra": galaxy.ra, "dec": galaxy.dec, "format": "jpg", **changes}
    return requests.get(
        archive.hips2fits_url, params={name: value for name, value in given.items() if value is not None}
    )


def opened(answer):
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def brightest(plane):
    """Row and column of the brightest place, smoothed over 3 x 3 pixels."""
    smooth = sum(np.roll(plane.astype(float), shift, (0, 1)) for shift in np.ndindex(3, 3))
    return np.array(np.unravel_index(smooth.argmax(), plane.shape)) - 1


@pytest.mark.parametrize(("form", "kind"), [("jpg", "JPEG"), ("png", "PNG")])
def test_a_cutout_is_a_picture_of_the_size_asked_for_with_the_galaxy_in_its_middle(archive, galaxy, form, kind):
    answer = cutout(archive, galaxy, format=form, width=80, height=60)
    image = Image.open(io.BytesIO(answer.content))
    assert (image.format, image.mode, image.size) == (kind, "RGB", (80, 60))
    assert answer.headers["Content-Type"] == f"image/{'jpeg' if form == 'jpg' else 'png'}"
    assert brightest(np.asarray(image).sum(axis=2)) == pytest.approx([29.5, 39.5], abs=3)


def test_a_cutout_is_always_the_same(archive, galaxy):
    first = cutout(archive, galaxy).content
    with DemoArchive(galaxies=30) as other:
        assert cutout(other, galaxy).content == first


def test_fits_cutouts_say_where_they_are(archive, galaxy):
    (hdu,) = fits.open(io.BytesIO(cutout(archive, galaxy, format="fits", hips="CDS/P/SDSS9/r").content))
    hdu.verify("exception")
    assert (hdu.data.shape, hdu.data.dtype) == ((64, 64), np.dtype(">f4"))
    assert WCS(hdu.header).world_to_pixel_values(galaxy.ra, galaxy.dec) == pytest.approx([31.5, 31.5], abs=1e-3)
    assert brightest(hdu.data) == pytest.approx([31.5, 31.5], abs=3)
    # North is at the bottom of the file's rows in a picture's terms: the same sky as the JPEG, turned over.
    picture = opened(cutout(archive, galaxy)).astype(float).sum(axis=2)
    same, turned = (
        np.corrcoef(np.sqrt(np.maximum(plane, 0)).ravel(), picture.ravel())[0, 1]
        for plane in (hdu.data[::-1], hdu.data)
    )
    assert same > max(0.9, turned)


def test_the_flux_of_a_galaxy_is_its_magnitude(archive):
    bright = [galaxy for galaxy in archive.galaxies if galaxy.kind == "elliptical"]
    offsets = []
    for galaxy in bright[:8]:
        fov = 16 * galaxy.petroR90_r / 3600
        answer = cutout(archive, galaxy, format="fits", hips="CDS/P/SDSS9/r", fov=fov, width=320, height=320)
        (hdu,) = fits.open(io.BytesIO(answer.content))
        row, column = np.indices(hdu.data.shape) - 159.5
        flux = hdu.data[np.hypot(row, column) < 4 * galaxy.petroR90_r / (fov * 3600 / 320)].sum()
        offsets.append(22.5 - 2.5 * np.log10(flux) - galaxy.modelMag_r)
    assert np.median(offsets) == pytest.approx(0.15, abs=0.15)  # the rest lies further out


def test_outside_the_survey_there_is_nothing(archive, galaxy):
    assert opened(cutout(archive, galaxy, dec=-60)).max() == 0
    (hdu,) = fits.open(io.BytesIO(cutout(archive, galaxy, dec=-60, format="fits", hips="CDS/P/SDSS9/g").content))
    assert np.isnan(hdu.data).all()


def test_head_is_refused(archive):
    assert requests.head(archive.hips2fits_url).status_code == 405


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hips": "CDS/P/nothing"}, "CDS/P/nothing"),
        ({"hips": None}, "hips"),
        ({"ra": None}, "ra"),
        ({"dec": 91}, "dec"),
        ({"fov": "wide"}, "fov"),
        ({"fov": "nan"}, "fov"),
        ({"width": 7072, "height": 7072}, "50 million pixels"),
        ({"width": 0}, "positive"),
        ({"format": "gif"}, "gif"),
        ({"projection": "MOL"}, "TAN"),
    ],
)
def test_errors_are_json_with_title_and_description(archive, galaxy, changes, words):
    answer = cutout(archive, galaxy, **changes)
    assert answer.status_code == 400
    assert set(answer.json()) == {"title", "description"}
    assert words in answer.json()["description"]


def test_sia_lists_fits_and_jpeg_of_the_place_and_each_is_what_it_says(archive, galaxy):
    found = list(pyvo.dal.SIAService(archive.sia_url).search(pos=(galaxy.ra, galaxy.dec), size=0.006))
    assert {record.format for record in found} == {"image/fits", "image/jpeg"}
    assert len(found) >= 4
    for record in found:
        body = requests.get(record.getdataurl()).content
        width, height = record.naxis.value.astype(int)
        if record.format == "image/fits":
            (hdu,) = fits.open(io.BytesIO(body))
            assert hdu.data.shape[-2:] == (height, width)
            column, row = WCS(hdu.header, naxis=2).world_to_pixel_values(galaxy.ra, galaxy.dec)
            if 5 < column < width - 5 and 5 < row < height - 5:
                near = hdu.data.reshape(-1, height, width)[
                    :, int(row) - 4 : int(row) + 6, int(column) - 4 : int(column) + 6
                ]
                assert near.max() > 20 * np.median(np.abs(hdu.data))
            degrees = hdu.header["CDELT2"]
        else:
            assert Image.open(io.BytesIO(body)).size == (width, height)
            degrees = 0.396 / 3600
        assert np.abs(record.scale.value) == pytest.approx([degrees, degrees])
    last = found[-1]
    assert (last.pos.ra.deg, last.pos.dec.deg) == pytest.approx((galaxy.ra, galaxy.dec))


def test_sia_heeds_the_format_of_cutouts_and_not_that_of_frames(archive, galaxy):
    service = pyvo.dal.SIAService(archive.sia_url)
    for form in ("image/fits", "image/jpeg"):
        found = service.search(pos=(galaxy.ra, galaxy.dec), size=0.006, format=form)
        assert {record.format for record in found if record.title.startswith("Cutout")} == {form}
        assert len({record.format for record in found if record.title.startswith("Frame")}) == 2


def test_frames_overlap_what_was_asked_for(archive):
    for galaxy in archive.galaxies:
        for record in pyvo.dal.SIAService(archive.sia_url).search(pos=(galaxy.ra, galaxy.dec), size=0.006):
            half = np.abs(record.naxis.value * record.scale.value) / 2 + 0.003
            east = (record.pos.ra.deg - galaxy.ra) * np.cos(np.radians(galaxy.dec))
            assert abs(east) <= half[0] * 1.01
            assert abs(record.pos.dec.deg - galaxy.dec) <= half[1] * 1.01


@pytest.mark.parametrize("recorded", ["ok", "empty", "error", "metadata"])
def test_sia1_answers_have_the_status_of_recorded_ones(archive, galaxy, shared_data, recorded):
    place = f"{galaxy.ra},{galaxy.dec}"
    query = {
        "ok": {"POS": place},
        "empty": {"POS": "200,-40"},
        "error": {"POS": "bad"},
        "metadata": {"FORMAT": "METADATA"},
    }
    answer = requests.get(archive.sia_url, params={"SIZE": "0.1", **query[recorded]})
    theirs = ElementTree.parse(shared_data / "vo" / "dachs" / f"sia1_{recorded}.vot").getroot()
    ours = ElementTree.fromstring(answer.content)
    statuses = [root.find(".//{*}INFO[@name='QUERY_STATUS']").get("value") for root in (ours, theirs)]
    assert answer.status_code == 200
    assert statuses[0] == statuses[1]
    assert [root.find("{*}RESOURCE").get("type") for root in (ours, theirs)][0] == theirs.find("{*}RESOURCE").get(
        "type"
    )
    assert (len(ours.findall(".//{*}TR")) > 0) == (recorded == "ok")
    if recorded == "ok":
        # All the UCDs by which clients find columns are among the real server's, with the same types.
        types = [
            {each.get("ucd"): each.get("datatype") for each in root.iter() if each.tag.endswith("FIELD")}
            for root in (ours, theirs)
        ]
        assert types[0].items() <= types[1].items()


def test_sia2_lists_the_same_images(archive, galaxy):
    service = pyvo.dal.SIA2Service(archive.sia2_url)
    first = pyvo.dal.SIAService(archive.sia_url).search(pos=(galaxy.ra, galaxy.dec), size=0.006)
    second = service.search(pos=(galaxy.ra, galaxy.dec, 0.003))
    assert [record.access_url for record in second] == [record.getdataurl() for record in first]
    assert [record.access_format for record in second] == [record.format for record in first]
    assert {record.dataproduct_type for record in second} == {"image"}
    only = service.search(pos=(galaxy.ra, galaxy.dec, 0.003), res_format="image/fits")
    assert [record.access_format for record in only if record["obs_id"].startswith("Cutout")] == ["image/fits"]
    assert len(service.search(pos=(200, -40, 0.1))) == 0


def test_sia2_columns_are_those_of_a_recorded_answer(archive, galaxy, shared_data):
    recorded = ElementTree.parse(shared_data / "vo" / "pyvo" / "dal" / "tests" / "data" / "sia2" / "dataset.xml")
    theirs = {field.get("name"): field.get("datatype") for field in recorded.iter() if field.tag.endswith("FIELD")}
    answer = requests.get(archive.sia2_url + "/query", params={"POS": f"CIRCLE {galaxy.ra} {galaxy.dec} 0.01"})
    fields = [field for field in ElementTree.fromstring(answer.content).iter() if field.tag.endswith("FIELD")]
    ours = {field.get("name"): field.get("datatype") for field in fields}
    assert ours.items() <= theirs.items()
    assert requests.get(archive.sia2_url + "/query", params={"POS": "here"}).status_code == 400


def test_an_image_that_is_not_there_is_404(archive):
    for path in ("/frame/1/x.fits", "/frame/1.fits", "/cutout/1,2,3.fits", "/cutout/1,2,99999,9.jpg", "/frame/1/2.gif"):
        assert requests.get(archive.sia_url + path).status_code == 404


@pytest.fixture
def registry(archive, monkeypatch):
    before = pyvo.registry.regtap.get_RegTAP_service_url()
    pyvo.registry.choose_RegTAP_service(archive.registry_url)
    # pyvo would fetch the list of wavebands from the web.
    monkeypatch.setattr(pyvo.registry.Waveband, "_legal_terms", {"optical", "radio", "uv", "x-ray"})
    yield
    pyvo.registry.choose_RegTAP_service(before)


@pytest.mark.parametrize(
    ("constraints", "names"),
    [
        ({"servicetype": "sia"}, {"demo SIA", "silent", "SWIFTUVOT", "SDSSDR7"}),
        ({"servicetype": ("sia", "sia2"), "keywords": "SDSS"}, {"demo SIA", "demo SIA2"}),
        ({"servicetype": "sia", "waveband": "uv"}, {"SWIFTUVOT"}),
        ({"waveband": "radio"}, {"silent"}),
        ({"waveband": "x-ray"}, set()),
        ({"keywords": ("galaxies", "answer")}, {"silent"}),
        ({"servicetype": "tap", "keywords": "votes", "waveband": "optical"}, {"demo TAP"}),
    ],
)
def test_the_registry_finds_services_by_type_keyword_and_waveband(registry, constraints, names):
    assert {resource.short_name for resource in pyvo.regsearch(**constraints)} == names


def test_what_the_registry_finds_can_be_used_as_it_is(registry, archive, galaxy):
    (first,) = pyvo.regsearch(servicetype="sia", keywords="SIA1")
    assert len(first.service.search(pos=(galaxy.ra, galaxy.dec), size=0.01)) > 0
    (tap,) = pyvo.regsearch(servicetype="tap")
    assert len(tap.service.run_sync("SELECT objID FROM BestDR7.PhotoObj")) == len(archive.galaxies)


def test_the_silent_service_never_answers(registry):
    (silent,) = pyvo.regsearch(keywords="silent")
    with pytest.raises(requests.Timeout):
        requests.get(silent.access_url, timeout=0.3)
