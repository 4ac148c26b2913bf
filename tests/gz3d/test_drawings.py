"""What volunteers drew: cells that are blank or wrong, and what a row without drawings says."""

import json

import numpy as np
import pytest

import gz3d
from gz3d.drawings import drawing_columns, drew
from skyshards.errors import SourceError


def tables(centers="[]", stars="[]", spirals="[]", bars="[]"):
    """Tables of two volunteers; the first drew nothing."""

    def table(**columns):
        cells = {name: np.array(["[]", text]) for name, text in columns.items()}
        return {"classification_id": np.array([70, 80]), **cells}

    return {
        "center_star": table(center_points=centers, star_points=stars),
        "spiral": table(spiral_paths=spirals),
        "bar": table(bar_paths=bars),
    }


@pytest.mark.parametrize(
    ("text", "count"), [("[]", 0), ("[ ]", 0), ("", 0), ("[[]]", 1), ("[[[1, 2]]]", 1), ("[[[1, 2], [3, 4]], []]", 1)]
)
def test_who_drew(text, count):
    found = tables(spirals=text)
    assert [drew(task, table) for task, table in found.items()] == [0, count, 0]


def test_centres_and_stars_are_one_task():
    assert drew("center_star", tables(centers="[[1, 2]]")["center_star"]) == 1
    assert drew("center_star", tables(stars="[[1, 2]]")["center_star"]) == 1


def test_drawings_come_back_as_they_were():
    paths = [[[1, 2.5], [3, 4], [5, 6]], [], [[281.3, 264.5]]]
    row = drawing_columns(tables(centers="[[1.5, 2]]", spirals=json.dumps(paths)))
    assert row["classification_id"]["spiral"].tolist() == [70, 80]
    assert [[path.tolist() for path in one] for one in gz3d.drawn(row, "spiral")] == [[], paths]
    assert [[point.tolist() for point in one] for one in gz3d.drawn(row, "center")] == [[], [[1.5, 2.0]]]
    assert gz3d.drawn(row, "bar") == gz3d.drawn(row, "star") == [[], []]


def test_a_null_is_not_a_number():
    (point,) = gz3d.drawn(drawing_columns(tables(stars="[[null, 3]]")), "star")[1]
    assert np.isnan(point[0]) and point[1] == 3


@pytest.mark.parametrize("text", ["[[[1, 2]", "{}", "7", "[[1, 2]]", "[[[1, 2, 3]]]", '[[["a", 2]]]', "[[[1], [2]]]"])
def test_what_is_no_path_is_refused(text):
    with pytest.raises(SourceError, match=r"bar_paths.*: expected"):
        drawing_columns(tables(bars=text))


@pytest.mark.parametrize("text", ["[1, 2]", "[[1, 2, 3]]", "[[1]]", "[[[1, 2]]]"])
def test_what_is_no_point_is_refused(text):
    with pytest.raises(SourceError, match=r"star_points.*: expected points \[x, y\]"):
        drawing_columns(tables(stars=text))


def test_rows_without_drawings_say_what_to_do(built_gz3d):
    import skyshards

    with pytest.raises(ValueError, match="expected a row with bar_paths, .*: build with --polygons"):
        gz3d.drawn(skyshards.open(built_gz3d)[0], "bar")
    with pytest.raises(ValueError, match="expected one of center, star, spiral, bar, found 'arm'"):
        gz3d.drawn({}, "arm")
