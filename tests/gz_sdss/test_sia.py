"""Cutouts over Simple Image Access, and services found in the Registry."""

import bz2
import gzip
import io
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from demo_archive import DemoArchive
from demo_archive.serve.faults import Fault
from demo_archive.serve.server import Response
from gz_sdss import image_checks as images
from gz_sdss import sia_records
from gz_sdss.cutout import fits_cutout, jpeg_cutout, resample, tangent_wcs
from gz_sdss.hips2fits import field_of_view
from gz_sdss.options import sia_service
from gz_sdss.sia import ImageRecord, Service, SIASource, find_services
from skyshards.errors import BuildError, FetchError, UsageError
from skyshards.fetch.mirrors import PoliteClient
from skyshards.fetch.rate import RateLimit
from tests.gz_sdss.conftest import picture

VERSIONS = (1, 2)


def source(demo, version=1, format="jpg", **options):
    url = demo.sia_url if version == 1 else demo.sia2_url
    return SIASource(Service("demo", url, version), format, PoliteClient(), **options)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("format", ["jpg", "fits"])
def test_records_are_of_the_format_asked_for(demo, version, format):
    galaxy = demo.galaxies[0]
    records = source(demo, version).records(galaxy.ra, galaxy.dec, 0.005, format)
    assert records and all(record.url.endswith(format) for record in records)
    assert all(0 < record.width < 0.1 for record in records)


@pytest.mark.parametrize("version", VERSIONS)
def test_cutouts_are_pictures_of_the_galaxy(demo, version):
    galaxy = demo.galaxies[0]
    content = source(demo, version).fetch(galaxy.ra, galaxy.dec, galaxy.petroR90_r)
    images.check_jpeg(content, 64, 64)
    brightness = images.open_jpeg(content).sum(axis=-1, dtype=float)
    assert brightness[24:40, 24:40].mean() > 2 * np.median(brightness[:8])


@pytest.mark.parametrize("version", VERSIONS)
def test_fits_stay_fits(demo, version):
    galaxy = demo.galaxies[0]
    content = source(demo, version, "fits").fetch(galaxy.ra, galaxy.dec, galaxy.petroR90_r)
    pixels, header = images.open_fits(content)
    assert pixels.dtype == np.float32 and pixels.shape == (64, 64)
    centre = WCS(header).pixel_to_world(31.5, 31.5)
    assert centre.separation(SkyCoord(galaxy.ra, galaxy.dec, unit="deg")).arcsec < 1e-3
    assert header["CDELT2"] * 64 == pytest.approx(field_of_view(galaxy.petroR90_r))
    row, column = np.unravel_index(pixels.argmax(), pixels.shape)
    assert abs(row - 31.5) < 8 and abs(column - 31.5) < 8


def test_a_frame_and_a_cutout_show_the_same(demo):
    """Two images of different size and centre, resampled to one place, are one picture."""
    galaxy = demo.galaxies[1]
    size = field_of_view(galaxy.petroR90_r)
    records = source(demo).records(galaxy.ra, galaxy.dec, size, "fits")
    client = PoliteClient()
    both = [
        fits_cutout(client.get([record.url], images.open_fits), galaxy.ra, galaxy.dec, size)
        for record in (max(records, key=lambda r: r.width), min(records, key=lambda r: r.width))
    ]
    frame, cutout = both[0], both[1][1] if both[1].ndim == 3 else both[1]
    assert np.corrcoef(frame.ravel(), cutout.ravel())[0, 1] > 0.98


def test_fits_become_pictures_where_there_is_no_jpeg(serve, shared_data):
    """The recorded SIA1 answers list FITS alone; the image is made here."""
    wcs = tangent_wcs(288.95078924817, 15.0322239971381, (0.02, 0.02), (50, 50))
    y, x = np.mgrid[:50, :50]
    galaxy = np.exp(-np.hypot(x - 24.5, y - 24.5) / 6) * 100 + np.random.default_rng(0).normal(size=(50, 50))
    buffer = io.BytesIO()
    fits.PrimaryHDU(galaxy.astype(np.float32), wcs.to_header()).writeto(buffer)
    listing = (shared_data / "vo/pyvo/dal/tests/data/sia/dataset.xml").read_bytes()

    def answer(request):
        if request.path == "/image.fits":
            return Response(buffer.getvalue(), "image/fits")
        return Response(listing.replace(b"http://example.com/querydata", server.url.encode()), "text/xml")

    server = serve(answer)
    found = SIASource(Service("", f"{server.url}/sia?", 1), "jpg", PoliteClient())
    content = found.fetch(288.95078924817, 15.0322239971381, 10.0)
    pixels = images.open_jpeg(content).astype(int)
    assert pixels.shape == (64, 64, 3)
    assert np.abs(pixels[..., 0] - pixels[..., 2]).max() < 12  # one band gives grey
    assert pixels[28:36, 28:36].mean() > pixels[:8, :8].mean() + 80
    asked = [request.query["FORMAT"][0] for request in server.requests if "FORMAT" in request.query]
    assert asked == ["image/jpeg", "image/fits"]


