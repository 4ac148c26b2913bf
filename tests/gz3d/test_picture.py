"""Pictures of GZ3D rows in galleries."""

import numpy as np
import pytest

import skyshards
from gz3d import CLASSES
from gz3d.picture import SHAPES, cropped, drawing, votes_in_words
from skyshards.pictures.drawing import generic


def made_row(fibres=19.0, **marked):
    masks = np.zeros((4, 525, 525), np.uint8)
    for name, place in marked.items():
        masks[CLASSES.index(name)][place] = 1
    return {
        "image": np.zeros((525, 525, 3), np.uint8),
        "scale": np.float64(0.1 / 3600),
        "ifudesignsize": np.float64(fibres),
        "segmentation": {"array": masks},
    }


def test_a_picture_has_the_ifu_and_all_marks_but_stars():
    assert cropped(made_row())["image"].shape == (157, 157, 3), "1.25 times 12.5 arcsec"
    assert cropped(made_row(127.0))["segmentation"]["array"].shape == (4, 407, 407)
    assert cropped(made_row(star=np.s_[0, 0]))["image"].shape == (157, 157, 3)
    whole = cropped(made_row(spiral=np.s_[262, 100]))["segmentation"]["array"]
    assert whole[2].any() and 320 < whole.shape[1] < 340


@pytest.mark.parametrize("fibres", [float("nan"), 8.0])
def test_a_picture_is_whole_where_the_ifu_is_unknown(fibres):
    assert cropped(made_row(fibres))["image"].shape == (525, 525, 3)


def test_captions_are_vote_fractions():
    fractions = np.array([-1, -1, 0.96, -0.5])
    assert votes_in_words({"class": np.array(CLASSES), "vote_fraction": fractions}) == "spiral 96%"


def test_a_built_dataset_is_drawn_so(built_gz3d):
    table = skyshards.open(built_gz3d)
    rows = table.select_columns(table.drawing.columns)
    for row in rows:
        picture = table.drawing.picture(row)
        assert picture.shape[0] == picture.shape[1] < 525
        assert table.drawing.caption(row) == votes_in_words(row["segmentation"])
    barred = int(np.argmax(table.catalog["gz_bar_votes"].to_numpy()))
    assert not np.array_equal(table.drawing.picture(rows[barred]), cropped(table[barred])["image"]), "with masks"


def test_selected_columns_are_drawn_as_far_as_they_go(built_gz3d):
    table = skyshards.open(built_gz3d).select_columns(["image", "object_id"])
    assert table.drawing.columns == ("image",) == drawing(table.schema).columns
    assert np.array_equal(table.drawing.picture(table[0]), table[0]["image"])
    assert table.drawing.caption(table[0]) == ""
    assert generic(table.schema).columns == ("image",)


def test_a_folder_of_the_same_name_is_drawn_by_its_columns(built_gz3d):
    columns = dict(skyshards.open(built_gz3d).schema)
    assert {name: columns[name].shape for name in SHAPES} == SHAPES
    columns["segmentation.array"] = columns["segmentation.array"]._replace(shape=(2, 525, 525))
    columns["segmentation.vote_fraction"] = columns["segmentation.vote_fraction"]._replace(shape=(3,))
    assert drawing(columns).columns == ("image", "segmentation.array")
    row = {"image": np.zeros((525, 525, 3), np.uint8), "segmentation": {"array": np.zeros((2, 525, 525), np.uint8)}}
    assert drawing(columns).picture(row).shape == (525, 525, 3) and drawing(columns).caption(row) == ""
