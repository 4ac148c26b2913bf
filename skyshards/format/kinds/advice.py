"""How to declare what no kind of column holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OTHER_VALUES = {
    ("binary", "large_binary"): "Image() for the bytes of a PNG or JPEG file, or a list of uint8 for others",
    (
        "date",
        "time",
        "duration",
    ): 'Value("string") for text such as 2001-01-31T12:00:00, or Value("float64") for an MJD',
    ("large_string", "string_view"): 'Value("string"), which holds text of any length',
    ("decimal",): 'Value("float64")',
}
"""By the beginning of a dtype, what to declare instead."""


def advice(feature: Any) -> str:
    """Say what to declare instead of a feature that no kind of column holds."""
    if isinstance(feature, Mapping):
        return 'a group as a dict of columns: {"flux": Column(…), "ivar": Column(…)}'
    if isinstance(feature, type):
        return f"an instance: {feature.__name__}(…)"
    if isinstance(feature, str):
        return f'Value("{feature}")'
    if None in (getattr(feature, "shape", None) or ()):
        return "a fixed shape, or its rows as lists of any length, in a group of columns"
    if hasattr(feature, "shape"):
        return "Array2D, Array3D or Array4D of numbers or bools, of at most four dimensions"
    if hasattr(feature, "feature"):
        return _instead_of_list(feature.feature, feature.length)
    dtype = str(getattr(feature, "dtype", ""))
    return next((other for names, other in _OTHER_VALUES.items() if dtype.startswith(names)), "one of these features")


def _instead_of_list(item: Any, length: int) -> str:
    if isinstance(item, Mapping):
        return 'a group of lists: {"flux": Column(List(…), …), "ivar": Column(List(…), …)}, or Sequence({…})'
    if hasattr(item, "feature"):
        fixed = length != -1 and item.length != -1
        shape = f"Array2D(({length}, {item.length}), dtype)" if fixed else "Array2D, if its shape is fixed"
        return f"{shape}; or a list of all values, and another of their numbers"
    if hasattr(item, "shape"):
        return f"Array{len(item.shape) + 1}D of a fixed number of them"
    if getattr(item, "dtype", None) == "string":
        return "a list of text with a length, or one text with all of them"
    return advice(item)
