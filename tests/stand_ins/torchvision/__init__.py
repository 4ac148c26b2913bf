"""Stand-in for torchvision, which timm imports but whose models in these tests use nothing of: every name exists.

For environments without torchvision, with the folder `stand_ins` on the path.
"""

import importlib.abc
import importlib.machinery
import sys
import types


class _AnyName(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return name


def _class(module, name):
    if name.startswith("__"):
        raise AttributeError(name)
    return _AnyName(name, (), {"__module__": module})


class _Module(types.ModuleType):
    __path__ = ()

    def __getattr__(self, name):
        return _class(self.__name__, name)


class _Submodules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        mine = name.startswith(f"{__name__}.")
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if mine else None

    def create_module(self, spec):
        return _Module(spec.name)

    def exec_module(self, module):
        pass


def __getattr__(name):
    return _class(__name__, name)


sys.meta_path.append(_Submodules())
