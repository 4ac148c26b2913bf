"""A row as a shard stores it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from skyshards.format.kinds.base import Json


@dataclass(frozen=True, slots=True)
class EncodedRow(ABC):
    """A row on its way to a shard: new (`NewRow`), waiting in the spool, or in a shard already.

    A pixel may have a hundred thousand rows, so that their values are read when they are called for. `sizes` are the
    bytes that each large column takes in `payload()`, in its order.
    """

    object_id: str
    source: str
    sizes: dict[str, int]

    @abstractmethod
    def light(self) -> dict[str, Json]:
        """The values of the small columns, all but "healpix" until the row is in the spool."""

    @abstractmethod
    def payload(self) -> bytes:
        """The stored bytes of the large columns."""

    @property
    def order(self) -> tuple[str, str]:
        """What rows of one pixel are sorted by; unique in a dataset."""
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
