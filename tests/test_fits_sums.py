"""DATASUM and CHECKSUM of FITS files."""

import io

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from gz_sdss.image_checks import BrokenImage, encode_fits, open_fits
from skyshards.fits_sums import ALL_ONES, check_sums, ones_complement_sum


@pytest.fixture(scope="module")
def image():
    file = io.BytesIO()
    fits.PrimaryHDU(np.arange(4096, dtype=np.float32).reshape(64, 64)).writeto(file, checksum=True)
    return file.getvalue()


@given(st.lists(st.integers(0, ALL_ONES)))
def test_the_sum_is_that_of_a_loop(words):
    total = 0
    for word in words:
        total += word
        total = (total & ALL_ONES) + (total >> 32)
    assert ones_complement_sum(np.array(words, ">u4").tobytes()) == total


def test_an_image_that_was_damaged_is_refused(image):
    assert open_fits(image)[0][3, 5] == 3 * 64 + 5
    damaged = bytearray(image)
    damaged[2880 + 400] ^= 0x40
    with pytest.raises(BrokenImage, match="DATASUM"):
        open_fits(bytes(damaged))


def test_what_is_cut_out_of_an_image_is_not_held_against_the_sums_of_the_whole(image):
    pixels, header = open_fits(image)
    assert (open_fits(encode_fits(pixels[:8, :8], header))[0] == pixels[:8, :8]).all()


@pytest.mark.parametrize("header", [{}, {"DATASUM": "", "CHECKSUM": ""}])
def test_a_file_without_sums_is_not_checked(image, header):
    check_sums(image, header, {"hdrLoc": 0, "datLoc": 2880, "datSpan": 17280})


def test_a_sum_that_is_no_number_is_refused(image):
    with pytest.raises(ValueError, match="DATASUM soon"):
        check_sums(image, {"DATASUM": "soon"}, {"hdrLoc": 0, "datLoc": 2880, "datSpan": 17280})
