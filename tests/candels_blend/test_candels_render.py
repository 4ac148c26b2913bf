"""A blend's pixels have the mean, the variance and the masks that the recipe says, and are a function of its number."""

import functools
import itertools

import numpy as np
import pytest

from candels_blend.draw import draw_sample
from candels_blend.drawn import blend_dtype
from candels_blend.render import PIXELS, Renderer, noise_generator
from candels_blend.sample import Sample
from candels_blend.stamp_archive import Archive
from candels_blend.stamps import prepare
from tests.candels_blend import reference
from tests.candels_blend.reference import binary_dilation, shifted

NAMES = ("image", "galaxies", "masks")


@pytest.fixture(scope="module")
def moments(archive):
    """Mean and variance of each pixel of a stamp with its noise, and its mask, by the words of the recipe."""

    @functools.cache
    def of(row):
        image, segmentation = archive.images[row].astype(float), archive.segmentation[row]
        sources = binary_dilation(segmentation, iterations=5)
        neighbours = sources & ~binary_dilation(segmentation == segmentation[64, 64], iterations=5)
        sigma = np.std(image * ~sources)
        mean = np.where(neighbours, 0.0, image)
        return mean, sigma**2 * (1 + neighbours), (segmentation == segmentation[64, 64]).astype(np.uint8)

    return of


@pytest.fixture(scope="module", params=[2, 4])
def drawn(archive, request):
    return draw_sample(archive, Sample(test_ratio=0.1, n_galaxies=request.param), 70)["train"]


@pytest.fixture(scope="module")
def batch(stamps, drawn):
    return Renderer(stamps, 5).batch(np.arange(len(drawn)), drawn, NAMES)


def parts(moments, blend):
    """Mean, variance and mask of each galaxy of a drawn blend, in its place."""
    central, *others = blend
    rows, shifts = others[::3], zip(others[1::3], others[2::3], strict=True)
    moved = [[shifted(array, *by) for array in moments(row)] for row, by in zip(rows, shifts, strict=True)]
    return [moments(central), *moved]


def test_masks_are_shifted_with_zeros_coming_in(moments, drawn, batch):
    for blend, masks in zip(drawn.tolist(), batch["masks"], strict=True):
        assert masks.dtype == np.uint8
        for mask, (_, _, expected) in zip(masks, parts(moments, blend), strict=True):
            assert (mask == expected).all()


@pytest.mark.slow
def test_noise_has_the_variance_of_the_recipe(moments, drawn, batch):
    """Standardised by the recipe, all pixels together are normal: mean 0, variance 1, kurtosis 3."""
    scores = {}
    for blend, image, galaxies in zip(drawn.tolist(), batch["image"], batch["galaxies"], strict=True):
        expected = parts(moments, blend)
        for number, (galaxy, (mean, variance, _)) in enumerate(zip(galaxies, expected, strict=True)):
            inside = variance > 0
            scores.setdefault(number, []).append(((galaxy - mean)[inside] / np.sqrt(variance[inside])).ravel())
            assert (galaxy[~inside] == 0).all()
        mean, variance = (sum(part[which] for part in expected) for which in (0, 1))
        scores.setdefault("image", []).append(((image - mean) / np.sqrt(variance)).ravel())
    for what, values in scores.items():
        values = np.concatenate(values)
        error = 5 / np.sqrt(len(values))  # five standard errors of the mean
        assert abs(values.mean()) < error, what
        assert abs(values.var() - 1) < error * np.sqrt(2), what
        assert abs((values**4).mean() - 3) < error * np.sqrt(96), what


def test_noise_of_the_galaxies_is_independent(moments, drawn, batch):
    products = {}
    for blend, galaxies in zip(drawn.tolist(), batch["galaxies"], strict=True):
        expected = parts(moments, blend)
        for one, other in itertools.combinations(range(len(expected)), 2):
            inside = (expected[one][1] > 0) & (expected[other][1] > 0)
            noise = [
                ((galaxies[number] - expected[number][0]) / np.sqrt(np.maximum(expected[number][1], 1e-30)))[inside]
                for number in (one, other)
            ]
            products.setdefault((one, other), []).append(noise[0] * noise[1])
    for values in products.values():
        values = np.concatenate(values)
        assert abs(values.mean()) < 5 / np.sqrt(len(values))


def test_two_galaxies_are_rendered_to_the_bit_as_the_formulas_say(archive, stamps):
    pairs = draw_sample(archive, Sample(), 40)["train"]
    found = Renderer(stamps, 5).batch(np.arange(len(pairs)), pairs, ("image", "galaxies"))
    for number, pair in enumerate(pairs.tolist()):
        image, galaxies = reference.pair_pixels(stamps, pair, noise_generator(5, number))
        assert (found["image"][number] == image).all() and (found["galaxies"][number] == galaxies).all()


