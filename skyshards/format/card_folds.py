"""The parts of a data card that are counted from a folder: rows and classes of each fold, and mean values of images."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from skyshards.format.folds import FOLDS, NO_FOLD, is_fold
from skyshards.format.layout import FOLD
from skyshards.format.manifest import Manifest
from skyshards.format.moments import of_shards

ORDER = (*range(FOLDS), NO_FOLD)


def folds_section(manifest: Manifest, table: pa.Table) -> str:
    """Return the section on folds; "" for a dataset without the column."""
    if not is_fold(manifest.specs.get(FOLD)):
        return ""
    folds = table[FOLD].to_numpy()
    lines = [_line("", ("none" if fold == NO_FOLD else fold for fold in ORDER)), "|---" * (len(ORDER) + 1) + "|"]
    lines.append(_line("rows", _counts(folds)))
    for path, spec in manifest.specs.items():
        if spec.classes and spec.scalar:
            labels = np.asarray(table[path].fill_null(-1).to_numpy(), np.int64)
            lines += [
                _line(f"`{path}` {name}", _counts(folds[labels == label])) for label, name in enumerate(spec.classes)
            ]
    words = (
        "Rows in each part of the sky, for training and testing without leaks: a galaxy is in the same fold in every"
        " dataset, or in none, near a border. In Python, `table.folds([0, 1])` selects them."
    )
    return f"## Folds\n\n{words}\n\n" + "\n".join(lines) + "\n\n"


def statistics_section(manifest: Manifest) -> str:
    """Return the section on the channels of the images; "" for a dataset without images, or without rows."""
    lines = ["| column | channel | mean | standard deviation |", "|---|---|---|---|"]
    for path, (mean, std) in of_shards(manifest.in_shards, manifest.shards).items():
        lines += [
            f"| `{path}` | {number} | {one:.6g} | {other:.6g} |"
            for number, (one, other) in enumerate(zip(mean.tolist(), std.tolist(), strict=True))
        ]
    if len(lines) == 2:
        return ""
    words = "Over all pixels of all rows, for normalization; `table.statistics` has them in Python."
    return f"## Statistics\n\n{words}\n\n" + "\n".join(lines) + "\n\n"


def _counts(folds: np.ndarray) -> Iterable[str]:
    return (f"{np.count_nonzero(folds == fold):,}" for fold in ORDER)


def _line(name: str, cells: Iterable) -> str:
    return f"| {name} | {' | '.join(map(str, cells))} |"
