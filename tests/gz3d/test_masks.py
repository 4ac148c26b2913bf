"""Masks as fractions of volunteers, above thresholds and on MaNGA's grid, from rows of any reader."""

import doctest

import numpy as np
import pytest
from datasets import load_dataset

import gz3d
import skyshards
from gz3d import masks as masks_module
from gz3d import sky
from gz3d.gz3d import passes
from gz3d.masks import SPAXELS
from tests.versions import stock_reads_hdf5


def made_row(masks=None, volunteers=15, fibres=19.0):
    masks = np.zeros((4, 525, 525), np.uint8) if masks is None else masks
    return {
        "segmentation": {"class": np.array(gz3d.CLASSES), "array": masks},
        "volunteers": {task: np.int16(volunteers + n) for n, task in enumerate(("center_star", "spiral", "bar"))},
        "ifudesignsize": np.float64(fibres),
        "scale": np.float64(2.75e-5),
    }


@pytest.mark.parametrize("module", [masks_module, sky])
def test_examples_of_docstrings_run(module):
    assert doctest.testmod(module).attempted > 0 == doctest.testmod(module).failed


def test_cuts_include_their_bounds_and_0_keeps_all():
    fractions = np.array([[-1, -1, 0.9, 0.2], [-1, -1, 0.2, 0.9], [-1, -1, -0.5, -0.5]])
    assert passes(fractions).all()
    assert passes(fractions, vote_fraction_cut=0.9).tolist() == [True, True, False]
    assert passes(fractions, bars_only=0.9).tolist() == [False, True, False]
    assert passes(fractions, spirals_only=0.9).tolist() == [True, False, False]
    assert not passes(fractions, bars_only=0.9, spirals_only=0.9).any()


def test_each_mask_is_divided_by_the_volunteers_of_its_task():
    found = gz3d.fraction(made_row(np.full((4, 2, 3), 30, np.uint8)))
    assert found.shape == (4, 2, 3) and found.dtype == np.float32
    np.testing.assert_array_equal(found[:, 0, 0], np.float32([30 / 15, 30 / 15, 30 / 16, 30 / 17]))


def test_a_fraction_of_nobody_is_unknown():
    row = made_row(np.zeros((4, 2, 2), np.uint8), volunteers=0)
    assert np.isnan(gz3d.fraction(row)[:2]).all() and not np.isnan(gz3d.fraction(row)[2:]).any()
    assert not gz3d.threshold(row).any()


@pytest.mark.parametrize("number", range(1, 40))
def test_a_threshold_is_exact(number):
    """Also where the product of fraction and volunteers is not, such as 0.29 * 100."""
    masks = np.tile(np.arange(number + 1, dtype=np.uint8), (4, 1, 1))
    row = made_row(masks) | {"volunteers": dict.fromkeys(("center_star", "spiral", "bar"), number)}
    for count in range(number + 1):
        assert np.array_equal(gz3d.threshold(row, count / number), masks > count)
        assert np.array_equal(gz3d.fraction(row) > count / number, masks > count)


def test_the_default_threshold_is_more_than_3_of_15():
    row = made_row(np.tile(np.array([3, 4], np.uint8), (4, 1, 1)))
    assert gz3d.threshold(row)[0].tolist() == [[False, True]]


@pytest.mark.parametrize("fibres", SPAXELS)
def test_the_grid_of_spaxels_has_the_size_of_the_cubes(fibres):
    found = gz3d.spaxel_masks(made_row(fibres=fibres))
    assert {name: values.shape for name, values in found.items()} == dict.fromkeys(
        (*gz3d.CLASSES, "other"), (SPAXELS[fibres],) * 2
    )
    assert found["other"].all()


def test_north_is_up_and_east_left_in_spaxels():
    masks = np.zeros((4, 525, 525), np.uint8)
    masks[3, 220:240, 200:230] = 9  # north-east of the centre
    rows, columns = np.nonzero(gz3d.spaxel_masks(made_row(masks))["bar"] > 4)
    assert rows.min() > 17 and columns.max() < 17, "row 0 is the southern one"


def test_an_ifu_of_unknown_size_needs_the_size_of_the_cube():
    with pytest.raises(ValueError, match="expected a row with an `ifudesignsize` of 7, .* found nan; give the `size`"):
        gz3d.spaxel_masks(made_row(fibres=np.nan))
    assert gz3d.spaxel_masks(made_row(fibres=np.nan), size=11)["star"].shape == (11, 11)


def test_a_batch_is_refused():
    with pytest.raises(ValueError, match="expected the masks of one row"):
        gz3d.fraction(made_row(np.zeros((2, 4, 3, 3), np.uint8)))


@stock_reads_hdf5
@pytest.mark.parametrize("form", ["numpy", None])
def test_rows_of_datasets_do_as_well(built_gz3d, form):
    row = next(iter(load_dataset(str(built_gz3d), split="train", streaming=True).with_format(form)))
    ours = skyshards.open(built_gz3d)[0]
    for function in (gz3d.fraction, gz3d.threshold):
        np.testing.assert_array_equal(function(row), function(ours))
    assert gz3d.wcs(row).wcs.compare(gz3d.wcs(ours).wcs)
    np.testing.assert_array_equal(gz3d.spaxel_masks(row)["bar"], gz3d.spaxel_masks(ours)["bar"])
