"""The demo archive's GZ3D files, against real-format ones and against what they say of themselves."""

import gzip
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import healpy
import numpy as np
import pytest
import requests
from astropy.io import fits
from astropy.wcs import WCS

from demo_archive import DemoArchive
from demo_archive.holdings.gz3d import Subject, gz3d_file, shown_picture
from demo_archive.simulation.galaxies import simulate
from demo_archive.simulation.outlines import crosses_itself
from demo_archive.simulation.volunteers import add_polygon, draw

REAL = "gz3d_1-379196_127_14728482.fits.gz"
NO_STARS = "gz3d_1-140242_91_14710002.fits.gz"


def opened(body):
    return fits.open(io.BytesIO(gzip.decompress(body)))


@pytest.fixture(scope="module")
def archive():
    with DemoArchive(galaxies=12) as archive:
        yield archive
        assert archive.errors == []


@pytest.fixture(scope="module")
def files(archive):
    """All the galaxies' files by name, as bytes."""
    names = [name for name in links(archive) if name.endswith(".fits.gz")]
    return {name: requests.get(archive.sas_url + name).content for name in names}


def links(archive):
    class Links(HTMLParser):
        found = []

        def handle_starttag(self, tag, attributes):
            if tag == "a":
                self.found.append(dict(attributes)["href"])

    parser = Links()
    parser.feed(requests.get(archive.sas_url).text)
    return parser.found


def test_the_listing_has_the_layout_of_nginx(archive, shared_data):
    real = (shared_data / "sas" / "nginx_autoindex.html").read_text().split("\n")
    ours = requests.get(archive.sas_url).text.split("\n")
    for line in (0, 1, 2, 3, -1, -2, -3):
        assert ours[line].strip() == real[line].strip()
    name, theirs = ours[4].split('"')[1], real[4]
    # The date and the size stand in the same columns, counted from the end of the link.
    assert ours[4].index("08-Dec-2021") - 2 * len(name) == theirs.index("08-Dec-2021") - 2 * len(theirs.split('"')[1])
    assert len(ours[4].strip()) - 2 * len(name) == len(theirs.strip()) - 2 * len(theirs.split('"')[1])


def test_the_listing_names_what_is_served_and_other_files(archive, files):
    found = links(archive)
    assert found[0] == "../"
    assert len(files) == 12
    assert {"gz3d_metadata.fits", "gz3d_galaxy_centers.fits", "gz3d_foreground_stars.fits"} < set(found)


def test_the_sha1sum_file_is_right_for_every_file(archive, files):
    lines = requests.get(archive.sas_url + "manga_morphology_galaxyzoo3d_v4_0_0.sha1sum").text.splitlines()
    digests = dict(reversed(line.split("  ")) for line in lines)
    assert {name: digests[name] for name in files} == {
        name: hashlib.sha1(body).hexdigest() for name, body in files.items()
    }
    assert len(digests) == len(links(archive)) - 2  # all but ../ and itself