def test_a_fits_image_stands_in_for_a_jpeg_that_will_not_do(demo, monkeypatch):
    galaxy = demo.galaxies[0]
    service, listed = source(demo), SIASource.records
    wanted = service.fetch(galaxy.ra, galaxy.dec, galaxy.petroR90_r)

    def far_away(self, ra, dec, size, format):
        records = listed(self, ra, dec, size, format)
        return [replace(record, dec=record.dec + 1.0) for record in records] if format == "jpg" else records

    monkeypatch.setattr(SIASource, "records", far_away)
    found = images.open_jpeg(service.fetch(galaxy.ra, galaxy.dec, galaxy.petroR90_r))
    assert found.shape == (64, 64, 3) and found.tobytes() != images.open_jpeg(wanted).tobytes()


def test_recorded_services(replay):
    server = replay({"/ok": "dachs/sia1_ok.vot", "/none": "dachs/sia1_empty.vot", "/bad": "dachs/sia1_error.vot"})

    def records(name):
        service = Service("", f"{server.url}/{name}?", 1)
        return SIASource(service, "fits", PoliteClient()).records(10.0, 10.0, 0.1, "fits")

    (record,) = records("ok")
    assert record.url == "http://localhost:8080/getproduct/zoo/data/im.fits"
    assert (record.ra, record.dec) == (10.0, 10.0)
    assert record.width == pytest.approx(64 * 1e-4, rel=0.01)
    assert records("none") == []
    with pytest.raises(FetchError, match="Field POS: bad is not a RA,DEC pair"):
        records("bad")


def test_no_image_is_an_error(replay):
    server = replay({"/none": "dachs/sia1_empty.vot"})
    with pytest.raises(FetchError, match="no jpg or fits image at ra=200.0"):
        SIASource(Service("", f"{server.url}/none?", 1), "jpg", PoliteClient()).fetch(200.0, -40.0, 5.0)


def test_a_service_whose_address_names_a_format_is_asked_for_no_other(demo):
    """SkyServer's address does, and it fails on whatever is asked for beside it."""
    galaxy = demo.galaxies[0]
    (service,) = [found for found in find_services("sloan", "optical", demo.registry_url) if "skyserver" in found.url]
    before = len(demo.requests)
    content = SIASource(service, "jpg", PoliteClient()).fetch(galaxy.ra, galaxy.dec, galaxy.petroR90_r)
    images.check_jpeg(content, 64, 64)
    listing, image = demo.requests[before:]
    assert listing.query["FORMAT"] == ["image/fits"]
    assert image.path.endswith(".fit.gz")


def test_a_service_whose_address_names_another_format_is_refused(demo):
    service = Service("", f"{demo.sia_url}?Format=image/jpeg&", 1)
    with pytest.raises(BuildError, match="its address asks for jpg images, expected fits; give --format jpg"):
        SIASource(service, "fits", PoliteClient())
    galaxy = demo.galaxies[0]
    images.check_jpeg(SIASource(service, "jpg", PoliteClient()).fetch(galaxy.ra, galaxy.dec, galaxy.petroR90_r), 64, 64)


def test_cutouts_come_from_skyview_too(demo):
    galaxy = demo.galaxies[0]
    (service,) = [found for found in find_services("sloan", "optical", demo.registry_url) if "skyview" in found.url]
    content = SIASource(service, "jpg", PoliteClient()).fetch(galaxy.ra, galaxy.dec, galaxy.petroR90_r)
    images.check_jpeg(content, 64, 64)


