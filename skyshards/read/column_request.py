"""The values of a large column that a batch needs: where they are stored, and where they go."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skyshards.errors import ShardCorrupted
from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS
from skyshards.format.kinds.ragged import Ragged


@dataclass(frozen=True)
class ColumnRequest:
    """Values of one large column to read: file (a position in `names`), row in it, byte range and crc32 of each value.

    A crc32 is -1 if unknown. Decoded values go to their places in `out`, which are parts of `batch`; image files have
    no `batch`, only a list. With `images` [values, H, W, C], an image that fits its slot there is decoded in place, and
    None in the list.
    """

    spec: ColumnSpec
    names: Sequence[str]
    files: np.ndarray
    rows: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    crc32s: np.ndarray
    out: Any
    batch: Any
    images: np.ndarray | None = None

    @property
    def is_raw(self) -> bool:
        """Whether values are stored as they lie in the batch."""
        return self.batch is not None and KINDS[self.spec.kind].is_raw(self.spec)

    @functools.cached_property
    def nbytes(self) -> int:
        """The bytes of all stored values."""
        return int(self.sizes.sum(dtype=np.int64))

    def files_of(self, part: slice) -> list[str]:
        """Return the name of each value's file."""
        return [self.names[file] for file in self.files[part].tolist()]

    @property
    def memory(self) -> np.ndarray | None:
        """The batch's memory, uint8, if it holds the values as they are stored, one after the other."""
        if isinstance(self.batch, Ragged):
            values, fits = self.batch.values, self.nbytes == self.batch.values.nbytes
        else:
            values, fits = self.batch, self.batch is self.out and bool((self.sizes == self.spec.nbytes).all())
        return values.reshape(-1).view(np.uint8) if fits else None

    def located(self, error: ShardCorrupted, position: int) -> ShardCorrupted:
        """Add the row of a value to an error."""
        return ShardCorrupted(f"{error} (row {self.rows[position]} of column {self.spec.path!r})")

    def damaged(self, error: ValueError, position: int, store: Any) -> ShardCorrupted:
        """Return the error for a value that cannot be decoded."""
        where = f"{store}/{self.names[self.files[position]]}: row {self.rows[position]} of column {self.spec.path!r}"
        return ShardCorrupted(f"{where} is damaged: {error}; `skyshards verify` lists all damage")
