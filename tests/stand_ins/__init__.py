"""What stands in for packages that tests cannot have everywhere."""

import contextlib
import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@contextlib.contextmanager
def torchvision():
    """Lets timm be imported where torchvision is missing, as that has no build for CPUs alone among its releases."""
    if importlib.util.find_spec("torchvision"):
        yield
        return
    finders = list(sys.meta_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        yield
    sys.meta_path[:] = finders
    for name in [name for name in sys.modules if name.partition(".")[0] in ("torchvision", "timm")]:
        del sys.modules[name]
