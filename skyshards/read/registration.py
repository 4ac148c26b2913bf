"""Make `load_dataset("skyshards", ...)` work after `import skyshards`, whichever package is imported first.

`datasets` has no entry points for builders, and importing it takes seconds, which `skyshards.open` does not need. So
the builder is registered when `datasets` is imported.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from types import ModuleType

WATCHED = "datasets"


def register_when_needed() -> None:
    """Register the builder now if `datasets` is imported, otherwise on its import."""
    if WATCHED in sys.modules:
        _register(sys.modules[WATCHED])
    else:
        sys.meta_path.insert(0, _Watch())


def _register(module: ModuleType) -> None:
    if hasattr(module, "load_dataset"):  # else it is an unrelated module of that name
        import skyshards.read.hf_names  # noqa: F401


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
