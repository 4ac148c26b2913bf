"""What each volunteer drew (HDUs 8 to 10 of a GZ3D file): counted, as columns, and unpacked from a row again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from skyshards.errors import SourceError

COLUMNS = {"center_star": ("center_points", "star_points"), "spiral": ("spiral_paths",), "bar": ("bar_paths",)}
"""Columns with drawings, as JSON, of the table of each task."""

DRAWN = {name.partition("_")[0]: (task, name) for task, names in COLUMNS.items() for name in names}
"""For each class, the task in which volunteers drew it, and the column that has the drawings."""


def drew(task: str, table: Mapping[str, np.ndarray]) -> int:
    """Count the volunteers who drew something in a task, from its table, in which a row is a volunteer."""
    drawings = zip(*(table[name] for name in COLUMNS[task]), strict=True)
    return sum(not all(map(_blank, texts)) for texts in drawings)


def drawing_columns(tables: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """Make the columns of `gz3d.gz3d.POLYGONS` from the tables of the tasks.

    Raises
    ------
    SourceError
        A cell is not JSON, or no list of points or paths.
    """
    found: dict[str, Any] = {
        "classification_id": {task: np.asarray(table["classification_id"], np.int64) for task, table in tables.items()}
    }
    for task, name in DRAWN.values():
        drawn = list(_parsed(tables[task][name], name))
        if name.endswith("points"):
            points, volunteers = _joined(drawn), np.repeat(np.arange(len(drawn)), [len(one) for one in drawn])
            found[name] = {"x": points[:, 0], "y": points[:, 1], "volunteer": volunteers}
            continue
        paths = [_corners(path, name) for one in drawn for path in one]
        points = _joined(paths)
        found[name] = {
            "x": points[:, 0],
            "y": points[:, 1],
            "corners": [len(path) for path in paths],
            "volunteer": np.repeat(np.arange(len(drawn)), [len(one) for one in drawn]),
        }
    return found


def drawn(row: Mapping[str, Any], name: str) -> list[list[np.ndarray]]:
    """Return what each volunteer drew of a class, in the dataset that was built with `--polygons`.

    Parameters
    ----------
    row : mapping
        One row, with the columns that `--polygons` adds.
    name : str
        "center", "star", "spiral" or "bar".

    Returns
    -------
    list of lists of numpy.ndarray
        For each volunteer, an empty list if there is nothing: points `[2]` of centres and stars, closed paths
        `[corners, 2]` of arms and bars; x and y, float64, in pixels from the image's left and upper edges.

    Raises
    ------
    ValueError
        There is no such class, or the row has no drawings.
    """
    if name not in DRAWN:
        raise ValueError(f"expected one of {', '.join(DRAWN)}, found {name!r}")
    task, column = DRAWN[name]
    if column not in row:
        raise ValueError(f"expected a row with {column}, found {', '.join(row)}: build with --polygons")
    columns = {part: np.asarray(values) for part, values in row[column].items()}
    points = np.column_stack([columns["x"], columns["y"]]).astype(float)
    if "corners" in columns:
        ends = np.concatenate([[0], np.cumsum(columns["corners"])]).astype(int)
        shapes = [points[start:end] for start, end in pairwise(ends)]
    else:
        shapes = list(points)
    found: list[list[np.ndarray]] = [[] for _ in row["classification_id"][task]]
    for volunteer, shape in zip(columns["volunteer"], shapes, strict=True):
        found[int(volunteer)].append(shape)
    return found


def _blank(cell: object) -> bool:
    """Whether a cell holds no drawing: an empty list as JSON, or nothing at all."""
    text = str(cell)
    return text.strip("[] ") == "" and text.count("[") < 2


def _parsed(texts: Iterable[str], name: str) -> Iterator[list]:
    for place, text in enumerate(map(str, texts)):
        try:
            found = json.loads(text) if text.strip() else []
        except ValueError as error:
            raise SourceError(f"{name}, row {place}: expected JSON, found {text!r:.60} ({error})") from error
        if not isinstance(found, list):
            raise SourceError(f"{name}, row {place}: expected a list, found {text!r:.60}")
        yield found if name.endswith("paths") else list(_corners(found, name))


def _corners(points: Any, name: str) -> np.ndarray:
    """Return points as float64 `[n, 2]`; a null in the file is NaN."""
    try:
        found = np.asarray(points, float) if len(points) else np.empty((0, 2))
        if found.shape != (len(points), 2):
            raise ValueError("not pairs")
    except (TypeError, ValueError) as error:
        raise SourceError(f"{name}: expected points [x, y], found {points!r:.60}") from error
    return found


def _joined(parts: Sequence[Any]) -> np.ndarray:
    return np.concatenate([np.empty((0, 2)), *(np.reshape(part, (-1, 2)) for part in parts)])
