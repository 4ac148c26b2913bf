"""Simulated DECaLS galaxies look like real ones, and rings are tagged about as often as they can be seen."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage

from demo_archive.holdings.gz_decals import image, image_png, image_scale, tagged
from demo_archive.simulation.disks import light
from demo_archive.simulation.galaxies import simulate
from demo_archive.simulation.looks import KINDS, look, ring_chance
from demo_archive.simulation.representations import FEATURES, represent
from demo_archive.simulation.votes import TREE_5, fractions

SIZE = 424
ROW, COLUMN = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
RADIUS = np.hypot(ROW, COLUMN)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def galaxies():
    return simulate(600, 0)


@pytest.fixture(scope="module")
def simulated(galaxies):
    """Images of 200 galaxies."""
    return {galaxy: image(galaxy) for galaxy in galaxies[:200]}


@pytest.fixture(scope="module")
def real(shared_data):
    """Images of 12 galaxies that were tagged as rings, and of 12 others."""
    tags = pd.read_csv(shared_data / "zoobot" / "example_ring_catalog_basic.csv", index_col="id_str")["ring"]
    paths = sorted((shared_data / "zoobot" / "decals_png").glob("*.png"))
    return {path.stem: (np.asarray(Image.open(path)), bool(tags[path.stem])) for path in paths}


def figures(image):
    """Figures of an image: levels of 0 to 255, fractions, and the correlation of the sky's noise."""
    grey = image.mean(axis=2)
    sky = np.median(grey[RADIUS > 150])
    above = ndimage.gaussian_filter(grey, 2) - sky
    labels, _ = ndimage.label(above > 6)
    galaxy = labels == labels[SIZE // 2, SIZE // 2]
    quiet = (ndimage.gaussian_filter(grey, 4) < sky + 2) & (RADIUS > 120)
    noise = grey - ndimage.gaussian_filter(grey, 6)
    neighbours = quiet[:, :-1] & quiet[:, 1:]
    colours = image[galaxy].astype(float)
    return {
        "level of the sky": sky,
        "noise of the sky": noise[quiet].std(),
        "noise in red": (image[..., 0] - ndimage.gaussian_filter(image[..., 0].astype(float), 6))[quiet].std(),
        "correlation of neighbours": (noise[:, :-1] * noise[:, 1:])[neighbours].mean() / noise[quiet].var(),
        "fraction that is filled": galaxy.mean(),
        "extent": max(np.ptp(np.flatnonzero(galaxy.any(axis=side))) for side in (0, 1)) / SIZE,
        "level of the galaxy": grey[galaxy].mean(),
        "level of its middle": np.median(grey[RADIUS < 6]),
        "red above blue": (colours[:, 0] - colours[:, 2]).mean(),
        "saturation": (np.ptp(colours, axis=1) / colours.max(axis=1).clip(1)).mean(),
    }


def profile(image):
    """Levels above the sky along ellipses, at 0, 0.05, ... 1.2 of the radius at which they fall to 20."""
    grey = image.mean(axis=2)
    grey = grey - np.median(grey[RADIUS > 150])
    labels, _ = ndimage.label(ndimage.gaussian_filter(grey, 2) > 20)
    galaxy = labels == labels[SIZE // 2, SIZE // 2]
    values, vectors = np.linalg.eigh(np.cov(COLUMN[galaxy], ROW[galaxy]))
    ratio = np.sqrt(values[0] / values[1])
    radius = np.hypot(
        COLUMN * vectors[0, 1] + ROW * vectors[1, 1], (COLUMN * vectors[0, 0] + ROW * vectors[1, 0]) / ratio
    )
    edge = np.sqrt(galaxy.sum() / np.pi / ratio)
    rings = (radius / 3).astype(int)
    levels = ndimage.median(grey, rings, np.arange(rings.max()))
    return np.interp(np.arange(0, 1.21, 0.05) * edge, 3 * np.arange(len(levels)) + 1.5, levels)


def roc_area(scores, labels):
    """Area under the ROC curve: the chance that a labelled one has the higher score."""
    yes, no = scores[labels][:, None], scores[~labels]
    return np.mean(yes > no) + np.mean(yes == no) / 2


@pytest.fixture(scope="module")
def both(real, simulated, galaxies):
    """Figures of the real images and of a fair mix of simulated ones, by name."""
    mixes = [figures(each) for each, _ in real.values()], [figures(simulated[galaxy]) for galaxy in galaxies[:60]]
    return {name: [np.array([each[name] for each in mix]) for mix in mixes] for name in mixes[0][0]}


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("level of the sky", 1.5),
        ("noise of the sky", 1.2),
        ("noise in red", 1.2),
        ("fraction that is filled", 0.06),
        ("extent", 0.12),
        ("level of the galaxy", 8),
        ("level of its middle", 25),
        ("red above blue", 2.5),
        ("saturation", 0.05),
    ],
)
def test_the_median_is_that_of_real_images(both, name, tolerance):
    theirs, ours = both[name]
    assert np.median(ours) == pytest.approx(np.median(theirs), abs=tolerance)


def test_noise_is_as_correlated_as_in_some_real_images(both):
    """It is in all that are sampled finer than the camera's pixels; simulated galaxies are as small as the smaller."""
    theirs, ours = both["correlation of neighbours"]
    assert theirs.min() < ours.min() and ours.max() < theirs.max() + 0.02


def test_galaxies_differ_as_much_as_real_ones(both):
    for name in ("fraction that is filled", "extent", "red above blue"):
        theirs, ours = both[name]
        assert 0.5 < np.std(ours) / np.std(theirs) < 2, name


