"""Make `load_dataset("skyshards", ...)` work after `import skyshards`, whichever package is imported first.

`datasets` has no entry points for builders, and importing it takes seconds, which neither `skyshards.open` nor pictures
need. So builders are registered when `datasets` is imported.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

WATCHED = "datasets"

waiting: dict[str, str] = {}
"""Module of the builder by name, of those to register once `datasets` is imported."""


def register_when_needed(name: str, module: str) -> None:
    """Register the builder in a module now if `datasets` is imported, otherwise on its import."""
    waiting[name] = module
    if WATCHED in sys.modules:
        _register(sys.modules[WATCHED])
    elif not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())


def importing(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package whose names are imported from its modules on first use.

    `modules` are by name; a module may have its own name.
    """

    def __getattr__(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f"{package}.{modules[name]}")
        return module if name == modules[name] else getattr(module, name)

    return __getattr__


def _register(module: ModuleType) -> None:
    if hasattr(module, "load_dataset"):  # else it is an unrelated module of that name
        import skyshards.read.hf_names as names

        if hasattr(names, "register_waiting"):  # else it is being imported, and does so at its end
            names.register_waiting()


class _Watch(importlib.abc.MetaPathFinder):
    """An import hook that finds nothing itself, but notices the import of `datasets`."""

    def find_spec(self, name: str, path, target=None):
        if name != WATCHED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def and_register(module: ModuleType) -> None:
                execute(module)
                _register(module)

            spec.loader.exec_module = and_register  # type: ignore[method-assign]
        return spec
