"""Images of the demo archive's sky by a WCS: any projection, orientation, size of pixels and system of coordinates."""

import io
import json

import numpy as np
import pytest
import requests
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from demo_archive import DemoArchive

SIZE = 60
R = "CDS/P/SDSS9/r"


@pytest.fixture(scope="module")
def archive():
    with DemoArchive(galaxies=4) as archive:
        yield archive
        assert archive.errors == []


@pytest.fixture(scope="module")
def galaxy(archive):
    return archive.galaxies[0]


def header(galaxy, angle=0.0, shift=0.0, stretch=1.0, system="RA DEC", projection="TAN", width=SIZE, height=SIZE):
    """Cards of an image around a galaxy: 0.5 arcsec a pixel, turned by an angle, its centre moved by some pixels."""
    place = SkyCoord(galaxy.ra, galaxy.dec, unit="deg")
    lon, lat = (galaxy.ra, galaxy.dec) if system == "RA DEC" else (place.galactic.l.deg, place.galactic.b.deg)
    cos, sin, degrees = np.cos(np.radians(angle)), np.sin(np.radians(angle)), 0.5 / 3600
    names = [f"{name:-<4}-{projection}" for name in system.split()]
    matrix = {"CD1_1": -degrees * cos, "CD1_2": -degrees * sin, "CD2_1": -degrees * sin, "CD2_2": degrees * cos}
    matrix = {name: value * (stretch if name[-1] == "1" else 1) for name, value in matrix.items()}
    place = {"CRVAL1": lon, "CRVAL2": lat, "CRPIX1": (width + 1) / 2 + shift, "CRPIX2": (height + 1) / 2}
    return {"NAXIS1": width, "NAXIS2": height, "CTYPE1": names[0], "CTYPE2": names[1], **matrix, **place}


def image(archive, cards, hips=R, form="fits"):
    wcs = cards if isinstance(cards, str) else json.dumps(cards)
    return requests.get(archive.hips2fits_url, params={"hips": hips, "wcs": wcs, "format": form})


@pytest.mark.parametrize(
    "change",
    [
        {"angle": 30},
        {"angle": 200, "shift": 12},
        {"stretch": 2.0},
        {"system": "GLON GLAT"},
        {"system": "GLON GLAT", "projection": "MOL"},
        {"projection": "SIN"},
        {"width": 80, "height": 40},
    ],
    ids=lambda change: " ".join(map(str, change.values())),
)
def test_the_galaxy_is_where_the_wcs_says(archive, galaxy, change):
    (hdu,) = fits.open(io.BytesIO(image(archive, header(galaxy, **change)).content))
    column, row = WCS(hdu.header).world_to_pixel(SkyCoord(galaxy.ra, galaxy.dec, unit="deg"))
    smooth = sum(np.roll(hdu.data.astype(float), shift, (0, 1)) for shift in np.ndindex(3, 3))
    found = np.array(np.unravel_index(smooth.argmax(), smooth.shape)) - 1
    assert hdu.data.shape == (change.get("height", SIZE), change.get("width", SIZE))
    np.testing.assert_allclose(found, [row, column], atol=2)


def test_a_wcs_that_says_the_same_as_the_parameters_gives_the_same_image(archive, galaxy):
    same = {
        "width": SIZE,
        "height": SIZE,
        "fov": SIZE * 0.5 / 3600,
        "ra": galaxy.ra,
        "dec": galaxy.dec,
        "format": "jpg",
    }
    direct = requests.get(archive.hips2fits_url, params={"hips": R, **same}).content
    assert image(archive, header(galaxy), form="jpg").content == direct


def test_an_image_turned_by_half_a_turn_is_the_same_sky(archive, galaxy):
    straight, turned = (
        fits.open(io.BytesIO(image(archive, header(galaxy, angle)).content))[0].data for angle in (0, 180)
    )
    inner = np.s_[20:40, 20:40]
    assert np.corrcoef(straight[inner].ravel(), turned[::-1, ::-1][inner].ravel())[0, 1] > 0.95
    assert straight.sum() == pytest.approx(turned.sum(), rel=0.1)


def test_a_picture_is_the_fits_image_turned_over(archive, galaxy):
    cards = header(galaxy, 30, 15)
    picture = np.asarray(Image.open(io.BytesIO(image(archive, cards, form="png").content))).sum(axis=2, dtype=float)
    (hdu,) = fits.open(io.BytesIO(image(archive, cards).content))
    same, turned = (
        np.corrcoef(np.sqrt(np.maximum(hdu.data, 0))[::step].ravel(), picture.ravel())[0, 1] for step in (-1, 1)
    )
    assert same > max(0.8, turned)


def test_the_whole_sky_is_empty_where_there_is_no_survey(archive, galaxy):
    cards = header(galaxy, system="RA DEC", projection="MOL", width=90, height=45)
    cards |= {"CD1_1": -4.0, "CD1_2": 0, "CD2_1": 0, "CD2_2": 4.0, "CRVAL1": 0, "CRVAL2": 0}
    (hdu,) = fits.open(io.BytesIO(image(archive, cards).content))
    assert np.isnan(hdu.data[0, 0])  # beyond the projection
    assert np.isnan(hdu.data[8, 45]) and np.isfinite(hdu.data[30, 45])  # south and north of -20 degrees


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ("{", "JSON"),
        ("[]", "JSON"),
        ("{}", "NAXIS1"),
        ({"NAXIS1": 10, "NAXIS2": 10}, "JSON of a FITS header"),
        ({"NAXIS1": "x", "NAXIS2": 10}, "JSON of a FITS header"),
        ({"NAXIS1": 0}, "positive"),
        ({"NAXIS1": 10**9}, "4 million"),
        ({"CTYPE1": "FREQ"}, "JSON of a FITS header"),
        ({"CRVAL1": [1]}, "JSON of a FITS header"),
        (dict.fromkeys(["CD1_1", "CD1_2", "CD2_1", "CD2_2"], 1e-4), "JSON of a FITS header"),
    ],
    ids=str,
)
def test_a_wcs_that_will_not_do_is_refused(archive, galaxy, cards, words):
    if isinstance(cards, dict) and list(cards) != ["NAXIS1", "NAXIS2"]:
        cards = header(galaxy) | cards
    answer = image(archive, cards)
    assert answer.status_code == 400
    assert words in answer.json()["description"]
