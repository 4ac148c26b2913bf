"""Type inference for text columns from all of their cells, and conversion of the cells."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

MISSING = ("", "nan", "+nan", "-nan", "null", "none", "na", "n/a", "#n/a", "<na>", "--", "\\n")
"""Cells (stripped, in lower case) that mean a missing value."""
_GROUPED = r"^[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?$"
_INTEGER = r"^[+-]?\d+$"
_NUMBER = r"(?i)^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$|^[+-]?inf(inity)?$"
EXACT = 2**53
"""Integers up to this are exact as float64."""


def cleaned(text: pa.Array) -> pa.Array:
    """Strip the cells, and replace missing values by null."""
    trimmed = pc.utf8_trim_whitespace(text)
    missing = pc.is_in(pc.utf8_lower(trimmed), pa.array(MISSING, trimmed.type))
    return pc.if_else(missing, pa.scalar(None, trimmed.type), trimmed)


def _plain(text: pa.Array) -> pa.Array:
    """Clean the cells, and write numbers as Arrow parses them: 1,000 as 1000, and +1 as 1."""
    text = cleaned(text)
    text = pc.if_else(pc.match_substring_regex(text, _GROUPED), pc.replace_substring(text, ",", ""), text)
    return pc.replace_substring_regex(text, r"^\+(\d|\.)", r"\1")


def converted(text: pa.Array, type: pa.DataType) -> pa.Array:
    """Convert the cells of a column to the type found by `Guess`; null where missing."""
    if pa.types.is_string(type):
        return cleaned(text)
    if pa.types.is_boolean(type):
        return pc.equal(pc.utf8_lower(cleaned(text)), "true")
    try:
        return text.cast(type)
    except pa.ArrowInvalid:
        return _plain(text).cast(type)


class Guess:
    """Inference of the narrowest type for all cells of a column, batch by batch.

    Attributes
    ----------
    gaps : bool
        Whether a cell is missing.
    odd : str
        In a text column, the first cell that is not a number, with its row (from 1).
    """

    def __init__(self) -> None:
        self.gaps, self.odd = False, ""
        self._rows = self._low = self._high = 0
        self._words = self._truths = self._decimals = self._integers = False

    def take(self, cells: pa.Array) -> None:
        """Take a batch into account: text, or values that are already numeric or boolean."""
        first, self._rows = self._rows, self._rows + len(cells)
        numbers = None
        if pa.types.is_string(cells.type) and not self._words:
            numbers = _numbers(cells)
            if numbers is None:
                cells = _plain(cells)
                numbers = _numbers(cells)
        elif not pa.types.is_boolean(cells.type):
            numbers = cells
        self.gaps |= cells.null_count > 0
        if self._words or cells.null_count == len(cells):
            return
        if numbers is None:
            self._take_words(cells, first)
        elif pa.types.is_integer(numbers.type):
            extremes = pc.min_max(numbers)
            self._extend(extremes["min"].as_py(), extremes["max"].as_py())
        elif pa.types.is_string(cells.type) and pc.all(pc.match_substring_regex(cells, _INTEGER)).as_py():
            found = [int(cell) for cell in cells.drop_null().to_pylist()]
            self._extend(min(found), max(found))
        else:
            self._decimals = True

    def _take_words(self, cells: pa.Array, first: int) -> None:
        if pa.types.is_boolean(cells.type):
            self._truths = True
            return
        odd = pc.index(pc.fill_null(pc.match_substring_regex(cells, _NUMBER), True), False).as_py()
        self.odd = self.odd or f"{cells[odd].as_py()!r} in row {first + odd + 1:,}"
        truths = pc.is_in(pc.utf8_lower(cells.drop_null()), pa.array(["true", "false"], cells.type))
        self._truths |= pc.all(truths).as_py()
        self._words = not pc.all(truths).as_py()

    def _extend(self, low: int, high: int) -> None:
        self._integers = True
        self._low, self._high = min(self._low, low), max(self._high, high)

    @property
    def exact(self) -> bool:
        """Whether the integers of the column are exact as float64."""
        return self._low >= -EXACT and self._high <= EXACT

    @property
    def type(self) -> pa.DataType | None:
        """string, bool, int64, uint64 or float64; None if all cells are missing. Integers beyond 64 bits, and numbers
        mixed with booleans, give string."""
        numbers = self._integers or self._decimals
        if self._words or (self._truths and numbers):
            return pa.string()
        if self._truths:
            return pa.bool_()
        if not numbers:
            return None
        if self._decimals:
            return pa.float64()
        if self._low >= -(2**63) and self._high < 2**63:
            return pa.int64()
        if self._low >= 0 and self._high < 2**64:
            return pa.uint64()
        self.odd = self.odd or f"integers beyond 64 bits, such as {max(-self._low, self._high)}"
        return pa.string()


def _numbers(text: pa.Array) -> pa.Array | None:
    """Parse text as int64, or else float64; None if a cell is not a number, or has to be cleaned first."""
    try:
        return text.cast(pa.int64())
    except pa.ArrowInvalid:
        pass
    try:
        numbers = text.cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    is_missing = pc.any(pc.is_nan(numbers)).as_py()  # "NaN", perhaps among integers
    return None if is_missing else numbers
