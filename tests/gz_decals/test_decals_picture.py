"""Captions of GZ DECaLS pictures."""

import numpy as np

from gz_decals.gz_decals import SCHEMA
from gz_decals.picture import drawing
from skyshards.format.column_info import ColumnInfo, TableSchema

COLUMNS = TableSchema(ColumnInfo.of(name, spec) for name, spec in SCHEMA.specs.items())
FEATURED = "smooth-or-featured_featured-or-disk_fraction"


def test_captions_are_rings_and_votes():
    drawn = drawing(COLUMNS)
    assert drawn.columns == ("image", "ring", FEATURED)
    assert drawn.caption({"ring": np.int64(1), FEATURED: np.float64(0.943)}) == "ring, featured 94%"
    assert drawn.caption({"ring": np.int64(0), FEATURED: np.float64("nan")}) == ""
    without = drawing({name: column for name, column in COLUMNS.items() if name not in ("ring", FEATURED)})
    assert without.columns == ("image",) and without.caption({}) == ""