def test_a_seed_gives_the_same_bytes_and_another_gives_others():
    first, again, other = (gz3d_file(Subject(simulate(3, seed)[0], 14709000)) for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("real", [REAL, NO_STARS])
def test_every_hdu_has_the_form_of_a_real_format_file(real, shared_data, files):
    theirs = fits.open(shared_data / "gz3d" / real)
    stars = len(theirs[7].data) > 0
    ours = next(hdus for hdus in map(opened, files.values()) if (len(hdus[7].data) > 0) == stars)
    assert len(ours) == len(theirs) == 11
    for number, (mine, real_hdu) in enumerate(zip(ours, theirs, strict=True)):
        assert (mine.name, type(mine)) == (real_hdu.name, type(real_hdu)), number
        if mine.is_image:
            assert (mine.data.dtype, mine.data.shape) == (real_hdu.data.dtype, real_hdu.data.shape)
            # MJDREF is a card that newer versions of astropy add; that real image says where it comes from in HISTORY.
            cards = [card for card in real_hdu.header if card not in ("MJDREF", "HISTORY", "COMMENT")]
            assert list(mine.header) == cards
            same = [card for card in cards if card not in ("CRVAL1", "CRVAL2", "LATPOLE")]
            assert [mine.header[card] for card in same] == [real_hdu.header[card] for card in same]
        else:
            assert mine.columns.names == real_hdu.columns.names
            for name in mine.columns.names:
                mine_form, real_form = (hdu.columns[name].format for hdu in (mine, real_hdu))
                free = name.endswith(("points", "paths"))  # as wide as the longest text
                assert mine_form[-1] == real_form[-1] if free else mine_form == real_form, name
            assert len(mine.columns) == len(real_hdu.columns)
            if number in (5, 8, 9, 10):
                assert len(mine.data) == len(real_hdu.data)


def test_the_wcs_gives_the_position_and_the_scale(files):
    for hdus in map(opened, files.values()):
        wcs, row = WCS(hdus[1].header), hdus[5].data[0]
        place = wcs.wcs_world2pix([[row["ra"], row["dec"]]], 1)[0]
        assert place == pytest.approx([262.5, 262.5], abs=1e-3)
        assert wcs.proj_plane_pixel_scales()[0].to_value("deg") == pytest.approx(2.75e-5)


def test_masks_are_the_numbers_of_polygons_that_the_raw_tables_hold(files):
    path = pytest.importorskip("matplotlib.path").Path
    row, column = np.mgrid[:525, :525]
    pixels = np.column_stack([column.ravel(), row.ravel()])
    for hdus in map(opened, list(files.values())[:6]):
        for mask, table, name in ((3, 9, "spiral_paths"), (4, 10, "bar_paths")):
            paths = [polygon for text in hdus[table].data[name] for polygon in json.loads(text)]
            drawn = [polygon for polygon in paths if not crosses_itself(polygon)]  # as in real files
            count = sum((path(polygon).contains_points(pixels) for polygon in drawn), np.zeros(525 * 525))
            assert np.array_equal(hdus[mask].data.ravel(), count)


def test_polygon_masks_are_those_of_a_real_format_file(shared_data):
    hdus = fits.open(shared_data / "gz3d" / REAL)
    mask = np.zeros((525, 525))
    for text in hdus[10].data["bar_paths"]:
        for polygon in json.loads(text):
            add_polygon(mask, polygon)
    assert np.array_equal(mask, hdus[4].data)


def test_clusters_are_those_of_the_raw_points(files):
    for hdus in map(opened, files.values()):
        clusters, clicked = hdus[6].data, [json.loads(text) for text in hdus[8].data["center_points"]]
        points = np.array([drawn[0] for drawn in clicked])
        companion = np.array([point for drawn in clicked for point in drawn[1:]]).reshape(-1, 2)
        assert hdus[6].data["count"].tolist() == [len(points), *([len(companion)] if len(companion) else [])]
        for cluster, its in zip(clusters, (points, companion), strict=False):
            assert [cluster["x"], cluster["y"]] == pytest.approx(its.mean(axis=0))
        cluster = clusters[0]
        assert cluster["count"] == hdus[1].data.max()
        assert [cluster["x"], cluster["y"]] == pytest.approx(points.mean(axis=0))
        assert [cluster["var_x"], cluster["var_y"]] == pytest.approx(points.var(axis=0, ddof=1))
        sky = WCS(hdus[1].header).wcs_pix2world(points, 1)
        assert [cluster["ra"], cluster["dec"]] == pytest.approx(sky.mean(axis=0), abs=1e-9)
        assert [cluster["var_ra"], cluster["var_dec"]] == pytest.approx(sky.var(axis=0, ddof=1), rel=1e-3)
        clicks = sum(len(json.loads(text)) for text in hdus[8].data["star_points"])
        assert hdus[7].data["count"].sum() == clicks


def test_some_take_a_companion_for_a_centre_and_some_click_once():
    drawings = [draw(galaxy, 1) for galaxy in simulate(40, 3)]
    assert {len(drawn.centre_clusters) for drawn in drawings} == {1, 2}
    assert any(len(path) == 1 for drawn in drawings for paths in drawn.spirals for path in paths)
    assert any(not paths for drawn in drawings for paths in drawn.spirals)


def test_outlines_of_arms_are_like_those_of_1_304336(shared_data):
    """As to their number, their corners, and how many cross themselves."""
    text = (shared_data / "gz3d" / "construct_1-304336_hdu9_spiral_paths.txt").read_text()
    real = [json.loads(paths) for paths in re.findall(r"'(\[.*?\])'", text)]
    assert len(real) == 15
    ours = [drawn for galaxy in simulate(40, 3) for drawn in draw(galaxy, 1).spirals if galaxy.contrast > 0.8]
    (real_corners, real_crossing), (corners, crossing) = map(statistics, (real, ours))
    assert 0.5 * real_corners < corners < 1.5 * real_corners
    assert abs(crossing - real_crossing) < 0.1


def statistics(drawings):
    """Median number of corners, and the fraction that cross themselves, of outlines by volunteers."""
    paths = [path for paths in drawings for path in paths if len(path) > 1]
    return np.median([len(path) for path in paths]), np.mean([crosses_itself(path) for path in paths])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ([[0, 0], [9, 0], [9, 9], [0, 9]], False),
        ([[0, 0], [9, 9], [9, 0], [0, 9]], True),
        ([[0, 0], [9, 0], [2, 2], [0, 9]], False),
        ([[3, 3]], False),
        ([[3, 3], [4, 4]], False),
    ],
)
def test_whether_an_outline_crosses_itself(path, expected):
    assert crosses_itself(path) is expected


