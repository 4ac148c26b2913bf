"""Virtual environments of the package index, one for each set of packages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.environments.python import run


@pytest.fixture(scope="session")
def make_environment(tmp_path_factory):
    """Make a virtual environment of some Python (this one, unless given), unless there is one of this name already.

    Gives its python.
    """
    kept = os.environ.get("SKYSHARDS_ENVIRONMENTS")
    folder = Path(kept).resolve() if kept else tmp_path_factory.mktemp("environments")

    def make(name, *packages, version=sys.executable):
        place = folder / name
        python = place / "bin" / "python"
        if not python.exists():
            subprocess.run([version, "-m", "venv", place], check=True)
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages)
        return python

    return make