@pytest.mark.parametrize(("match", "kind"), [("sia/cutout", "503"), ("sia/cutout", "truncate"), ("POS", "503")])
def test_passing_faults_are_got_over(match, kind):
    fault = Fault(match, kind)
    with DemoArchive(galaxies=1, faults=[fault]) as archive:
        galaxy = archive.galaxies[0]
        content = source(archive).fetch(galaxy.ra, galaxy.dec, galaxy.petroR90_r, delay=0.01)
    images.check_jpeg(content, 64, 64)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_try_counts_to_the_rate(version, monkeypatch):
    """Those of pyvo's own requests, too."""
    turns = []
    monkeypatch.setattr(RateLimit, "wait", lambda limit: turns.append(limit))
    with DemoArchive(galaxies=1, faults=[Fault("POS", "503", 2), Fault("sia/cutout", "503", 1)]) as archive:
        galaxy = archive.galaxies[0]
        client = PoliteClient()
        service = Service("demo", archive.sia_url if version == 1 else archive.sia2_url, version)
        SIASource(service, "jpg", client).fetch(galaxy.ra, galaxy.dec, galaxy.petroR90_r, delay=0.01)
        assert len(archive.requests) >= 5
        assert turns == [client.fetcher.limit] * len(archive.requests)


@pytest.mark.slow
def test_every_request_has_a_time_out():
    with (
        DemoArchive(galaxies=1, faults=[Fault("sia", "silence", None)]) as archive,
        pytest.raises(FetchError, match="[Tt]imed? ?out"),
    ):
        source(archive, timeout=0.2).fetch(10.0, 10.0, 5.0)


def square(ra, dec, width):
    return ImageRecord("u", "image/fits", ra, dec, width, width)


@given(st.floats(0, 360), st.floats(-80, 80), st.floats(0.001, 0.1))
def test_coverage(ra, dec, size):
    east = size / math.cos(math.radians(dec))
    assert square(ra, dec, size).coverage(ra, dec, size)[0] == 1.0
    assert square((ra + east / 2) % 360, dec, size).coverage(ra, dec, size)[0] == 0.5
    assert square(ra, dec + size / 2, size).coverage(ra, dec, size)[0] == 0.5
    assert square(ra, dec, size / 2).coverage(ra, dec, size)[0] == pytest.approx(0.25, abs=0.06)
    assert square((ra + 2 * east) % 360, dec, size).coverage(ra, dec, size)[0] == 0.0
    assert square(math.nan, dec, size).coverage(ra, dec, size) == (0.0, -math.inf)


def test_of_images_that_cover_it_the_nearest_is_the_best():
    whole, nearest, partial = square(10.001, 0, 0.1), square(10.0, 0, 0.05), square(10.02, 0, 0.03)
    assert max((whole, partial, nearest), key=lambda record: record.coverage(10.0, 0.0, 0.02)) is nearest


@given(st.floats(0, 360, exclude_max=True), st.floats(-85, 85), st.integers(65, 200), st.floats(1.0, 3.0))
def test_resampling_keeps_positions(ra, dec, pixels, zoom):
    """A ramp along the columns is linear in the distance to the east, whatever the image's pixels."""
    size = 0.005
    planes = np.broadcast_to(np.arange(pixels, dtype=np.float32), (1, pixels, pixels))
    wcs = tangent_wcs(ra, dec, (size * zoom, size * zoom), (pixels, pixels))
    cutout = resample(planes, wcs, ra, dec, size)[0]
    expected = (pixels - 1) / 2 + (np.arange(64) - 31.5) * pixels / (64 * zoom)
    inner = slice(2, -2)  # beyond the centre of its last pixel, an image goes on with that pixel's value
    np.testing.assert_allclose(cutout[:, inner], np.broadcast_to(expected, (64, 64))[:, inner], atol=0.02)


def test_an_image_that_shows_a_part_is_refused():
    wcs = tangent_wcs(10.0, 0.0, (0.01, 0.01), (100, 100))
    with pytest.raises(FetchError, match="expected an image of all the cutout"):
        resample(np.ones((1, 100, 100)), wcs, 10.004, 0.0, 0.005)


