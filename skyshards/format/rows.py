"""A row as a shard stores it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ENGINE_COLUMNS = ("healpix", "source")
"""Columns that the build fills in: the row's pixel, and the key of the source it came from."""


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A row as the spool keeps it and a shard stores it.

    A pixel may have a hundred thousand rows, so that their values are read when they are called for. `light()` are
    JSON values by column, all but "healpix" until the row is in the spool; `sizes` the bytes that each heavy column
    takes in `payload()`, in its order.
    """

    object_id: str
    source: str
    light: Callable[[], dict[str, Any]]
    sizes: dict[str, int]
    payload: Callable[[], bytes]

    @property
    def order(self) -> tuple[str, str]:
        """What rows of one pixel are sorted by; unique in a dataset."""
        return self.object_id, self.source

    @property
    def nbytes(self) -> int:
        return sum(self.sizes.values())
