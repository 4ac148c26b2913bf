"""Values of small columns in plain words, with classes, units and missing values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from skyshards.format.column_info import ColumnInfo

MISSING = "missing"


def in_words(value: Any, column: ColumnInfo) -> str:
    """Return the value of a row's small column in words: "spiral (1)", "17.82 mag", "0.014, missing", "yes".

    float32 values have up to 6 significant digits, float64 up to 9.
    """
    values = np.asarray(value)
    words = ", ".join(_one(item, column) for item in values.reshape(-1))
    unit = f" {column.unit}" if column.unit and words.replace(MISSING, "").strip(", ") else ""
    return (words or "(empty)") + unit


def _one(value: Any, column: ColumnInfo) -> str:
    if column.classes is not None:
        label = int(value)
        return f"{column.classes[label]} ({label})" if 0 <= label < len(column.classes) else f"no class ({label})"
    if isinstance(value, np.bool_):
        return "yes" if value else "no"
    if isinstance(value, np.floating):
        digits = 9 if value.itemsize > 4 else 6
        return MISSING if math.isnan(value) else f"{float(value):.{digits}g}"
    return str(value)
