"""Captions of pictures of blends."""

import numpy as np

from candels_blend.candels_blend import SCHEMA, schema_of
from candels_blend.picture import drawing
from skyshards.format.column_info import ColumnInfo, TableSchema

COLUMNS = TableSchema(ColumnInfo.of(name, spec) for name, spec in SCHEMA.specs.items())


def test_captions_are_types_and_distance():
    drawn = drawing(COLUMNS)
    assert drawn.columns == ("image", "masks", "galtype", "distance")
    assert drawn.caption({"galtype": np.array(["irr", ""]), "distance": np.float64(13.6)}) == (
        "irr and unknown, 13.6 pixels apart"
    )
    without = drawing({name: column for name, column in COLUMNS.items() if name != "distance"})
    assert without.columns == ("image", "masks") and without.caption({}) == ""


def test_captions_of_more_galaxies():
    columns = TableSchema(ColumnInfo.of(name, spec) for name, spec in schema_of("gg_masks", 3).specs.items())
    drawn = drawing(columns)
    assert drawn.caption({"galtype": np.array(["irr", "", "sph"]), "distance": np.array([13.6, 20])}) == (
        "irr, unknown and sph, 13.6 and 20.0 pixels apart"
    )
    masks = np.ones((3, 128, 128), np.uint8)
    names = [name for name, _ in drawn.legend({"image": np.ones((128, 128), np.float32), "masks": masks})]
    assert names == ["central galaxy", "shifted galaxy 2", "shifted galaxy 3"]


class Tensor:
    """Values on a device, which NumPy cannot read there."""

    def __init__(self, values):
        self._values = values

    def __array__(self, *_, **__):
        raise TypeError("use Tensor.cpu() to copy the tensor to host memory first")

    def cpu(self):
        return self._values


def test_blends_rendered_on_a_device_are_drawn():
    drawn = drawing(COLUMNS)
    row = {"image": np.eye(128, dtype=np.float32), "masks": np.ones((2, 128, 128), np.uint8)}
    there = {name: Tensor(values) for name, values in row.items()}
    assert np.array_equal(drawn.picture(there, 64), drawn.picture(row, 64))
    assert drawn.legend(there) == drawn.legend(row) != ()
