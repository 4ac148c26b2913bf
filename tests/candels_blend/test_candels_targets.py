"""The forms of a target, in the order of channels that candels-blender's users know."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from candels_blend.targets import MASKS, channels, flux

masks = arrays(np.uint8, st.tuples(st.integers(0, 3), st.just(2), st.just(6), st.just(5)), elements=st.integers(0, 1))


@given(masks)
def test_channels(pair):
    first, second = pair[:, 0] == 1, pair[:, 1] == 1
    both = first & second
    expected = {
        "ogg_masks": (both, first, second),
        "bogg_masks": (~first & ~second, both, first & ~both, second & ~both),
    }
    for method, parts in expected.items():
        target = MASKS[method](pair)
        assert target.dtype == np.uint8 and target.shape == (len(pair), 6, 5, channels(method, 2))
        for number, channel in enumerate(parts):
            assert (target[..., number] == channel).all()


@given(masks)
def test_bogg_has_one_class_in_each_pixel(pair):
    assert (MASKS["bogg_masks"](pair).sum(axis=-1) == 1).all()


@given(masks)
def test_out_is_filled(pair):
    for method, make in MASKS.items():
        out = np.full((len(pair), 6, 5, channels(method, 2)), 9, np.uint8)
        make(pair, out=out)
        assert (out == make(pair)).all()


def test_flux_of_a_magnitude():
    np.testing.assert_allclose(flux(np.array([25.96, 23.46, 20.96]), 25.96), [1, 10, 100])


def test_flux_is_that_of_a_published_sample(shared_data):
    published = pd.read_csv(shared_data / "candels" / "coindeblend_output_catalog_head200.csv")
    for galaxy in ("g1", "g2"):
        np.testing.assert_allclose(flux(published[f"{galaxy}_mag"], 25.96), published[f"{galaxy}_flux"], rtol=1e-6)