def test_rings_are_plateaus_of_the_profile_as_in_real_galaxies(real, simulated):
    """Profiles of real ringed galaxies hardly ever rise outward; they bend where there is a ring."""

    def figures_of(images):
        profiles = np.array([profile(each) for each in images])
        bends = profiles[:, 5:-5] - (profiles[:, :-10] + profiles[:, 10:]) / 2
        rises = [max(each[place:].max() - each[place] for place in range(4, 20)) for each in profiles]
        return profiles, bends[:, 2:17].max(axis=1), np.array(rises)

    tagged_ones = [each for each, tag in real.values() if tag]
    ringed = [image for galaxy, image in simulated.items() if ring_chance(galaxy) > 0.5]
    (theirs, their_bends, their_rises), (ours, our_bends, our_rises) = figures_of(tagged_ones), figures_of(ringed)
    assert len(ringed) > 8
    # The shape of the disk: levels at 0.3, 0.5 and 0.8 of its radius.
    assert np.allclose(np.median(ours, axis=0)[[6, 10, 16]], np.median(theirs, axis=0)[[6, 10, 16]], atol=12)
    assert their_bends.min() < np.median(our_bends) < their_bends.max()
    assert np.median(our_rises) <= np.median(their_rises) + 2


def test_a_ring_is_brightest_at_its_radius(galaxies):
    offset = np.linspace(-20, 20, 401, dtype=np.float32)
    for galaxy in [galaxy for galaxy in galaxies if galaxy.ring][:8]:
        shown = replace(look(galaxy), axis_ratio=1.0)
        with_ring, without = (
            sum(light(galaxy, each, offset[None, :], offset[:, None])) for each in (shown, replace(shown, ring=None))
        )
        radius = np.hypot(*np.meshgrid(offset, offset)) / galaxy.petroR90_r
        extra = ndimage.mean(with_ring - without, (radius * 20).astype(int), np.arange(40))
        assert np.argmax(extra) / 20 == pytest.approx(shown.ring.radius, abs=0.15)


def test_there_is_a_fair_mix(galaxies):
    kinds = [look(galaxy).kind for galaxy in galaxies]
    assert {kind: kinds.count(kind) > 15 for kind in KINDS} == dict.fromkeys(KINDS, True)
    assert all((look(galaxy).ring is not None) for galaxy in galaxies if galaxy.ring)
    contrasts = np.array([look(galaxy).ring.contrast for galaxy in galaxies if look(galaxy).ring])
    assert np.mean(contrasts < 0.15) > 0.2 and np.mean(contrasts > 0.3) > 0.2


def test_tags_are_those_of_volunteers_who_miss_and_mistake_some(galaxies):
    tags = np.array([tagged(galaxy) for galaxy in galaxies])
    chances = np.array([ring_chance(galaxy) for galaxy in galaxies])
    ringed = np.array([look(galaxy).ring is not None for galaxy in galaxies])
    assert tags.sum() == pytest.approx(chances.sum(), abs=4 * np.sqrt((chances * (1 - chances)).sum()))
    assert (tags & ~ringed).any() and (ringed & ~tags).any()
    # Not even who knows every chance can tell them all apart.
    assert 0.85 < roc_area(chances, tags) < 0.98


def test_votes_say_what_the_images_show(galaxies):
    for galaxy in galaxies:
        votes, shown = fractions(galaxy, TREE_5), look(galaxy)
        assert (votes["disk-edge-on_yes"] > 0.5) == (shown.kind == "edge-on") == (shown.axis_ratio < 0.3)
        assert (votes["merging_none"] < 0.5) == (shown.kind == "merger")
        assert votes["bar_strong"] > 0.3 or shown.bar <= 0.5


def test_an_image_is_always_the_same():
    for number in (3, 11):
        few, many = simulate(16, 4)[number], simulate(16, 4)[number]
        assert image_png(few) == image_png(many)
        assert np.array_equal(represent(image(few)), represent(image(many)))


def test_stars_and_galaxies_keep_their_places_on_the_sky(galaxies):
    """An image of another size shows the same sky: the middle of the larger one is the smaller one."""
    from demo_archive.simulation.deep_images import deep_image

    galaxy = galaxies[4]
    scale = image_scale(galaxy)
    small, large = deep_image(galaxy, 200, scale).mean(axis=2), deep_image(galaxy, 300, scale).mean(axis=2)
    smooth = [ndimage.gaussian_filter(each, 3) for each in (small, large[50:250, 50:250])]
    assert np.corrcoef(smooth[0].ravel(), smooth[1].ravel())[0, 1] > 0.98


def test_representations_come_from_the_picture_alone(simulated):
    images = list(simulated.values())[:40]
    vectors = np.array([represent(each) for each in images])
    assert vectors.shape == (len(images), FEATURES) and vectors.dtype == np.float32
    turned = np.array([represent(np.rot90(each)) for each in images])
    others = vectors[np.random.default_rng(0).permutation(len(vectors))]
    assert np.median(np.linalg.norm(vectors - turned, axis=1)) < 0.1 * np.median(
        np.linalg.norm(vectors - others, axis=1)
    )


def test_representations_tell_what_the_pictures_show_but_not_every_ring(simulated):
    """A linear classifier, fitted to 100 galaxies by least squares, on 100 others."""
    vectors = np.array([[*represent(each), 1] for each in simulated.values()])

    def area(is_so):
        labels = np.array([is_so(galaxy) for galaxy in simulated])
        weights = np.linalg.lstsq(vectors[:100], np.where(labels[:100], 1.0, -1.0), rcond=1e-2)[0]
        return roc_area(vectors[100:] @ weights, labels[100:])

    assert area(lambda galaxy: "spiral" in look(galaxy).kind) > 0.75
    assert area(lambda galaxy: look(galaxy).bar > 0.3) > 0.65
    assert 0.55 < area(tagged) < 0.97