def test_noise_of_pixels_and_blends_is_uncorrelated(stamps):
    pair = np.array([(0, 0, 64, 0)] * 40, blend_dtype(2))
    noise = Renderer(stamps, 1).batch(np.arange(40), pair, ("image",))["image"][:, 64:, :].astype(float)
    noise -= noise.mean(axis=0)
    noise /= noise.std()
    bound = 5 / np.sqrt(noise.size)
    assert abs((noise[1:] * noise[:-1]).mean() + 1 / 40) < bound  # the mean that was taken off leaves -1/40
    assert abs((noise[:, 1:] * noise[:, :-1]).mean()) < bound
    assert abs((noise[..., 1:] * noise[..., :-1]).mean()) < bound


def test_galaxies_sum_to_the_image_to_the_last_bit_in_any_order(batch):
    assert batch["image"].dtype == batch["galaxies"].dtype == np.float32
    galaxies = list(np.moveaxis(batch["galaxies"], 1, 0))
    for order in (galaxies, galaxies[::-1], galaxies[1:] + galaxies[:1]):
        assert (functools.reduce(np.add, order) == batch["image"]).all()


@pytest.mark.parametrize("name", PIXELS)
def test_a_column_is_the_same_whatever_else_is_asked_for(stamps, drawn, name):
    numbers = np.arange(len(drawn))
    alone = Renderer(stamps, 5).batch(numbers, drawn, (name,))[name]
    assert (alone == Renderer(stamps, 5).batch(numbers, drawn, PIXELS)[name]).all()


def test_a_blend_is_the_same_in_any_order(stamps, drawn, batch):
    order = np.random.default_rng(0).permutation(len(drawn))
    renderer = Renderer(stamps, 5)
    for number in order[:20]:
        one = renderer.batch(np.array([number]), drawn[[number]], NAMES)
        for name in NAMES:
            assert (one[name][0] == batch[name][number]).all()


def test_seed_and_number_change_the_noise_alone(stamps, drawn, batch):
    numbers = np.arange(len(drawn))
    for other in (
        Renderer(stamps, 6).batch(numbers, drawn, NAMES),
        Renderer(stamps, 5).batch(numbers + 1, drawn, NAMES),
    ):
        assert (other["masks"] == batch["masks"]).all()
        assert (other["image"] != batch["image"]).mean() > 0.999


def test_global_random_state_is_left_alone(stamps, drawn):
    np.random.seed(1)
    expected = np.random.random(3)
    np.random.seed(1)
    Renderer(stamps, 5).batch(np.arange(3), drawn[:3], NAMES)
    assert (np.random.random(3) == expected).all()


def test_stamps_that_are_not_masked_are_added_as_they_are(archive, stamps, drawn):
    plain = Renderer(prepare(archive, masked=False), 0)
    found = plain.batch(np.arange(len(drawn)), drawn, NAMES)
    assert (found["masks"] == Renderer(stamps, 0).batch(np.arange(len(drawn)), drawn, ("masks",))["masks"]).all()
    for blend, image, galaxies in zip(drawn.tolist(), found["image"], found["galaxies"], strict=True):
        central, *others = blend
        places = zip(others[::3], others[1::3], others[2::3], strict=True)
        expected = [archive.images[central], *(shifted(archive.images[row], dy, dx) for row, dy, dx in places)]
        assert (galaxies == np.stack(expected)).all()
        assert (image == functools.reduce(np.add, expected)).all()


def test_stamps_without_noise_are_added_as_they_are():
    image = np.zeros((2, 128, 128), np.float32)
    segmentation = np.zeros((2, 128, 128), np.int16)
    image[:, 60:70, 60:70], segmentation[:, 60:70, 60:70] = [[[1.5]], [[1e6]]], 3
    stamps = prepare(Archive(image, segmentation, None, np.arange(2), {}))
    out = Renderer(stamps, 0).batch(np.arange(1), np.array([(0, 1, 5, -60)], blend_dtype(2)), NAMES)
    assert (out["image"][0] == image[0] + shifted(image[1], 5, -60)).all()
    assert (out["galaxies"][0, 1] == shifted(image[1], 5, -60)).all()


@pytest.mark.parametrize("shift", [(64, 0), (-64, 0), (0, 63), (-64, -64), (0, 0)])
def test_largest_shifts(archive, stamps, shift):
    out = Renderer(stamps, 0).batch(np.arange(1), np.array([(0, 1, *shift)], blend_dtype(2)), NAMES)
    assert (out["masks"][0, 1] == shifted(stamps.central[1], *shift)).all()
    assert ((out["galaxies"][0, 1] != 0) <= (shifted(np.ones((128, 128)), *shift) > 0)).all()


def test_no_blends(stamps):
    out = Renderer(stamps, 0).batch(np.arange(0), np.empty(0, blend_dtype(2)), PIXELS)
    assert out["image"].shape == (0, 128, 128) and out["ogg_masks"].shape == (0, 128, 128, 3)
