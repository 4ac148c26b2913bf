"""The parts of a data card that are counted from a folder: rows and classes of each fold, and mean values of images."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from skyshards.format.catalog_file import CatalogFile
from skyshards.format.folds import FOLDS, NO_FOLD, is_fold
from skyshards.format.layout import FOLD
from skyshards.format.manifest import Manifest
from skyshards.format.moments import of_shards

ORDER = (*range(FOLDS), NO_FOLD)


def folds_section(manifest: Manifest, catalog: CatalogFile) -> str:
    """Return the section on folds; "" for a dataset without the column."""
    if not is_fold(manifest.specs.get(FOLD)):
        return ""
    classes = {path: spec.classes for path, spec in manifest.specs.items() if spec.classes and spec.scalar}
    names = {("rows", 0): "rows"}
    names |= {(path, label): f"`{path}` {name}" for path in classes for label, name in enumerate(classes[path])}
    counts = {key: np.zeros(len(ORDER), int) for key in names}
    for part in catalog.parts([FOLD, *classes]):
        folds = part[FOLD].to_numpy()
        counts["rows", 0] += _counts(folds)
        for path in classes:
            labels = np.asarray(part[path].fill_null(-1).to_numpy(), np.int64)
            for label in range(len(classes[path])):
                counts[path, label] += _counts(folds[labels == label])
    lines = [_line("", ("none" if fold == NO_FOLD else fold for fold in ORDER)), "|---" * (len(ORDER) + 1) + "|"]
    lines += [_line(name, (f"{count:,}" for count in counts[key].tolist())) for key, name in names.items()]
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


def _counts(folds: np.ndarray) -> np.ndarray:
    return np.array([np.count_nonzero(folds == fold) for fold in ORDER])


def _line(name: str, cells: Iterable) -> str:
    return f"| {name} | {' | '.join(map(str, cells))} |"