def with_a_hole(part, value=np.nan, planes=()):
    """A FITS image of noise around (10, 0), 0.005 degrees wide, some rows of whose last plane have no value."""
    pixels = np.random.default_rng(0).normal(size=(*planes, 64, 64)).astype(np.float32)
    plane = pixels[-1] if planes else pixels
    plane[: round(64 * part)] = np.median(plane) if value == "median" else value
    buffer = io.BytesIO()
    fits.PrimaryHDU(pixels, tangent_wcs(10.0, 0.0, (0.005, 0.005), (64, 64)).to_header()).writeto(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("planes", [(), (3,)])
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -1000.0, "median"])
@pytest.mark.parametrize("part", [0.05, 0.5, 0.9])
def test_a_cutout_with_a_hole_is_refused(part, value, planes):
    content = with_a_hole(part, value, planes)
    with pytest.raises(FetchError, match=r"expected values in all but 1.00% of the cutout at ra=10.0, dec=0.0"):
        fits_cutout(content, 10.0, 0.0, 0.005)
    found = fits_cutout(content, 10.0, 0.0, 0.005, max_missing=0.99)
    assert 0 < np.isfinite(found).mean() < 1
    assert images.lupton_rgb(found).shape == (64, 64, 3)


def test_a_plane_of_one_value_is_a_hole():
    with pytest.raises(FetchError, match="100.00% of it has none"):
        fits_cutout(with_a_hole(1.0, 7.0, (2,)), 10.0, 0.0, 0.005)


def test_a_hole_in_a_larger_image_is_seen_at_any_scale():
    """What is interpolated between pixels of one value need not be that value."""
    pixels = np.random.default_rng(0).normal(1e4, 20, (300, 300)).astype(np.float32)
    pixels[150:, 150:] = np.float32(9999.7)
    for zoom in (1.5, 3.3, 12.0):
        header = tangent_wcs(10.0, 0.0, (0.005 * zoom, 0.005 * zoom), (300, 300)).to_header()
        with pytest.raises(FetchError, match="2[0-9].[0-9]+% of it has none"):
            fits_cutout(images.encode_fits(pixels, header), 10.0, 0.0, 0.005)


def sky(kind):
    """A cutout of real sky, of a kind whose pixels may repeat themselves."""
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(64, 64))
    if kind == "float":
        return noise
    if kind == "saturated":
        rows, columns = np.mgrid[:64, :64]
        return np.minimum(noise + 1e5 * np.exp(-((rows - 30) ** 2 + (columns - 30) ** 2) / 100), 6e4)
    if kind == "enlarged":
        return noise[:8, :8].repeat(8, 0).repeat(8, 1)
    if kind == "JPEG":
        grey = np.clip(128 + 3 * noise, 0, 255).astype(np.uint8)
        return images.open_jpeg(images.encode_jpeg(np.repeat(grey[..., None], 3, -1)))[..., 0]
    name, _, number = kind.rpartition(" ")
    if name == "photons":
        return rng.poisson(float(number), (64, 64)) / 1500.0
    if name == "quantised":
        return np.round(noise / float(number)) * float(number)
    return np.maximum(noise, float(number))  # cut off


@pytest.mark.parametrize(
    "kind",
    ["float", "saturated", "enlarged", "JPEG", "photons 0.01", "photons 0.1", "photons 1", "photons 50",
     "quantised 0.1", "quantised 1", "quantised 3", "quantised 5", "cut off 0", "cut off 1", "cut off 2"],
)  # fmt: skip
def test_real_sky_has_no_holes(kind):
    pixels = sky(kind).astype(np.float32)
    header = tangent_wcs(10.0, 0.0, (0.005, 0.005), (64, 64)).to_header()
    np.testing.assert_allclose(fits_cutout(images.encode_fits(pixels, header), 10.0, 0.0, 0.005), pixels, atol=1e-2)


def test_a_cutout_without_a_value_is_blank():
    with pytest.raises(FetchError, match="blank"):
        fits_cutout(with_a_hole(1.0), 10.0, 0.0, 0.005, max_missing=1.0)


def test_a_dead_pixel_is_allowed():
    assert np.isfinite(fits_cutout(with_a_hole(0.0), 10.0, 0.0, 0.005)).all()


