"""A blend's pixels have the mean, the variance and the masks that the recipe says, and are a function of its number."""

import numpy as np
import pytest

from candels_blend.draw import PAIR, Sample, draw_sample
from candels_blend.render import PIXELS, Renderer
from candels_blend.stamp_archive import Archive
from candels_blend.stamps import prepare
from tests.candels_blend.reference import binary_dilation, shifted

NAMES = ("image", "galaxies", "masks")


def moments(archive, row):
    """Mean and variance of each pixel of a stamp with its noise, and its mask, by the words of the recipe."""
    image, segmentation = archive.images[row].astype(float), archive.segmentation[row]
    sources = binary_dilation(segmentation, iterations=5)
    neighbours = sources & ~binary_dilation(segmentation == segmentation[64, 64], iterations=5)
    sigma = np.std(image * ~sources)
    mean = np.where(neighbours, 0.0, image)
    return mean, sigma**2 * (1 + neighbours), (segmentation == segmentation[64, 64]).astype(np.uint8)


@pytest.fixture(scope="module")
def pairs(archive):
    return draw_sample(archive, Sample(test_ratio=0.1), 70)["train"]


@pytest.fixture(scope="module")
def batch(stamps, pairs):
    return Renderer(stamps, 5).batch(np.arange(len(pairs)), pairs, NAMES)


def test_masks_are_shifted_with_zeros_coming_in(archive, pairs, batch):
    for pair, masks in zip(pairs.tolist(), batch["masks"], strict=True):
        assert masks.dtype == np.uint8
        assert (masks[0] == moments(archive, pair[0])[2]).all()
        assert (masks[1] == shifted(moments(archive, pair[1])[2], *pair[2:])).all()


@pytest.mark.slow
def test_noise_has_the_variance_of_the_recipe(archive, pairs, batch):
    """Standardised by the recipe, all pixels together are normal: mean 0, variance 1, kurtosis 3."""
    scores = {"galaxy 1": [], "galaxy 2": [], "image": []}
    for (g1, g2, dy, dx), image, galaxies in zip(pairs.tolist(), batch["image"], batch["galaxies"], strict=True):
        mean1, variance1, _ = moments(archive, g1)
        mean2, variance2 = (shifted(array, dy, dx) for array in moments(archive, g2)[:2])
        inside = variance2 > 0
        scores["galaxy 1"].append(((galaxies[0] - mean1) / np.sqrt(variance1)).ravel())
        scores["galaxy 2"].append(((galaxies[1] - mean2)[inside] / np.sqrt(variance2[inside])).ravel())
        scores["image"].append(((image - mean1 - mean2) / np.sqrt(variance1 + variance2)).ravel())
        assert (galaxies[1][~inside] == 0).all()
    for what, values in scores.items():
        values = np.concatenate(values)
        error = 5 / np.sqrt(len(values))  # five standard errors of the mean
        assert abs(values.mean()) < error, what
        assert abs(values.var() - 1) < error * np.sqrt(2), what
        assert abs((values**4).mean() - 3) < error * np.sqrt(96), what


def test_noise_of_the_two_galaxies_is_independent(archive, pairs, batch):
    products = []
    for (g1, g2, dy, dx), galaxies in zip(pairs.tolist(), batch["galaxies"], strict=True):
        mean1, variance1, _ = moments(archive, g1)
        mean2, variance2 = (shifted(array, dy, dx) for array in moments(archive, g2)[:2])
        inside = variance2 > 0
        noise1, noise2 = (
            (galaxies[0] - mean1) / np.sqrt(variance1),
            (galaxies[1] - mean2)[inside] / np.sqrt(variance2[inside]),
        )
        products.append((noise1[inside] * noise2).ravel())
    products = np.concatenate(products)
    assert abs(products.mean()) < 5 / np.sqrt(len(products))


