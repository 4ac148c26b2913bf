"""Positions from names: those of the pieces of the name, and refused where there is none."""

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st

from gz_decals.positions import position, position_of_name
from skyshards.errors import SourceError


def name_of(ra, dec):
    """The name that astropy writes for a position: cut, not rounded, as the IAU asks."""
    place = SkyCoord(ra, dec, unit="deg")
    hours = place.ra.to_string(units.hour, sep="", precision=4, pad=True)[:-2]
    degrees = place.dec.to_string(units.deg, sep="", precision=4, pad=True, alwayssign=True)[:-3]
    return f"J{hours}{degrees}"


@given(st.floats(0, 359.99), st.floats(-89.99, 89.99))
def test_is_where_the_name_was_taken(ra, dec):
    found = SkyCoord(*position_of_name(name_of(ra, dec)), unit="deg")
    assert found.separation(SkyCoord(ra, dec, unit="deg")).arcsec < 0.2


@pytest.mark.parametrize(
    ("name", "ra", "dec"),
    [
        ("J000411.19+020924.0", 15 * (4 / 60 + 11.19 / 3600), 2 + 9 / 60 + 24 / 3600),
        ("J004735.97-005410.2", 15 * (47 / 60 + 35.97 / 3600), -(54 / 60 + 10.2 / 3600)),  # minus zero degrees
    ],
)
def test_by_hand(name, ra, dec):
    assert position_of_name(name) == pytest.approx((ra, dec), abs=1e-12)


@pytest.mark.parametrize(
    "name",
    ["", "J000411.19", "J240000.00+000000.0", "J006011.19+020924.0", "J000460.19+020924.0", "J000411.19+906000.0",
     "J000411.19+910000.0", "x000411.19+020924.0", "J000411.19+020924.0 "],
)  # fmt: skip
def test_what_is_no_position(name):
    with pytest.raises(ValueError, match="expected a name"):
        position_of_name(name)


def test_the_tables_position_goes_before_the_names():
    assert position("J000411.19+020924.0", 1.04663, 2.1567) == (1.04663, 2.1567)
    assert position("J000411.19+020924.0", np.nan, 2.1567) == position_of_name("J000411.19+020924.0")
    assert position("UGC 1", 10.0, -10.0) == (10.0, -10.0)


def test_disagreement_beyond_5_arcsec_is_an_error():
    ra, dec = position_of_name("J000411.19+020924.0")
    assert position("J000411.19+020924.0", ra, dec + 4.99 / 3600)
    with pytest.raises(SourceError, match="5.0 arcsec from where the name says"):
        position("J000411.19+020924.0", ra, dec + 5.01 / 3600)
    with pytest.raises(SourceError, match="no position"):
        position("UGC 1")


def test_disagreement_minds_right_ascension_0():
    assert position("J000000.00+000000.0", 359.9999, 0.0) == (359.9999, 0.0)