@pytest.mark.parametrize("format", ["fits", "jpg"])
def test_holes_are_refused_in_both_formats(demo, format, monkeypatch):
    """Also where a FITS image stands in for a JPEG, in which the hole would be grey."""
    galaxy, found = demo.galaxies[0], source(demo, 1, format, max_missing=0.2)
    opened, records = images.open_fits, found.records

    def half_empty(content):
        pixels, header = opened(content)
        pixels[..., : pixels.shape[-1] // 2] = np.nan
        return pixels, header

    monkeypatch.setattr(images, "open_fits", half_empty)
    monkeypatch.setattr(found, "records", lambda *place: records(*place) if place[-1] == "fits" else [])
    with pytest.raises(FetchError, match="expected values in all but 20.00% of the cutout"):
        found.fetch(galaxy.ra, galaxy.dec, galaxy.petroR90_r)


def test_a_fits_image_without_a_place_is_refused():
    with pytest.raises(FetchError, match="no celestial WCS"):
        fits_cutout(images.encode_fits(np.ones((80, 80))), 10.0, 0.0, 0.005)


@pytest.mark.filterwarnings("ignore:File may have been truncated")
@pytest.mark.parametrize("content", [b"", b"SIMPLE", picture(), images.encode_fits(np.ones((80, 80)))[:3000]])
def test_a_broken_fits_file_is_refused(content):
    with pytest.raises(images.BrokenImage):
        images.open_fits(content)


def test_a_jpeg_of_the_size_asked_for_keeps_its_bytes():
    place = (10.0, 0.0, 0.005)
    assert jpeg_cutout(picture(), (10.0, 0.0), (0.005, 0.005), *place) == picture()
    assert jpeg_cutout(picture(), (math.nan,) * 2, (math.nan,) * 2, *place) == picture()
    cut = jpeg_cutout(picture(128, 128), (10.0, 0.0), (0.01, 0.01), *place)
    difference = images.open_jpeg(cut).astype(int) - images.open_jpeg(picture(128, 128))[32:96, 32:96]
    assert np.abs(difference).mean() < 4
    with pytest.raises(FetchError, match="does not say how much sky"):
        jpeg_cutout(picture(128, 128), (math.nan,) * 2, (math.nan,) * 2, *place)


@pytest.mark.parametrize(("keywords", "waveband"), [("SDSS", "optical"), ("simulated images", ""), ("", "Optical")])
def test_services_are_found_in_the_registry(demo, keywords, waveband):
    services = find_services(keywords, waveband, demo.registry_url)
    assert {1, 2} <= {service.version for service in services}
    assert demo.sia2_url in [service.url for service in services]


def test_no_service_is_an_error(demo):
    with pytest.raises(BuildError, match="keywords 'quark stars', waveband 'radio'"):
        find_services("quark stars", "radio", demo.registry_url)


def test_an_unknown_waveband_is_refused_before_anything_is_asked():
    with pytest.raises(UsageError, match="no waveband 'vu'; there are: radio, .*gamma-ray"):
        find_services("sloan", "optical, vu", "http://127.0.0.1:9/tap")
    with pytest.raises(UsageError, match="no waveband 'visible'"):
        sia_service(None, 1, "sloan", "visible", None)


def test_a_registry_out_of_reach_is_named():
    with pytest.raises(BuildError, match=re.escape("http://127.0.0.1:9/tap")):
        find_services("SDSS", "", "http://127.0.0.1:9/tap", timeout=1)


FIELDS = {  # of SIA1: UCD and type
    "url": ("VOX:Image_AccessReference", 'datatype="char" arraysize="*"'),
    "mime": ("VOX:Image_Format", 'datatype="char" arraysize="*"'),
    "ra": ("POS_EQ_RA_MAIN", 'datatype="double"'),
    "dec": ("POS_EQ_DEC_MAIN", 'datatype="double"'),
    "naxis": ("VOX:Image_Naxis", 'datatype="char" arraysize="*"'),
    "scale": ("VOX:Image_Scale", 'datatype="char" arraysize="*"'),
}


def listing(*records):
    """An answer of SIA1, with sizes as text."""
    fields = "".join(f'<FIELD name="{name}" ucd="{ucd}" {kind}/>' for name, (ucd, kind) in FIELDS.items())
    rows = "".join(f"<TR>{''.join(f'<TD>{record[name]}</TD>' for name in FIELDS)}</TR>" for record in records)
    return (
        '<VOTABLE version="1.1"><RESOURCE type="results"><INFO name="QUERY_STATUS" value="OK"/>'
        f"<TABLE>{fields}<DATA><TABLEDATA>{rows}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    ).encode()


def record(url, mime):
    return {"url": url, "mime": mime, "ra": 10.0, "dec": 0.0, "naxis": "80 80", "scale": "-1.0e-4, 1.0e-4"}


@pytest.fixture(scope="module")
def frame():
    """A FITS image of 0.008 degrees."""
    buffer = io.BytesIO()
    y, x = np.mgrid[:80, :80]
    galaxy = np.exp(-np.hypot(x - 39.5, y - 39.5) / 6) * 100 + np.random.default_rng(0).normal(size=(80, 80))
    wcs = tangent_wcs(10.0, 0.0, (0.008, 0.008), (80, 80))
    fits.PrimaryHDU(galaxy.astype(np.float32), wcs.to_header()).writeto(buffer)
    return buffer.getvalue()


@pytest.fixture
def sia(serve):
    """A service of one image; a request for another format than its own is answered with `other`."""

    def start(content, mime="image/fits", url="{}/image", other=None):
        def answer(request):
            if request.path == "/image":
                return Response(content, mime)
            asked = request.query["FORMAT"][0]
            if other is not None and asked != "image/fits":
                return other
            return Response(listing(record(url.format(server.url), mime)), "text/xml")

        server = serve(answer)
        return server, SIASource(Service("", f"{server.url}/sia?", 1), "jpg", PoliteClient())

    return start


ERROR = (
    b'<VOTABLE version="1.1"><RESOURCE type="results"><INFO name="QUERY_STATUS" value="ERROR">no such format</INFO>'
    b"</RESOURCE></VOTABLE>"
)


@pytest.mark.parametrize("other", [Response(ERROR, "text/xml"), Response(b"bad request", "text/plain", 400)])
def test_a_service_that_answers_jpeg_with_an_error_still_has_fits(sia, frame, other):
    _, source = sia(frame, other=other)
    assert images.open_jpeg(source.fetch(10.0, 0.0, 8.0)).shape == (64, 64, 3)


@pytest.mark.parametrize(
    "mime",
    ["image/fits", "image/fits.gz", "Image/FITS; compression=gzip", "application/x-fits", "image/x-fits-gzip",
     "application/fits", "image/x-gfits", "image/fits;version=4"],
)  # fmt: skip
@pytest.mark.parametrize(
    "packed",
    [bytes, gzip.compress, bz2.compress, lambda frame: gzip.compress(frame[:999]) + gzip.compress(frame[999:])],
    ids=["plain", "gzip", "bzip2", "gzip in two members"],
)
def test_fits_images_under_all_their_names(sia, frame, mime, packed):
    _, source = sia(packed(frame), mime)
    (found,) = source.records(10.0, 0.0, 0.005, "fits")
    assert (found.width, found.height) == pytest.approx((0.008, 0.008)), "sizes as text"
    assert images.open_jpeg(source.fetch(10.0, 0.0, 5.0)).shape == (64, 64, 3)


def test_other_mime_types_are_other_formats():
    for mime in ("text/html", "application/x-votable+xml", "image/png", "", "image/fitsimage", "application/x-gzip"):
        assert not ImageRecord("u", mime, 0, 0, 1, 1).is_of("fits")
    assert ImageRecord("u", "image/JPEG;quality=90", 0, 0, 1, 1).is_of("jpg")


def test_a_damaged_gzip_file_is_broken(frame):
    with pytest.raises(images.BrokenImage, match="ended before"):
        images.open_fits(gzip.compress(frame)[:-100])


@pytest.mark.parametrize("url", ["image", "/image", "//", "ftp://127.0.0.1/image", "http://[::1/image"])
def test_an_access_url_that_is_none_is_tried_once(sia, frame, url, monkeypatch):
    pauses = []
    monkeypatch.setattr("skyshards.fetch.client.pause", pauses.append)
    server, source = sia(frame, url=url)
    with pytest.raises(FetchError, match="Invalid|No connection adapters|Failed to parse"):
        source.fetch(10.0, 0.0, 5.0)
    assert not pauses and not any(request.path == "/image" for request in server.requests)


@pytest.mark.parametrize(
    ("value", "numbers"), [("606 606", [606, 606]), ("[1e-4,\t-.5]", [1e-4, -0.5]), ("5", [5]), ("", [np.nan])]
)
def test_sizes_as_text(value, numbers):
    np.testing.assert_array_equal(sia_records._floats(value), numbers)