def test_noise_of_pixels_and_blends_is_uncorrelated(stamps):
    pair = np.array([(0, 0, 64, 0)] * 40, PAIR)
    noise = Renderer(stamps, 1).batch(np.arange(40), pair, ("image",))["image"][:, 64:, :].astype(float)
    noise -= noise.mean(axis=0)
    noise /= noise.std()
    bound = 5 / np.sqrt(noise.size)
    assert abs((noise[1:] * noise[:-1]).mean() + 1 / 40) < bound  # the mean that was taken off leaves -1/40
    assert abs((noise[:, 1:] * noise[:, :-1]).mean()) < bound
    assert abs((noise[..., 1:] * noise[..., :-1]).mean()) < bound


def test_galaxies_sum_to_the_image_to_the_last_bit(batch):
    assert batch["image"].dtype == batch["galaxies"].dtype == np.float32
    assert (batch["galaxies"][:, 0] + batch["galaxies"][:, 1] == batch["image"]).all()


@pytest.mark.parametrize("name", PIXELS)
def test_a_column_is_the_same_whatever_else_is_asked_for(stamps, pairs, name):
    numbers = np.arange(len(pairs))
    alone = Renderer(stamps, 5).batch(numbers, pairs, (name,))[name]
    assert (alone == Renderer(stamps, 5).batch(numbers, pairs, PIXELS)[name]).all()


def test_a_blend_is_the_same_in_any_order(stamps, pairs, batch):
    order = np.random.default_rng(0).permutation(len(pairs))
    renderer = Renderer(stamps, 5)
    for number in order[:20]:
        one = renderer.batch(np.array([number]), pairs[[number]], NAMES)
        for name in NAMES:
            assert (one[name][0] == batch[name][number]).all()


def test_seed_and_number_change_the_noise_alone(stamps, pairs, batch):
    numbers = np.arange(len(pairs))
    for other in (
        Renderer(stamps, 6).batch(numbers, pairs, NAMES),
        Renderer(stamps, 5).batch(numbers + 1, pairs, NAMES),
    ):
        assert (other["masks"] == batch["masks"]).all()
        assert (other["image"] != batch["image"]).mean() > 0.999


def test_global_random_state_is_left_alone(stamps, pairs):
    np.random.seed(1)
    expected = np.random.random(3)
    np.random.seed(1)
    Renderer(stamps, 5).batch(np.arange(3), pairs[:3], NAMES)
    assert (np.random.random(3) == expected).all()


def test_stamps_without_noise_are_added_as_they_are():
    image = np.zeros((2, 128, 128), np.float32)
    segmentation = np.zeros((2, 128, 128), np.int16)
    image[:, 60:70, 60:70], segmentation[:, 60:70, 60:70] = [[[1.5]], [[1e6]]], 3
    stamps = prepare(Archive(image, segmentation, None, np.arange(2), {}))
    out = Renderer(stamps, 0).batch(np.arange(1), np.array([(0, 1, 5, -60)], PAIR), NAMES)
    assert (out["image"][0] == image[0] + shifted(image[1], 5, -60)).all()
    assert (out["galaxies"][0, 1] == shifted(image[1], 5, -60)).all()


@pytest.mark.parametrize("shift", [(64, 0), (-64, 0), (0, 63), (-64, -64), (0, 0)])
def test_largest_shifts(archive, stamps, shift):
    out = Renderer(stamps, 0).batch(np.arange(1), np.array([(0, 1, *shift)], PAIR), NAMES)
    assert (out["masks"][0, 1] == shifted(stamps.central[1], *shift)).all()
    assert ((out["galaxies"][0, 1] != 0) <= (shifted(np.ones((128, 128)), *shift) > 0)).all()


def test_no_blends(stamps):
    out = Renderer(stamps, 0).batch(np.arange(0), np.empty(0, PAIR), PIXELS)
    assert out["image"].shape == (0, 128, 128) and out["ogg_masks"].shape == (0, 128, 128, 3)
