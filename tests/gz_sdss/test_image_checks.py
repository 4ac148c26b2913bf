"""Cutouts are taken for good only whole: decoded as the readers of the dataset will."""

import pytest

from gz_sdss.image_checks import BrokenImage, check_jpeg, open_jpeg
from skyshards.errors import FetchError


def test_a_whole_jpeg_is_accepted(cases):
    check_jpeg((cases / "images" / "whole.jpg").read_bytes(), 64, 64)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("two_bytes_short.jpg", "cannot be decoded"), ("half.png", "expected a JPEG"), ("page.png", "an HTML page")],
)
def test_what_is_broken_or_something_else_may_be_asked_for_again(cases, name, reason):
    with pytest.raises(BrokenImage, match=reason):
        open_jpeg((cases / "images" / name).read_bytes())


@pytest.mark.parametrize("name", ["palette.png", "alpha.png", "grey16.png"])
def test_other_formats_are_refused(cases, name):
    with pytest.raises(BrokenImage, match="expected a JPEG, found a PNG"):
        open_jpeg((cases / "images" / name).read_bytes())


def test_another_mode_is_refused_by_name(cases):
    with pytest.raises(FetchError, match="expected a JPEG in RGB, found mode CMYK"):
        open_jpeg((cases / "images" / "cmyk.jpg").read_bytes())


@pytest.mark.parametrize("kept", range(1, 60, 7))
def test_no_jpeg_that_lacks_its_end_is_accepted(cases, kept):
    content = (cases / "images" / "whole.jpg").read_bytes()
    with pytest.raises(BrokenImage):
        open_jpeg(content[:-kept])
