"""Galaxy-morphology datasets that a training loop reads at disk speed.

`skyshards.open(folder)` opens a built dataset for random access, and once this package is imported,
`datasets.load_dataset("skyshards", data_dir=folder)` loads one. Each dataset and its recipe is a package of its own:
`gz3d`, `gz_sdss`, `candels_blend`, `gz_decals`, `sdss_spectra`, `galaxy10`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from skyshards.errors import (
    BuildError,
    FetchError,
    FolderError,
    NewerFormat,
    ShardCorrupted,
    SkyshardsError,
    SourceError,
    UsageError,
)
from skyshards.format.folds import fold_of
from skyshards.format.kinds.ragged import Ragged
from skyshards.join import join, open_join
from skyshards.matching.crossmatch import crossmatch
from skyshards.read.arrow import as_numpy
from skyshards.read.joined import JoinedTable
from skyshards.read.padding import Padded, pad
from skyshards.read.registration import register_when_needed
from skyshards.read.table import Table
from skyshards.read.table import open_table as open
from skyshards.version import __version__

if TYPE_CHECKING:
    from skyshards.additions.run import add, drop
    from skyshards.format.schema import Column, Schema
    from skyshards.pipeline.build import build
    from skyshards.pipeline.recipe import Recipe, Served, Source
    from skyshards.pipeline.repack import repack

__all__ = [
    "BuildError",
    "Column",
    "FetchError",
    "FolderError",
    "JoinedTable",
    "NewerFormat",
    "Padded",
    "Ragged",
    "Recipe",
    "Schema",
    "Served",
    "ShardCorrupted",
    "SkyshardsError",
    "Source",
    "SourceError",
    "Table",
    "UsageError",
    "__version__",
    "add",
    "as_numpy",
    "build",
    "crossmatch",
    "drop",
    "fold_of",
    "join",
    "open",
    "open_join",
    "pad",
    "repack",
]

_FOR_BUILDING = {
    "Column": "skyshards.format.schema",
    "Schema": "skyshards.format.schema",
    "Recipe": "skyshards.pipeline.recipe",
    "Served": "skyshards.pipeline.recipe",
    "Source": "skyshards.pipeline.recipe",
    "add": "skyshards.additions.run",
    "build": "skyshards.pipeline.build",
    "drop": "skyshards.additions.run",
    "repack": "skyshards.pipeline.repack",
}
"""Names that only builds need, imported on first use: `datasets` and `astropy` take seconds to import."""


def __getattr__(name: str) -> Any:
    if name not in _FOR_BUILDING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_FOR_BUILDING[name]), name)


register_when_needed("skyshards", "skyshards.read.hf_builder")
