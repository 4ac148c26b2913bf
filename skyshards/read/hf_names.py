"""The names by which `load_dataset` finds our builders; only imported where `datasets` is.

`datasets` has no hook for builders of others, so its own list of builders gets ours, and its factory for those a case
for them: theirs would list the files of the folder, and take a URL for a path.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

import datasets.data_files
import datasets.load
import datasets.packaged_modules

_registered: dict[str, tuple[str, str]] = {}
"""The modules of the builders, and their hashes, by the names that they go by."""


def register(name: str, module: str) -> None:
    """Make `load_dataset(name, data_dir=folder, ...)` find the builder in a module, which is imported only then.

    The folder may be a URL; nothing in it is listed.
    """
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no module {module!r}, in which the builder of {name!r} is looked for")
    digest = hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()
    _registered[name] = datasets.packaged_modules._PACKAGED_DATASETS_MODULES[name] = module, digest


class _Factory(datasets.load.PackagedDatasetModuleFactory):
    """Finds the builders: those of `datasets` as ever, ours without a look at the files that the folder has."""

    def get_module(self) -> datasets.load.DatasetModule:
        if self.name not in _registered:
            return super().get_module()
        nothing = {"data_files": datasets.data_files.DataFilesDict(), "dataset_name": self.name}
        return datasets.load.DatasetModule(*_registered[self.name], nothing)


datasets.load.PackagedDatasetModuleFactory = _Factory  # type: ignore[misc]
register("skyshards", "skyshards.read.hf_builder")
