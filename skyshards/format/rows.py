"""Rows as stored in shards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from skyshards.format.kinds.base import Json


@dataclass(frozen=True, slots=True)
class EncodedRow(ABC):
    """A row on its way to a shard: new (`NewRow`), waiting in the spool, or in a shard already.

    Values are read lazily, since a pixel may have a hundred thousand rows. `sizes` are the bytes of each heavy column
    in `payload()`, in its order.
    """

    object_id: str
    source: str
    sizes: dict[str, int]

    @abstractmethod
    def light(self) -> dict[str, Json]:
        """Return the values of the light columns ("healpix" and "fold" only once the row is in the spool)."""

    @abstractmethod
    def payload(self) -> bytes:
        """Return the stored bytes of the heavy columns."""

    @property
    def order(self) -> tuple[str, str]:
        """Sort key of rows in a pixel; unique in a dataset."""
        return self.object_id, self.source

    @property
    def nbytes(self) -> int:
        return sum(self.sizes.values())


@dataclass(frozen=True, slots=True)
class NewRow(EncodedRow):
    """A row that was just encoded."""

    values: dict[str, Json]
    content: bytes

    def light(self) -> dict[str, Json]:
        return dict(self.values)

    def payload(self) -> bytes:
        return self.content
