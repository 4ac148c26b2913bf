"""Pictures of rows: what is drawn of which columns, in which colours, how large."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

import skyshards
from skyshards import entry_points
from skyshards.format.column_info import ColumnInfo
from skyshards.format.columns import nest
from skyshards.pictures.drawing import GAP, GROUP, MISSING, Drawing, _own, drawing, generic, side_by_side
from skyshards.pictures.legend import MOST, in_order, shared
from skyshards.pictures.overlay import COLOURS, overlay
from skyshards.pictures.pixels import BLANK, shrink, stretch, to_rgb
from skyshards.pictures.sheet import sheet
from skyshards.pictures.spectrum import draw_spectrum
from skyshards.pipeline.build import build
from tests.data_sets import DATA_SETS
from tests.toy import Toy

YELLOW, BLUE = (0xF0, 0xE4, 0x42), (0x56, 0xB4, 0xE9)


def columns(**kinds):
    """Columns by name, of a dtype and a shape each; dots are written __."""
    names = {name.replace("__", "."): kind for name, kind in kinds.items()}
    return {
        name: ColumnInfo(name, dtype, shape, "", "", None)
        for name, (dtype, *shape) in names.items()
        for shape in [tuple(shape)]
    }


def file(pixels, kind="PNG"):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


def sky(random, shape=(40, 50)):
    """Noise around 100, and a bright object in the row 10 and column 20."""
    flux = random.normal(100, 2, shape)
    flux[10, 20] += 5000
    return flux.astype(np.float32)


# Pixels


@pytest.mark.parametrize("dtype", ["uint8", "bool", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (6, 5, 2), (6, 5, 3), (6, 5, 4)])
def test_every_kind_of_image_becomes_rgb(dtype, shape):
    pixels = np.random.default_rng(0).uniform(0, 200, shape).astype(dtype)
    assert to_rgb(pixels).shape == (6, 5, 3) and to_rgb(pixels).dtype == np.uint8


def test_colours_and_greys_stay_as_they_are():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    assert np.array_equal(to_rgb(pixels), pixels)
    assert np.array_equal(to_rgb(pixels[..., 0]), np.dstack([pixels[..., 0]] * 3))
    assert np.array_equal(to_rgb(pixels / np.float32(255)), pixels)
    assert to_rgb(np.array([[True, False]])).tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize("as_given", [bytes, lambda content: np.frombuffer(content, np.uint8)], ids=["bytes", "array"])
def test_files_are_decoded(as_given):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    assert np.array_equal(to_rgb(as_given(file(pixels))), pixels)


def test_transparent_pixels_are_black():
    pixels = np.full((2, 2, 4), 200, np.uint8)
    pixels[0, 0, 3] = 0
    pixels[1, 1, 3] = 255
    assert to_rgb(pixels)[0, 0].tolist() == [0, 0, 0] and to_rgb(pixels)[1, 1].tolist() == [200, 200, 200]


@pytest.mark.parametrize("image", [b"", np.zeros((0, 0), np.uint8), np.full((3, 3), np.nan)], ids=repr)
def test_a_missing_image_is_none(image):
    assert to_rgb(image) is None


@pytest.mark.parametrize("image", [b"no picture", np.zeros(7), np.zeros((2, 2, 2, 2)), np.array([["a"]])], ids=repr)
def test_what_is_no_image_is_refused(image):
    with pytest.raises(ValueError, match="image|identify"):
        to_rgb(image)


def test_the_stretch_shows_sky_noise_and_bright_pixels():
    drawn = stretch(sky(np.random.default_rng(1)))
    assert drawn[10, 20] == 255
    assert 0 < np.median(drawn) < 60 and 5 < drawn.std() < 60


@given(arrays.arrays(np.float32, (5, 4), elements=st.floats(width=32)))
def test_the_stretch_takes_any_numbers_in_their_order(flux):
    drawn = stretch(flux)
    order = np.argsort(flux[np.isfinite(flux)])
    assert (np.diff(drawn[np.isfinite(flux)][order].astype(int)) >= 0).all()


def test_the_stretch_does_not_depend_on_the_unit():
    flux = sky(np.random.default_rng(2))
    assert np.abs(stretch(flux).astype(int) - stretch(flux * np.float32(1e-9))).max() <= 1
    assert np.abs(stretch(flux).astype(int) - stretch(flux - 100)).max() <= 1


def test_pixels_without_a_value_are_blue():
    flux = sky(np.random.default_rng(3))
    flux[0, 0] = np.nan
    assert tuple(to_rgb(flux)[0, 0]) == BLANK


def test_the_last_band_is_red():
    bands = np.zeros((5, 6, 7), np.float32)
    bands[4] = np.arange(42).reshape(6, 7)
    drawn = to_rgb(bands)
    assert drawn[5, 6].tolist() == [255, 0, 0]


@pytest.mark.parametrize(("shape", "size", "expected"), [
    ((100, 50), 20, (20, 10)), ((50, 100), 20, (10, 20)), ((10, 10), 20, (10, 10)), ((10, 10), None, (10, 10)),
    ((1000, 1), 20, (20, 1)),
])  # fmt: skip
def test_the_longer_side_is_shrunk(shape, size, expected):
    assert shrink(np.zeros((*shape, 3), np.uint8), size).shape[:2] == expected


# Masks


def test_masks_have_colours_of_their_own_and_the_smaller_is_on_top():
    masks = np.zeros((2, 20, 20), np.uint8)
    masks[0, 8:12, 8:12] = 1
    masks[1, 2:18, 2:18] = 1
    drawn = overlay(np.zeros((20, 20, 3), np.uint8), [masks])
    assert not drawn[0].any()
    assert np.array_equal(drawn[2, 2], np.rint(np.multiply(BLUE, np.float32(0.9))))
    assert np.array_equal(drawn[5, 5], np.rint(np.multiply(BLUE, np.float32(0.5))))
    assert drawn[10, 10][0] > drawn[10, 10][2], "yellow over blue"


def test_a_mask_is_the_more_opaque_the_higher_its_count():
    mask = np.tile(np.arange(10, dtype=np.uint8), (10, 1))[np.newaxis]
    drawn = overlay(np.zeros((10, 10, 3), np.uint8), [mask])[5]
    assert (np.diff(drawn[4:, 0].astype(int)) > 0).all() and not drawn[0].any()


def test_each_label_has_a_colour_and_0_has_none():
    labels = np.zeros((30, 30), np.int32)
    labels[2:9, 2:9], labels[12:20, 12:20], labels[22:29, 2:9] = 7, 4, -3
    drawn = overlay(np.zeros((30, 30, 3), np.uint8), [labels])
    assert np.array_equal(drawn[15, 15], np.rint(np.multiply(YELLOW, np.float32(0.5))))
    assert np.array_equal(drawn[5, 5], np.rint(np.multiply(BLUE, np.float32(0.5))))
    assert not drawn[25, 5].any() and not drawn[0, 0].any()


def test_many_labels_are_drawn_at_once():
    labels = np.arange(300 * 300).reshape(300, 300)
    assert overlay(np.zeros((50, 60, 3), np.uint8), [labels]).any()


def test_masks_shrink_with_the_picture():
    masks = np.zeros((1, 100, 100), np.uint8)
    masks[0, 20:60, 40:80] = 9
    drawn = overlay(np.zeros((10, 10, 3), np.uint8), [masks])
    assert drawn[2:6, 4:8].all(axis=(0, 1, 2)) and not drawn[:2].any() and not drawn[:, 8:].any()


def test_masks_of_a_few_pixels_are_seen_in_a_small_picture():
    masks = np.zeros((1, 500, 500), np.uint8)
    masks[0, 250:253, 250:253] = 1
    assert overlay(np.zeros((100, 100, 3), np.uint8), [masks]).max() > 100


# Spectra


def lines(picture):
    """Where the line is drawn in each column of the picture: its highest row, NaN where it is not."""
    strong = picture[..., 0].astype(float) > 120
    return np.array([np.flatnonzero(column)[0] if column.any() else np.nan for column in strong.T])


def test_a_spectrum_is_a_line_of_flux_over_wavelength():
    wavelength = np.linspace(3800, 9200, 3800)
    flux = 1 + np.exp(-(((wavelength - 6563) / 20) ** 2))
    picture = draw_spectrum(flux, wavelength, 200)
    assert picture.shape == (133, 200, 3)
    drawn = lines(picture)
    assert abs(np.nanargmin(drawn) - 200 * (6563 - 3800) / 5400) < 3, "the emission line is highest"
    assert np.nanmax(drawn) > 115 > 20 > np.nanmin(drawn)
    assert np.array_equal(draw_spectrum(flux[::-1], wavelength[::-1], 200), picture)


def test_bad_pixels_of_a_spectrum_interrupt_the_line():
    flux = np.ones(1000)
    flux[300:500] = np.nan
    flux[700] = 1e9
    flux[100:105] = 2
    drawn = lines(draw_spectrum(flux, np.arange(1000.0)))
    assert np.isnan(drawn[125:165]).all() and not np.isnan(drawn[20:100]).any()
    assert drawn[60] > 200, "one bad pixel does not change the scale"


@pytest.mark.parametrize("flux", [[], [1.0], [np.nan, np.nan], [np.inf, 1.0]])
def test_a_spectrum_without_values_is_none(flux):
    assert draw_spectrum(np.array(flux), np.arange(len(flux))) is None


def test_a_flat_spectrum_is_drawn():
    assert lines(draw_spectrum(np.ones(5), np.arange(5.0)))[180] == pytest.approx(119.5, abs=2)


@pytest.mark.parametrize(
    "flux_and_wavelength", [("spectrum__flux", "spectrum__loglam"), ("flux", "wavelength"), ("a__flux", "a__lambda")]
)
@pytest.mark.parametrize("kind", [("list of float32",), ("float32", 400)])
def test_rows_with_spectra_are_drawn(flux_and_wavelength, kind):
    kinds = columns(**dict.fromkeys(flux_and_wavelength, kind), representation=("float32", 400))
    flux, wavelength = names = [name.replace("__", ".") for name in flux_and_wavelength]
    assert generic(kinds).columns == tuple(names)
    row = nest({flux: np.ones(400, np.float32), wavelength: np.linspace(3.6, 3.9, 400, dtype=np.float32)})
    assert generic(kinds).picture(row, 100).shape == (67, 100, 3)
    lacking = nest({name: np.zeros(0, np.float32) for name in names})
    assert generic(kinds).picture(lacking) is None


def test_fluxes_without_wavelengths_are_no_spectra():
    assert generic(columns(flux=("float32", 5), a__flux=("list of float32",), wavelength=("float32",))).columns == ()


# Which columns


@pytest.mark.parametrize(("kinds", "used"), [
    (columns(picture=("image file",), image=("float32", 9, 9)), ("image",)),
    (columns(noise=("float32", 9, 9), picture=("image file",)), ("picture",)),
    (columns(noise=("float32", 9, 9), colours=("uint8", 9, 9, 3)), ("colours",)),
    (columns(mask=("uint8", 9, 9), flux=("float32", 9, 9)), ("mask", "flux")),
    (columns(a__image=("float32", 9, 9), a__masks=("uint8", 2, 9, 9)), ("a.image", "a.masks")),
    (columns(bands=("float32", 5, 9, 9), z=("float32",)), ("bands",)),
    (columns(image=("uint8", 9, 9), labels=("int32", 9, 9)), ("image", "labels")),
    (columns(masks=("uint8", 2, 9, 9)), ("masks",)),
    (columns(segmentation=("uint8", 9, 9), stamp=("uint8", 9, 9)), ("segmentation", "stamp")),
    (columns(representation=("float32", 1280), ra=("float64",), name=("str", 4)), ()),
    (columns(empty=("float32", 0, 9), words=("str", 3, 3)), ()),
])  # fmt: skip
def test_the_columns_that_a_picture_needs(kinds, used):
    assert generic(kinds).columns == used
    row = nest(
        {
            name: np.ones(kind.shape, kind.dtype)
            if kind.dtype not in ("str", "image file")
            else file(np.zeros((9, 9, 3), np.uint8))
            for name, kind in kinds.items()
            if name in used
        }
    )
    picture = generic(kinds).picture(row)
    assert picture is None if not used else picture.shape == (9, 9, 3)


def test_float_images_and_their_masks_have_row_0_at_the_bottom():
    image = sky(np.random.default_rng(5))
    masks = np.zeros((1, *image.shape), np.uint8)
    masks[0, :5, :5] = 1
    kinds = columns(image=("float32", *image.shape), masks=("uint8", *masks.shape))
    picture = generic(kinds).picture({"image": image, "masks": masks})
    assert picture[29, 20].tolist() == [255, 255, 255]
    assert picture[-1, 0].tolist() != picture[0, 0].tolist() and picture[-3, 2, 0] > picture[-3, 2, 2]


def test_masks_can_be_left_away():
    kinds = columns(image=("uint8", 6, 6, 3), masks=("uint8", 2, 6, 6))
    row = {"image": np.full((6, 6, 3), 7, np.uint8), "masks": np.ones((2, 6, 6), np.uint8)}
    drawn = generic(kinds)
    assert drawn.has_masks and np.array_equal(drawn.picture(row, masks=False), row["image"])
    assert not np.array_equal(drawn.picture(row), row["image"])
    for one, other in (("image", False), ("masks", False)):
        assert generic({one: kinds[one]}).has_masks == other  # masks alone are the picture


def test_masks_of_another_size_are_left_out():
    kinds = columns(image=("uint8", 6, 6, 3), masks=("uint8", 2, 5, 6))
    row = {"image": np.zeros((6, 6, 3), np.uint8), "masks": np.ones((2, 5, 6), np.uint8)}
    assert not generic(kinds).picture(row).any()


def test_captions_are_the_classes():
    kinds = {"label": ColumnInfo("label", "int64", (), "", "", ("elliptical", "spiral"))}
    assert [generic(kinds).caption({"label": np.int64(label)}) for label in (1, 0, -1, 2)] == [
        "spiral",
        "elliptical",
        "",
        "",
    ]


def test_lists_of_any_length_are_no_labels_and_no_images():
    kinds = {"labels": ColumnInfo("labels", "list of int64", (), "", "", ("elliptical", "spiral"))}
    assert generic(kinds | columns(flux=("list of float32",))).columns == ()


# Joined rows


def grey(value):
    return generic(columns(image=("uint8", 8, 8))), {"image": np.full((8, 8), value, np.uint8)}


def test_joined_rows_are_drawn_side_by_side():
    part, first = grey(10)
    _, second = grey(20)
    other = generic(columns(redshift=("float32",)))
    joined = side_by_side({"a": part, "b": part, "c": other}, {"b": "matched"})
    assert joined.columns == ("a.image", "b.image", "matched")
    picture = joined.picture({"a": first, "b": second, "c": {}, "matched": True})
    assert picture.shape == (8, 16 + GAP, 3)
    assert picture[0, 0, 0] == 10 and picture[0, -1, 0] == 20
    lacking = joined.picture({"a": first, "b": second, "c": {}, "matched": np.False_})
    assert lacking[0, 0, 0] == 10 and lacking[0, -1, 0] == MISSING


# Built datasets


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "toy"
    build(Toy(4), folder, workers=0)
    return folder


@pytest.mark.parametrize("decode", [True, False])
def test_a_table_says_how_its_rows_are_drawn(toy, decode):
    table = skyshards.open(toy, decode=decode)
    assert table.drawing.columns == ("label", "votes.mask", "picture")
    some = table.select_columns(table.drawing.columns)
    whole = skyshards.open(toy)
    for number in range(4):
        assert np.array_equal(table.drawing.picture(some[number]), whole[number]["picture"])
        assert table.drawing.caption(some[number]) == ("elliptical", "spiral")[int(whole[number]["label"])]


def test_a_join_says_how_its_rows_are_drawn(toy):
    table = skyshards.open(toy)
    joined = skyshards.join(table, table.select([1, 2]), names=("all", "some"), how="left", on="object_id")
    assert joined.drawing.columns[-1] == "matched"
    rows = joined.select_columns(joined.drawing.columns)
    shapes = {joined.drawing.picture(rows[number]).shape for number in range(4)}
    assert shapes == {(6, 14 + GAP, 3), (6, 13 + GAP, 3)}
    assert joined.drawing.caption(rows[1]).startswith("all: ") and "; some: " in joined.drawing.caption(rows[1])
    assert "some" not in joined.drawing.caption(rows[0])


# Datasets' own drawings


@pytest.fixture
def points(monkeypatch):
    """Make these the entry points of skyshards and of other distributions."""
    found = {"own": {}, "others": []}
    monkeypatch.setattr(entry_points, "own", lambda group: found["own"] if group == GROUP else {})
    monkeypatch.setattr(entry_points, "others", lambda group: found["others"] if group == GROUP else [])
    _own.cache_clear()
    yield found
    _own.cache_clear()


KINDS = columns(image=("uint8", 8, 8))


def test_a_package_draws_its_own_dataset(points, monkeypatch):
    own = Drawing(("ra",), lambda row, size, masks: None, lambda row: "own")
    monkeypatch.setattr("tests.toy.drawing", lambda columns: own if "ra" in columns else None, raising=False)
    points["others"] += [("toy", "tests.toy:drawing", "far-survey")]
    assert drawing("toy", columns(ra=("float64",))) is own
    assert drawing("toy", KINDS).columns == ("image",), "which has no drawing for these columns"
    assert drawing("another", KINDS).columns == ("image",)


def test_skyshards_own_drawings_come_first(points, monkeypatch):
    monkeypatch.setattr("tests.toy.drawing", generic, raising=False)
    points["own"]["toy"] = "tests.toy:drawing"
    points["others"] += [("toy", "nowhere:drawing", "rival")]
    assert drawing("toy", KINDS).columns == ("image",)


def test_a_package_that_cannot_be_loaded_is_said(points):
    points["others"] += [("toy", "nowhere:drawing", "far-survey")]
    with pytest.warns(UserWarning, match="toy: nowhere:drawing cannot be loaded"):
        assert drawing("toy", KINDS).columns == ("image",)


def test_every_own_drawing_can_be_loaded():
    for name, value in entry_points.own(GROUP).items():
        assert name in DATA_SETS and isinstance(entry_points.load(value)(KINDS), Drawing)


# Legends


def rgb(colour):
    return tuple(bytes.fromhex(colour[1:]))


MASKED = {
    "image": ("uint8", 20, 20, 3),
    "sky__class": ("str", 2),
    "sky__array": ("uint8", 2, 20, 20),
    "regions": ("int32", 20, 20),
    "clean": ("bool", 20, 20),
    "small": ("bool", 3, 9, 9),
    "seen__masks": ("bool", 1, 20, 20),
    "more": ("uint8", 2, 20, 20),
}


def row_of_masks():
    """Masks of one row of pixels each, from the top; the third and fourth are regions of a label image."""
    arrays = {name: np.zeros(column.shape, column.dtype) for name, column in columns(**MASKED).items() if column.shape}
    arrays["sky.class"] = np.array(["arm", ""])
    arrays["sky.array"][[0, 1], [0, 1]] = 1
    arrays["regions"][2], arrays["regions"][3] = 5, 9
    arrays["clean"][4] = arrays["seen.masks"][0, 5] = True
    arrays["more"][[0, 1], [6, 7]] = 1
    return nest(arrays)


def test_a_legend_names_each_mask_in_the_colour_it_is_drawn_in():
    drawn = generic(columns(**MASKED))
    row = row_of_masks()
    legend = drawn.legend(row)
    assert [name for name, _ in legend] == ["arm", "sky 2", "clean", "seen", "more 1", "more 2"]
    picture = drawn.picture(row)
    for (_, colour), place in zip(legend, (0, 1, 4, 5, 6, 7), strict=True):
        assert np.abs(picture[place, 10].astype(int) - 0.9 * np.array(rgb(colour))).max() <= 1
    assert set(drawn.columns) == {name.replace("__", ".") for name in MASKED}  # the names too


def test_a_legend_needs_masks_and_not_too_many():
    assert generic(columns(image=("uint8", 9, 9, 3))).legend({"image": np.zeros((9, 9, 3))}) == ()
    for count in (MOST, MOST + 1):
        kinds = columns(image=("uint8", 9, 9, 3), masks=("bool", count, 9, 9))
        row = {"image": np.zeros((9, 9, 3), np.uint8), "masks": np.zeros((count, 9, 9), bool)}
        assert len(generic(kinds).legend(row)) == (count if count == MOST else 0)


@pytest.mark.parametrize("as_given", [bytes, lambda content: np.asarray(Image.open(io.BytesIO(content)))])
def test_masks_that_do_not_fit_an_image_file_are_in_no_legend(as_given):
    kinds = columns(picture=("image file",), mask=("bool", 6, 5), other=("bool", 5, 6))
    image = as_given(file(np.zeros((6, 5, 3), np.uint8)))
    row = {"picture": image, "mask": np.ones((6, 5), bool), "other": np.ones((5, 6), bool)}
    assert generic(kinds).legend(row) == (("mask", COLOURS[0]),)


def test_joined_rows_name_the_dataset_where_several_have_masks():
    kinds = columns(image=("uint8", 5, 5, 3), masks=("bool", 1, 5, 5))
    bare, one = generic(columns(image=("uint8", 5, 5, 3))), generic(kinds)
    row = {"image": np.zeros((5, 5, 3), np.uint8), "masks": np.ones((1, 5, 5), bool)}
    both = side_by_side({"a": one, "b": one}, {"b": "matched"})
    assert both.legend({"a": row, "b": row, "matched": True}) == (("a: masks", COLOURS[0]), ("b: masks", COLOURS[0]))
    assert both.legend({"a": row, "b": row, "matched": False}) == (("masks", COLOURS[0]),)
    assert side_by_side({"a": bare, "b": one}, {}).legend({"a": row, "b": row}) == (("masks", COLOURS[0]),)


def test_a_legend_for_many_pictures_holds_for_all_of_them():
    one, other = in_order(["arm", "bar"]), in_order(["bar", "arm"])
    assert shared([one, (), one]) == one == (("arm", COLOURS[0]), ("bar", COLOURS[1]))
    assert shared([one, other]) == shared([()]) == shared([]) == ()


@pytest.mark.slow
def test_each_dataset_names_its_masks(built_gz3d):
    table = skyshards.open(built_gz3d)
    row = table.select_columns(table.drawing.columns)[0]
    assert table.drawing.legend(row) == in_order(["center", "star", "spiral", "bar"])


def test_a_sheet_has_the_legend_at_its_foot():
    picture = np.zeros((60, 60, 3), np.uint8)
    plain = np.asarray(sheet([picture], [["a"]], 60))
    legend = in_order(["a galaxy with a very long name", "bar", "arm"])
    drawn = np.asarray(sheet([picture], [["a"]], 60, legend))
    assert np.array_equal(drawn[: len(plain)], plain) and drawn.shape[1] == plain.shape[1]
    foot = {tuple(pixel) for pixel in drawn[len(plain) :].reshape(-1, 3).tolist()}
    assert {rgb(colour) for _, colour in legend} <= foot
    assert len(drawn) - len(plain) > 3 * 18  # a line each: the sheet is narrow
