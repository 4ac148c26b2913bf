"""Mean and standard deviation of images: those of all pixels, added up while building."""

import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

import skyshards
from skyshards.format import catalog
from skyshards.format.columns import ColumnSpec
from skyshards.format.moments import Moments, combined, moments_of, statistics_of
from skyshards.pipeline import encode
from skyshards.pipeline.build import build
from tests.test_format import EARLIER, identity, with_manifest
from tests.toy import Toy


def spec(path="image", kind="number", dtype="uint8", shape=(64, 64, 3), classes=None):
    return ColumnSpec(path, kind, dtype, shape, "images", "", True, classes)


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        (spec(), True),
        (spec(shape=(64, 64, 4), dtype="int16"), True),
        (spec(kind="bytes", shape=()), True),
        (spec(shape=(64, 64), dtype="float32"), True),
        (spec(shape=(64, 64)), False),
        (spec(shape=(4, 64, 64)), False),
        (spec("masks", shape=(64, 64, 3)), False),
        (spec("segmentation.array", shape=(64, 64, 3)), False),
        (spec(shape=(64, 64, 3), dtype="bool"), False),
        (spec(shape=(300,), dtype="float32"), False),
        (spec(kind="ragged", shape=(), dtype="float32"), False),
    ],
)
def test_images_are_told_from_masks_and_spectra(column, wanted):
    assert column.is_image == wanted


IMAGES = st.integers(1, 4).flatmap(
    lambda channels: array_shapes(min_dims=2, max_dims=2, max_side=9).flatmap(
        lambda shape: st.lists(
            arrays(np.uint8, (*shape, channels))
            | arrays(np.float32, (*shape, channels), elements=st.floats(-1e6, 1e6, width=32) | st.just(math.nan)),
            min_size=1,
            max_size=4,
        )
    )
)


@given(IMAGES)
def test_mean_and_deviation_are_numpy_s(images):
    found = statistics_of(combined(map(moments_of, images)))
    for channel in range(images[0].shape[2]):
        pixels = np.concatenate([image[..., channel].ravel().astype(np.float64) for image in images])
        pixels = pixels[np.isfinite(pixels)]
        if not len(pixels):
            assert np.isnan(found.mean[channel]) and np.isnan(found.std[channel])
            continue
        scale = max(1.0, np.abs(pixels).max())
        np.testing.assert_allclose(found.mean[channel], pixels.mean(), atol=1e-12 * scale)
        np.testing.assert_allclose(found.std[channel], pixels.std(), atol=1e-6 * scale)


@given(IMAGES, st.randoms())
def test_sums_do_not_depend_on_the_order(images, random):
    parts = [moments_of(image) for image in images]
    shuffled = random.sample(parts, len(parts))
    assert combined(parts) == combined(shuffled)


def test_sums_of_bytes_are_exact():
    image = np.random.default_rng(0).integers(0, 256, (70_000, 2, 3), np.uint8)
    for part in (image, image[:1000]):
        wide = part.astype(np.int64).reshape(-1, 3)
        found = moments_of(part)
        assert found == Moments((len(wide),) * 3, tuple(wide.sum(0).tolist()), tuple((wide**2).sum(0).tolist()))


def test_images_of_different_numbers_of_channels_have_none():
    colour, grey = moments_of(np.ones((4, 4, 3), "u1")), moments_of(np.ones((4, 4), "u1"))
    assert combined([colour, grey]) is None and combined([]) is None and combined([colour, None]) is None
    assert combined([grey, grey]).pixels == (32,)


def test_sums_beyond_floats_are_none():
    huge = np.full((2, 2, 1), 1e300)
    assert combined([moments_of(huge)]) is None


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy") / "toy"
    build(Toy(24), folder, workers=0)
    return folder


def test_a_table_has_the_statistics_of_its_images(toy):
    table = skyshards.open(toy)
    assert set(table.statistics) == {"noise", "picture"}, "the masks have none"
    for name, values in (("noise", table[:]["noise"][..., None]), ("picture", table[:]["picture"])):
        mean, std = table.statistics[name]
        np.testing.assert_allclose(mean, values.mean((0, 1, 2), dtype=np.float64), rtol=1e-9)
        np.testing.assert_allclose(std, values.std((0, 1, 2), dtype=np.float64), rtol=1e-9)
        assert table.select([0]).statistics[name].mean.tolist() == mean.tolist()


def test_the_card_has_them(toy):
    card = (toy / "README.md").read_text().partition("## Statistics")[2].partition("## ")[0]
    mean, std = skyshards.open(toy).statistics["picture"]
    for channel in range(3):
        assert f"| `picture` | {channel} | {mean[channel]:.6g} | {std[channel]:.6g} |" in card


def test_a_folder_built_in_parts_has_the_same(toy, tmp_path):
    """Rows that are in a shard already are added up again."""
    for limit in (5, 17, None):
        build(Toy(24), tmp_path / "toy", workers=0, limit=limit)
    assert (tmp_path / "toy/catalog.parquet").read_bytes() == (toy / "catalog.parquet").read_bytes()


def test_an_image_is_decoded_once(monkeypatch, tmp_path):
    """When its row is accepted; packing uses what was added up then."""
    from skyshards.format.kinds import image

    decoded = []
    pixels = np.ones((2, 2, 3), np.uint8)
    monkeypatch.setattr(image, "decode_image", lambda content, *out: decoded.append(content) or pixels)
    build(Toy(6), tmp_path / "toy", workers=0)
    assert len(decoded) == 6


def test_pixels_that_are_given_count_as_the_file_does():
    """An image given as an array is added up as the PNG made of it."""
    pixels = np.random.default_rng(1).integers(0, 256, (5, 6, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    column = {"picture": spec("picture", "bytes", shape=())} | {
        name: spec(name, "number", "float64", ()) for name in ("ra", "dec")
    }
    column["object_id"] = spec("object_id", "string", "str", ())
    rows = [{"object_id": "a", "ra": 1.0, "dec": 2.0, "picture": value} for value in (pixels, file.getvalue())]
    one, other = (encode.encode(row, column, "s").light()["_moments"] for row in rows)
    assert one == other


@pytest.mark.parametrize("folder", EARLIER, ids=identity)
def test_earlier_folders_have_none(folder):
    assert skyshards.open(folder).statistics == {}


@pytest.mark.parametrize("sums", [[[1], [2]], [[1], [2], ["3"]], [[1, 2], [1], [1]], "many", 3, [[], [], []]])
def test_damaged_sums_are_refused(toy, tmp_path, sums):
    import shutil

    copy = shutil.copytree(toy, tmp_path / "toy")
    _, manifest = catalog.open_folder(copy)
    shards = [[*shard[:6], {"picture": sums}] for shard in manifest.shards]
    with_manifest(copy, shards=shards)
    with pytest.raises(skyshards.FolderError, match="manifest"):
        skyshards.open(copy)
