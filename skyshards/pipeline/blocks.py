"""Blocks of the rows of one source: which come next, and how many rows each has."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from skyshards.pipeline.recipe import Recipe

BLOCK_BYTES = 16 << 20
"""Size of a block, in bytes of its rows."""
MAX_ROWS, FIRST_ROWS = 1024, 16
"""Maximum number of rows of a block, and of blocks whose rows are of unknown size."""


class BlockSize:
    """Number of rows of a block: the recipe's own, or as many as fit into `BLOCK_BYTES` by the rows read so far."""

    def __init__(self, recipe: Recipe):
        self.own = recipe.rows_per_block
        specs = recipe.schema.specs.values()
        self._fixed = sum(spec.nbytes for spec in specs)
        self._is_known = not any(spec.varies for spec in specs)
        self._rows = self._stored = 0

    def learn(self, rows: int, nbytes: int) -> None:
        """Take note of the stored bytes of some rows."""
        self._rows += rows
        self._stored += nbytes

    @property
    def rows(self) -> int:
        """Number of rows of the next block."""
        if self.own is not None:
            return self.own
        if not self._rows and not self._is_known:
            return FIRST_ROWS
        each = max(self._fixed, self._stored / self._rows if self._rows else 0, 1)
        return max(1, min(MAX_ROWS, int(BLOCK_BYTES / each)))


class Blocks:
    """Rows of a source that are still to be read.

    Parameters
    ----------
    total : int
        Number of rows of the source.
    done : iterable of range
        Blocks that were read, disjoint and in order. What lies between them comes first, whatever the limit, so that
        what is done in the end has no gaps.
    """

    def __init__(self, total: int, done: Iterable[range]):
        self.total = total
        self.read = 0
        """Rows that were handed out, from the first on."""
        self._gaps: deque[range] = deque()
        for block in done:
            if block.start > self.read:
                self._gaps.append(range(self.read, block.start))
            self.read = block.stop

    @property
    def has_gaps(self) -> bool:
        return bool(self._gaps)

    def take(self, size: BlockSize, grant: Callable[[int, bool], int]) -> range | None:
        """Take the next block; None if there is none, or none is granted.

        Parameters
        ----------
        size : BlockSize
        grant : function
            Called with a number of rows, and whether they are needed in any case; returns how many may be read.
        """
        if self._gaps:
            gap = self._gaps.popleft()
            block = range(gap.start, _end(gap, size))
            if block.stop < gap.stop:
                self._gaps.appendleft(range(block.stop, gap.stop))
            grant(len(block), True)
            return block
        left = range(self.read, self.total)
        if not left or not (granted := grant(_end(left, size) - self.read, False)):
            return None
        self.read += granted
        return range(self.read - granted, self.read)


def _end(rows: range, size: BlockSize) -> int:
    """End of the block that starts these rows; blocks of the recipe's own size start at its multiples."""
    start, count = rows.start, size.rows
    return min(rows.stop, start + count if size.own is None else (start // count + 1) * count)
