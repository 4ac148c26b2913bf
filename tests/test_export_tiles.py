"""Tiles of a HATS catalogue: each row in one, as large as their bytes allow, and all that is near in its margin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyshards.export.tiles import ORDER, row_groups, tiles
from skyshards.format.healpix import pixel_of

PIXELS = 12 << 2 * ORDER


@given(
    st.lists(st.integers(0, PIXELS - 1) | st.integers(0, 50), max_size=60).map(sorted),
    st.floats(0.5, 40),
    st.integers(0, ORDER),
    st.randoms(),
)
def test_each_row_is_in_the_largest_tile_that_is_small_enough(index, max_bytes, max_order, random):
    index = np.array(index, np.int64)
    nbytes = np.array([random.randint(1, 5) for _ in index], np.int64)
    found = tiles(index, nbytes, max_bytes, max_order)
    assert [row for tile in found for row in range(tile.start, tile.stop)] == list(range(len(index)))
    for tile in found:
        assert (index[tile.start : tile.stop] >> 2 * (ORDER - tile.order) == tile.pixel).all()
        assert tile.order == max_order or nbytes[tile.start : tile.stop].sum() <= max_bytes
        if tile.order:
            parent = index >> 2 * (ORDER - tile.order + 1) == tile.pixel >> 2
            assert nbytes[parent].sum() > max_bytes


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 7), st.floats(1, 30))
def test_row_groups_are_full_and_hold_all_rows(nbytes, max_rows, max_bytes):
    nbytes = np.array(nbytes, np.int64)
    groups = row_groups(nbytes, max_rows, max_bytes)
    assert [row for group in groups for row in range(group.start, group.stop)] == list(range(len(nbytes)))
    for group, following in zip(groups, [*groups[1:], None], strict=False):
        rows, size = group.stop - group.start, nbytes[group].sum()
        assert rows == 1 or (rows <= max_rows and size <= max_bytes)
        if following is not None:
            assert rows == max_rows or size + nbytes[following.start] > max_bytes


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 10.0, 60.0]))
def test_what_is_near_a_tile_is_in_its_margin(seed, arcsec):
    pytest.importorskip("hats", reason="the extra `hats` is not installed")
    from skyshards.export.tiles import margin_order, margins

    random = np.random.default_rng(seed)
    order = margin_order(arcsec)
    # Pairs that are just a margin apart, most of them round the corners and edges of some small pixels.
    ra, dec = random.uniform(0, 360, 200), np.degrees(np.arcsin(random.uniform(-1, 1, 200)))
    angle, apart = random.uniform(0, 2 * np.pi, 200), arcsec / 3600 * 0.999
    north = np.clip(dec + apart * np.cos(angle), -90, 90)
    east = (ra + apart * np.sin(angle) / np.maximum(np.cos(np.radians(np.maximum(abs(dec), abs(north)))), 1e-6)) % 360
    keep = abs(dec) < 89
    ra, dec, east, north = ra[keep], dec[keep], east[keep], north[keep]
    where = pixel_of(np.concatenate([ra, east]), np.concatenate([dec, north]), 1 << ORDER)
    rows = np.argsort(where, kind="stable")
    index, place = where[rows], np.argsort(rows)
    found = tiles(index, np.ones(len(index)), 1.0, order)
    tile_of = {row: tile for tile in found for row in range(tile.start, tile.stop)}
    bordering = margins(index, found, order)
    for one, other in zip(place[: len(ra)].tolist(), place[len(ra) :].tolist(), strict=True):
        for a, b in ((one, other), (other, one)):
            assert tile_of[a] == tile_of[b] or b in bordering[tile_of[a]]
    for tile, near in bordering.items():
        assert not set(range(tile.start, tile.stop)) & set(near.tolist())


def test_the_index_is_that_of_hats():
    spatial_index = pytest.importorskip("hats.pixel_math.spatial_index", reason="the extra `hats` is not installed")
    random = np.random.default_rng(0)
    ra, dec = random.uniform(0, 360, 10_000), np.degrees(np.arcsin(random.uniform(-1, 1, 10_000)))
    ours, theirs = pixel_of(ra, dec, 1 << ORDER), spatial_index.compute_spatial_index(ra, dec)
    assert ours.dtype == np.int64
    assert (ours >> 8 == theirs >> 8).mean() > 0.999  # positions on a border may fall on either side of it
