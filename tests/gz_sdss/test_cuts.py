"""The quality cuts, each bound by itself; the sample."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gz_sdss.cuts import BANDS, Cuts, one_row_a_galaxy, shuffled
from gz_sdss.tables import NEEDED

GOOD = {name: 1.0 for name in NEEDED} | {
    "dr7objid": 1,
    "objid": 2,
    "p_cs_debiased": 0.95,
    "p_el_debiased": 0.01,
    "petroR90_r": 6.0,
    **{f"modelMag_{band}": 17.0 for band in BANDS},
    **{f"modelMagErr_{band}": 0.01 for band in BANDS},
}


def passes(cuts=None, **changes):
    return bool((cuts or Cuts()).mask(pd.DataFrame([GOOD | changes]))[0])


def test_a_good_galaxy_passes():
    assert passes()
    assert passes(p_cs_debiased=0.05, p_el_debiased=0.95)


@pytest.mark.parametrize("band", BANDS)
def test_magnitudes(band):
    assert not passes(**{f"modelMag_{band}": -9999.0})
    assert not passes(**{f"modelMag_{band}": -30.0})
    limit = {"u": 0.5, "z": 0.1}.get(band, 0.05)
    assert passes(**{f"modelMagErr_{band}": np.nextafter(limit, 0)})
    assert not passes(**{f"modelMagErr_{band}": limit})


def test_votes_at_the_limit_pass():
    assert passes(p_cs_debiased=0.9)
    assert not passes(p_cs_debiased=np.nextafter(0.9, 0))
    assert passes(p_cs_debiased=0.9, p_el_debiased=np.nan)


@pytest.mark.parametrize(("radius", "kept"), [(4.0, False), (4.01, True), (8.53, True), (8.54, False)])
def test_sizes(radius, kept):
    assert passes(petroR90_r=radius) is kept


@pytest.mark.parametrize("name", [name for name in GOOD if name.startswith(("modelMag", "petroR90"))])
def test_a_missing_value_passes_no_cut(name):
    assert not passes(**{name: np.nan})


def test_every_cut_can_be_set():
    assert passes(replace(Cuts(), min_vote=0.99), p_cs_debiased=1.0)
    assert not passes(replace(Cuts(), min_vote=0.99))
    assert not passes(replace(Cuts(), max_magerr_r=0.005))
    assert not passes(replace(Cuts(), min_pixels=30.0))
    assert not passes(replace(Cuts(), max_pixels=45.0))
    assert passes(replace(Cuts(), min_mag=-1e5), modelMag_u=-9999.0)


def test_one_row_a_galaxy():
    table = pd.DataFrame(
        {
            "dr7objid": pd.array([1, 1, 2, 3, None], dtype="Int64"),
            "objid": pd.array([10, 11, 10, 12, 13], dtype="Int64"),
            "ra": 1.0,
            "dec": [1.0, 1.0, 1.0, np.nan, 1.0],
        }
    )
    kept = one_row_a_galaxy(table)
    assert kept[["dr7objid", "objid"]].to_numpy().tolist() == [[1, 10]]


def test_the_sample_is_that_of_pandas():
    table = pd.DataFrame({"a": np.arange(500)})
    for count in (5, 77):
        assert shuffled(table).head(count).equals(table.sample(count, random_state=42))
