"""`import skyshards` is all that `load_dataset("skyshards", ...)` needs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skyshards
from skyshards.pipeline.build import build
from tests.toy import Toy

pytestmark = pytest.mark.slow

ORDERS = {
    "datasets first": "from datasets import load_dataset\nimport skyshards",
    "skyshards first": "import skyshards\nfrom datasets import load_dataset",
}
LOAD = """
import sys
from pathlib import Path
rows = load_dataset("skyshards", data_dir=sys.argv[1], split="train", streaming=True)
print(len(list(rows)), rows.features["label"].names)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registration") / "toy"
    build(Toy(4), folder, workers=0)
    return folder


def run(program, *arguments, cwd):
    command = [sys.executable, "-c", program, *map(str, arguments)]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


@pytest.mark.parametrize("imports", ORDERS.values(), ids=list(ORDERS))
def test_the_order_of_imports_is_free(imports, folder, tmp_path):
    """Also where a folder has the name by which the builder goes."""
    (tmp_path / "skyshards").mkdir()
    (tmp_path / "skyshards" / "skyshards.py").touch()
    assert run(imports + LOAD, folder, cwd=tmp_path) == "4 ['elliptical', 'spiral']\n"


def test_importing_skyshards_does_not_import_datasets(tmp_path):
    """That takes seconds, which the processes of a data loader would all wait for."""
    assert run("import skyshards, sys; print('datasets' in sys.modules)", cwd=tmp_path) == "False\n"


def test_somebody_elses_module_called_datasets_is_let_be(folder, tmp_path):
    (tmp_path / "datasets.py").write_text("rows = 7\n")
    program = "import skyshards, datasets, sys; print(datasets.rows, len(skyshards.open(sys.argv[1])))"
    assert run(program, folder, cwd=tmp_path) == "7 4\n"


def imports_datasets(path: Path) -> bool:
    nodes = ast.walk(ast.parse(path.read_text()))
    return any(
        name.partition(".")[0] == "datasets"
        for node in nodes
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    )


PACKAGE = Path(skyshards.__file__).parent
USERS = [path.relative_to(PACKAGE.parent) for path in sorted(PACKAGE.rglob("*.py")) if imports_datasets(path)]


@pytest.mark.parametrize("path", [path for path in USERS if "template" not in path.parts], ids=str)
def test_what_imports_datasets_may_be_imported_first(path, tmp_path):
    """What the import of `datasets` sets off must not come back to a module that is half imported."""
    run(f"import {'.'.join(path.with_suffix('').parts)}", cwd=tmp_path)


def test_what_builds_need_is_imported_when_it_is_asked_for(tmp_path):
    names = "Column, Recipe, Schema, Source, build"
    program = (
        f"import skyshards, sys; print('datasets' in sys.modules); from skyshards import {names}; print(build.__name__)"
    )
    assert run(program, cwd=tmp_path) == "False\nbuild\n"
    with pytest.raises(AttributeError, match="no attribute 'bild'"):
        skyshards.bild  # noqa: B018
