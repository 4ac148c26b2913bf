"""What is taken from a segmentation map."""

import numpy as np
import pytest

from candels_blend.stamp_archive import Archive
from candels_blend.stamps import central_mask, clean_rows, dilate, is_clean, prepare, split_pixels
from tests.candels_blend.reference import binary_dilation


def blank():
    """A map of one source, of number 7, at the centre."""
    segmentation = np.zeros((128, 128), np.int16)
    segmentation[60:70, 60:70] = 7
    return segmentation


def test_dilation_reaches_as_many_pixels_as_it_has_steps():
    masks = np.random.default_rng(0).random((4, 128, 128)) < 0.003
    for times in (0, 1, 5):
        for mask, dilated in zip(masks, dilate(masks, times), strict=True):
            assert (dilated == binary_dilation(mask, iterations=times)).all()


def test_pixels_of_neighbours_are_those_of_the_original_recipe(archive):
    for row in range(10):
        segmentation = archive.segmentation[row]
        sources = binary_dilation(segmentation, iterations=5)
        central = binary_dilation(segmentation == segmentation[64, 64], iterations=5)
        background, neighbours = split_pixels(segmentation)
        assert (background == ~sources).all()
        assert (neighbours == sources ^ central).all()


def test_noise_deviates_as_the_image_times_the_background_mask(archive, stamps):
    for row in range(10):
        background = ~binary_dilation(archive.segmentation[row], iterations=5)
        expected = np.std(archive.images[row].astype(float) * background)
        assert np.sqrt(stamps.variance[row]) == pytest.approx(expected, rel=1e-5)


def test_numbers_256_apart_stay_two_sources():
    segmentation = blank()
    segmentation[20:30, 20:30] = 7 + 256
    segmentation[90:95, 90:95] = 256
    assert (central_mask(segmentation) == (segmentation == 7)).all()
    assert split_pixels(segmentation)[1][25, 25]
    assert split_pixels(segmentation)[1][92, 92]
    archive = Archive(np.ones((1, 128, 128), np.float32), segmentation[None], None, np.array([0]), {})
    stamps = prepare(archive)
    assert stamps.central[0].sum() == 100
    assert stamps.images[0, 25, 25] == stamps.images[0, 92, 92] == 0 and stamps.images[0, 64, 64] == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.uint32, np.int64])
def test_any_integer_dtype_will_do(dtype):
    segmentation = blank().astype(dtype)
    segmentation[0, 0] = np.iinfo(dtype).max
    assert central_mask(segmentation).sum() == 100
    assert split_pixels(segmentation)[1].sum() == binary_dilation(segmentation > 7, iterations=5).sum()


@pytest.mark.parametrize(
    ("y", "x", "clean"),
    [
        (30, 30, True),
        (70, 70, False),  # at a corner of the central source
        (70, 65, False),
        (59, 65, False),
        (71, 65, True),  # a pixel of sky in between
        (0, 64, False),
        (127, 5, False),
        (64, 0, False),
        (9, 127, False),
        (1, 1, True),
        (126, 126, True),
    ],
)
def test_a_stamp_is_clean_if_no_other_source_touches_the_central_one_or_the_edge(y, x, clean):
    segmentation = blank()
    segmentation[y, x] = 900
    assert is_clean(segmentation) == clean


def test_the_central_source_may_touch_the_edge():
    segmentation = blank()
    segmentation[64, 60:] = 7
    assert is_clean(segmentation)


def test_clean_rows_are_those_of_each_stamp(archive):
    assert clean_rows(archive).tolist() == [bool(is_clean(segmentation)) for segmentation in archive.segmentation]