def test_votes_fit_what_the_galaxies_are():
    subjects = [Subject(galaxy, 1) for galaxy in simulate(200, 0)]
    totals, bars, spirals = np.array([subject.votes for subject in subjects]).T
    counted = totals > 0
    assert totals[1] == 0
    assert totals.max() <= 360
    is_bar = np.array([subject.galaxy.bar for subject in subjects])[counted]
    is_spiral = np.array([subject.galaxy.spiral for subject in subjects])[counted]
    bar_fraction, spiral_fraction = bars[counted] / totals[counted], spirals[counted] / totals[counted]
    assert bar_fraction[is_bar].min() > bar_fraction[~is_bar].max()
    assert spiral_fraction[is_spiral].min() > spiral_fraction[~is_spiral].max()


def test_some_galaxy_has_no_classifications_and_two_files_share_one(files):
    rows = [hdus[5].data[0] for hdus in map(opened, files.values())]
    ids = [row["MANGAID"].strip() for row in rows]
    assert [row["GZ_total_classifications"] for row in rows].count(0) == 1
    assert len(set(ids)) == len(ids) - 1


def test_mangaid_is_padded_with_blanks(files):
    for body in files.values():
        mangaid = opened(body)[5].data["MANGAID"][0]
        assert mangaid.encode().ljust(11) in gzip.decompress(body)  # astropy strips it


def test_every_file_obeys_the_fits_standard(archive, files):
    for body in files.values():
        opened(body).verify("exception")
    for name in ("gz3d_metadata.fits", "gz3d_galaxy_centers.fits"):
        hdus = fits.open(io.BytesIO(requests.get(archive.sas_url + name).content))
        hdus.verify("exception")
        assert len(hdus[1].data) == (len(files) if "metadata" in name else 0)


def hexagon_height(image):
    """Distance of the upper and lower sides of the hexagon, in pixels."""
    image = image.astype(float)
    magenta = np.minimum(image[..., 0], image[..., 2]) - image[..., 1]
    rows = np.clip(magenta, 0, None)[:, 240:285].mean(axis=1)
    places = [half[0] + rows[half].argmax() + np.arange(-3, 4) for half in (np.arange(262), np.arange(262, 525))]
    upper, lower = (np.average(place, weights=rows[place]) for place in places)
    return lower - upper


def test_the_hexagon_is_as_small_as_in_a_real_picture(shared_data, files):
    real = hexagon_height(fits.getdata(shared_data / "gz3d" / REAL)) / 13
    across = {19: 5, 37: 7, 61: 9, 91: 11, 127: 13}
    for hdus in map(opened, files.values()):
        ratio = hexagon_height(hdus[0].data) / across[int(hdus[5].data["IFUDESIGNSIZE"][0])]
        assert ratio == pytest.approx(real, rel=0.03)


def test_the_picture_shows_the_galaxy_at_its_centre(files):
    for hdus in map(opened, files.values()):
        image = hdus[0].data.astype(int)
        assert image[255:270, 255:270].mean() > 4 * np.median(image) + 50


def test_the_sky_of_a_picture_is_as_noisy_as_a_real_one(shared_data):
    def noise(image):
        """Spread in a corner without stars, in levels."""
        corners = (image[:70, :70], image[:70, -70:], image[-70:, :70], image[-70:, -70:])
        return min(corner.std(axis=(0, 1)).max() for corner in corners)

    ours = np.median([noise(shown_picture(Subject(galaxy, 1))) for galaxy in simulate(8, 0)])
    assert 0.5 < ours / noise(fits.getdata(shared_data / "gz3d" / REAL)) < 2


def test_several_galaxies_share_a_pixel_of_nside_16():
    galaxies = simulate(40, 0)
    ra, dec = np.array([(galaxy.ra, galaxy.dec) for galaxy in galaxies]).T
    _, counts = np.unique(healpy.ang2pix(16, ra, dec, nest=True, lonlat=True), return_counts=True)
    assert counts.max() >= 4
    assert len(counts) >= 5


def test_identifiers_are_unique_and_longer_than_a_float():
    galaxies = simulate(5000, 0)
    for name in ("dr7objid", "objid", "specobjid", "mangaid", "nsa_id", "iauname"):
        assert len({getattr(galaxy, name) for galaxy in galaxies}) == len(galaxies), name
    for name in ("dr7objid", "objid", "specobjid"):
        values = [getattr(galaxy, name) for galaxy in galaxies]
        assert 2**53 < min(values) <= max(values) < 2**63
