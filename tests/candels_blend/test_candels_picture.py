"""Captions of pictures of blends."""

import numpy as np

from candels_blend.candels_blend import SCHEMA
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
