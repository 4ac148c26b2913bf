"""Positions and pixels."""

import healpy
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from skyshards.format.healpix import in_cone, is_nside, pixel_of

LONGITUDES = st.floats(0, 360)
LATITUDES = st.floats(-90, 90)
NSIDES = st.sampled_from([1, 2, 16, 32, 1024])


@given(LONGITUDES, LATITUDES, NSIDES)
def test_pixels_are_nested(ra, dec, nside):
    """A pixel's parent, at half the resolution, is its number divided by four: so only in the NESTED scheme."""
    pixel = pixel_of(ra, dec, nside)
    assert 0 <= pixel < 12 * nside**2
    assert pixel_of(ra, dec, 2 * nside) // 4 == pixel


@given(st.integers(0, 12 * 16**2 - 1))
def test_a_pixel_holds_its_own_centre(pixel):
    ra, dec = healpy.pix2ang(16, pixel, nest=True, lonlat=True)
    assert pixel_of(ra, dec, 16) == pixel


@pytest.mark.parametrize("dec", [-90.0, 0.0, 90.0])
def test_right_ascension_360_is_0(dec):
    assert pixel_of(360.0, dec, 16) == pixel_of(0.0, dec, 16)


def test_arrays_give_what_their_elements_give():
    random = np.random.default_rng(1)
    ra, dec = random.uniform(0, 360, 50), random.uniform(-90, 90, 50)
    pixels = pixel_of(ra, dec, 16)
    assert pixels.dtype == np.int64
    assert pixels.tolist() == [pixel_of(*position, 16) for position in zip(ra, dec, strict=True)]


def test_resolutions_are_powers_of_two():
    assert [nside for nside in range(-2, 40) if is_nside(nside)] == [1, 2, 4, 8, 16, 32]
    assert is_nside(2**29) and not is_nside(2**30)


@settings(max_examples=60)
@given(LONGITUDES, LATITUDES, LONGITUDES, LATITUDES, st.floats(1e-4, 180))
def test_a_cone_holds_what_astropy_says_is_in_it(ra, dec, ra0, dec0, radius):
    separation = SkyCoord(ra, dec, unit="deg").separation(SkyCoord(ra0, dec0, unit="deg")).deg
    assume(abs(separation - radius) > 1e-6)
    assert in_cone(ra, dec, (ra0, dec0), radius) == (separation < radius)


@given(LONGITUDES, LATITUDES)
def test_a_cone_of_no_width_holds_its_centre(ra, dec):
    assert in_cone(ra, dec, (ra, dec), 0.0)


def test_tiny_cones_tell_close_positions_apart():
    """An arccosine of a scalar product could not: it is good to about 1e-8 of a radian only."""
    milliarcsecond = (1 * u.mas).to_value("deg")
    ra, dec = np.array([150.0, 150.0]), np.array([2.0 + 0.9 * milliarcsecond, 2.0 + 1.1 * milliarcsecond])
    assert in_cone(ra, dec, (150.0, 2.0), milliarcsecond).tolist() == [True, False]


@given(LONGITUDES, LATITUDES, st.floats(180, 1e6))
def test_a_cone_of_180_degrees_holds_the_sky(ra, dec, radius):
    assert in_cone(ra, dec, (10.0, 20.0), radius)


def test_a_cone_over_the_meridian_and_the_pole():
    assert in_cone([359.9, 0.1, 180.0], [0.0, 0.0, 0.0], (0.0, 0.0), 0.2).tolist() == [True, True, False]
    assert in_cone([0.0, 180.0, 90.0], [89.9, 89.9, 89.0], (270.0, 90.0), 0.2).tolist() == [True, True, False]
