"""Mean size of the values of each column of a dataset, in memory."""

from __future__ import annotations

import math

import pyarrow.compute as pc

from skyshards.format.catalog_file import CatalogFile
from skyshards.format.columns import ColumnSpec
from skyshards.format.layout import SIZE


class RowBytes:
    """Mean bytes of a column's values; each column of the catalogue is read once, by parts."""

    def __init__(self, catalog: CatalogFile):
        self._catalog = catalog
        self._known: dict[str, float] = {}

    def mean(self, spec: ColumnSpec) -> float:
        """Return the mean bytes of a value; of texts, those in Arrow."""
        if spec.path not in self._known:
            self._known[spec.path] = self._mean(spec)
        return self._known[spec.path]

    def _mean(self, spec: ColumnSpec) -> float:
        if spec.varies:
            total = count = 0
            for part in self._catalog.parts([SIZE + spec.path]):
                sizes = part[SIZE + spec.path]
                total += pc.sum(sizes).as_py() or 0
                count += len(sizes) - sizes.null_count
            return total / max(count, 1) or 1.0
        if spec.nbytes:
            return spec.nbytes
        letters, rows, count = 0, len(self._catalog), math.prod(spec.shape)
        for part in self._catalog.parts([spec.path]):
            texts = pc.list_flatten(part[spec.path]) if spec.shape else part[spec.path]
            letters += pc.sum(pc.binary_length(texts)).as_py() or 0
        bits = -(-rows * count // 8) + (-(-rows // 8) if spec.shape else 0)  # which tell what is null
        return max(16.0 * count, (letters + 4 * rows * count + bits) / max(rows, 1))
