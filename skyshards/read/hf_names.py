"""Register names with `load_dataset`; imported only where `datasets` is.

`datasets` has no hook for third-party builders, so they are added to its list of packaged ones. Its factory for those
would list the folder's files and treat a URL as a path, so a subclass replaces it.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

import datasets.data_files
import datasets.load
import datasets.packaged_modules

from skyshards.read import registration

_registered: dict[str, tuple[str, str]] = {}
"""Module and hash of each builder, by registered name."""


def register(name: str, module: str) -> None:
    """Make `load_dataset(name, data_dir=folder, ...)` find the builder in a module, which is imported lazily.

    The folder may be a URL; its files are not listed.
    """
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no module {module!r}, in which the builder of {name!r} is looked for")
    digest = hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()
    _registered[name] = datasets.packaged_modules._PACKAGED_DATASETS_MODULES[name] = module, digest


def register_waiting() -> None:
    """Register all builders that packages named before `datasets` was imported."""
    while registration.waiting:
        register(*registration.waiting.popitem())


class _Factory(datasets.load.PackagedDatasetModuleFactory):
    """Finds registered builders without listing the folder's files, and all others as usual."""

    def get_module(self) -> datasets.load.DatasetModule:
        if self.name not in _registered:
            return super().get_module()
        nothing = {"data_files": datasets.data_files.DataFilesDict(), "dataset_name": self.name}
        return datasets.load.DatasetModule(*_registered[self.name], nothing)


datasets.load.PackagedDatasetModuleFactory = _Factory
register_waiting()
