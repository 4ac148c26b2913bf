"""Folds: ten parts of the sky, such that no two positions within 10 arcsec are on two sides."""

import re
from pathlib import Path

import healpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyshards import UsageError, fold_of
from skyshards.format import folds
from skyshards.format.folds import FOLDS, NSIDE, checked, common_fold, hashed

DOCUMENT = (Path(__file__).parents[1] / "docs" / "folds.md").read_text(encoding="utf-8")
PIXELS = 12 * NSIDE**2
CORNERS = np.unique(
    np.round(healpy.boundaries(NSIDE, np.arange(PIXELS), nest=True).transpose(0, 2, 1), 12).reshape(-1, 3), axis=0
)
"""Unit vectors of the corners of all pixels."""


def moved(vectors, distance, angle):
    """Unit vectors at a distance (arcsec) in a direction (radians from an arbitrary one)."""
    axis = np.where(np.abs(vectors[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    first = np.cross(axis, vectors)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(vectors, first)
    angle, distance = np.asarray(angle)[..., None], np.radians(np.asarray(distance) / 3600)[..., None]
    return np.cos(distance) * vectors + np.sin(distance) * (np.cos(angle) * first + np.sin(angle) * second)


def fold(vectors):
    ra = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360
    return fold_of(ra, np.degrees(np.arctan2(vectors[:, 2], np.hypot(vectors[:, 0], vectors[:, 1]))))


def on_one_side(first, second):
    """Whether no pair of positions has two different folds."""
    one, other = fold(first), fold(second)
    return ((one == other) | (one < 0) | (other < 0)).all()


def scattered(count, random):
    vectors = random.standard_normal((count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def near_borders(count, random):
    """Positions between a corner and its pixel's next, to 15 arcsec from the line between them."""
    pixels = random.integers(0, PIXELS, count)
    step = 1024
    place = random.integers(0, 4 * step, count)
    vectors = np.array(
        [healpy.boundaries(NSIDE, pixel, step=step, nest=True)[:, at] for pixel, at in zip(pixels, place, strict=True)]
    )
    return moved(vectors, random.uniform(0, 15, count), random.uniform(0, 2 * np.pi, count))


@pytest.mark.parametrize("closest", [0, 9.9])
def test_neighbours_of_all_corners_are_on_one_side(closest):
    random = np.random.default_rng(1)
    first = moved(CORNERS, random.uniform(0, 16, len(CORNERS)), random.uniform(0, 7, len(CORNERS)))
    second = moved(first, random.uniform(closest, 10, len(CORNERS)), random.uniform(0, 7, len(CORNERS)))
    assert on_one_side(first, second)
    assert (fold(first) != fold(second)).any(), "some are close enough to a border to tell"


@pytest.mark.slow
def test_neighbours_along_borders_are_on_one_side():
    random = np.random.default_rng(2)
    first = near_borders(20_000, random)
    pixels = healpy.vec2pix(NSIDE, *first.T, nest=True)
    second = moved(first, random.uniform(0, 10, len(first)), random.uniform(0, 7, len(first)))
    across = hashed(pixels) != hashed(healpy.vec2pix(NSIDE, *second.T, nest=True))
    assert across.mean() > 0.1, "many pairs lie in pixels of different folds"
    assert on_one_side(first, second)


@pytest.mark.slow
def test_the_narrowest_corners_are_those_that_the_rule_was_made_for():
    """A tip of 52.6 degrees can reach into a disc at a latitude of arcsin(2/3)."""
    tips = CORNERS[np.abs(np.abs(CORNERS[:, 2]) - 2 / 3) < 1e-9]
    assert len(tips) >= 8
    random = np.random.default_rng(3)
    tips = np.repeat(tips, 400, axis=0)
    first = moved(tips, random.uniform(0, 12, len(tips)), random.uniform(0, 7, len(tips)))
    second = moved(first, random.uniform(8, 10, len(tips)), random.uniform(0, 7, len(tips)))
    assert on_one_side(first, second)


@settings(max_examples=200)
@given(
    ra=st.floats(0, 360) | st.sampled_from([0.0, 45.0, 90.0, 180.0, 270.0, 360.0]),
    dec=st.floats(-90, 90) | st.sampled_from([-90.0, 90.0, 0.0, 41.8103148957786]),
    distance=st.floats(0, 9.999),
    angle=st.floats(0, 7),
)
def test_any_two_positions_within_ten_arcsec_are_on_one_side(ra, dec, distance, angle):
    vector = healpy.ang2vec(ra, dec, lonlat=True)[None]
    assert on_one_side(vector, moved(vector, [distance], [angle]))


def test_a_position_has_its_fold_at_any_longitude_of_the_pole_and_at_0_and_360():
    assert len(set(fold_of(np.arange(0.0, 360.0, 10.0), 90.0).tolist()) - {-1}) <= 1
    dec = np.linspace(-90, 90, 1001)
    assert (fold_of(0.0, dec) == fold_of(360.0, dec)).all()


def test_the_fold_of_a_pixel_is_splitmix64_of_its_number():
    """First numbers of the generator seeded with 0 and with 1234567, as other implementations publish them."""
    assert hashed(np.array([0, 1234567])).tolist() == [0xE220A8397B1DCDAF % 10, 6457827717110365317 % 10]


def test_ten_parts_of_equal_size_and_a_hundredth_in_none():
    found = fold(scattered(100_000, np.random.default_rng(4)))
    counts = np.bincount(found + 1, minlength=FOLDS + 1) / len(found)
    assert found.dtype == np.int8 and len(counts) == 11
    assert 0.012 < counts[0] < 0.015
    assert (np.abs(counts[1:] - 0.0987) < 0.004).all()


def test_the_document_s_function_gives_the_same():
    (code,) = re.findall(r"```python\n(import healpy.*?)```", DOCUMENT, re.DOTALL)
    found = {}
    exec(code, found)
    random = np.random.default_rng(5)
    vectors = np.concatenate([scattered(2_000, random), near_borders(2_000, random), CORNERS[::97]])
    ra = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360
    dec = np.degrees(np.arcsin(np.clip(vectors[:, 2], -1, 1)))
    assert (found["folds"](ra, dec) == fold_of(ra, dec)).all()


def test_any_number_of_positions_in_blocks(monkeypatch):
    ra, dec = np.linspace(0, 360, 50).reshape(5, 10), np.linspace(-80, 80, 10)
    whole = fold_of(ra, dec)
    monkeypatch.setattr(folds, "BLOCK", 7)
    assert whole.shape == (5, 10) and (fold_of(ra, dec) == whole).all()
    assert fold_of([], []).shape == (0,) and fold_of(1.0, 2.0).shape == ()


def test_objects_of_one_row_have_a_fold_in_common_or_none():
    assert common_fold(np.array([[3, 3], [3, 4], [-1, -1], [3, -1]])).tolist() == [3, -1, -1, -1]


@pytest.mark.parametrize(
    ("given", "wanted"), [(3, (3,)), ([7, 1, 1], (1, 7)), (range(8), tuple(range(8))), (np.array([2, 0]), (0, 2))]
)
def test_folds_are_a_number_or_several(given, wanted):
    assert checked(given) == wanted


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (10, "10"),
        ([0, -1], r"-1; .*where"),
        ([], "none"),
        ("01", "'01'"),
        ([1.5], r"\[1.5\]"),
        (True, "True"),
        (None, "None"),
    ],
)
def test_other_folds_are_refused_in_a_line(given, words):
    with pytest.raises(UsageError, match=rf"folds: expected one or more of 0 to 9, found {words}") as raised:
        checked(given)
    assert "\n" not in str(raised.value)
