"""Every notebook runs from top to bottom, and is kept with what it printed and showed."""

import ast
import asyncio
import importlib.util
import json
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path
from unittest import mock

import pytest

from tests import stand_ins

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
OURS = {path.stem for path in ROOT.iterdir()}
CELL_SECONDS, NOTEBOOK_SECONDS = 900, 1800  # a busy machine is no fault

notebooks = pytest.mark.parametrize("name", NOTEBOOKS)


# Folders of a machine (but not of a URL), and addresses of local servers.
OF_THIS_MACHINE = re.compile(
    r"(?<![\w.])(?:/(?:home|root|tmp|Users|var|opt|mnt|srv|usr|private)/|[A-Z]:\\|127\.0\.0\.1:\d)\S*"
)


def outputs(cells):
    return [output for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]]


def pictures(cells):
    kinds = [kind for output in outputs(cells) for kind in output.get("data", {})]
    return sum(kind.startswith("image/") for kind in kinds)


def kept(name):
    return json.loads((ROOT / "notebooks" / name).read_text(encoding="utf-8"))["cells"]


def code_of(name):
    """All its code, without the magic lines of IPython."""
    code = "\n".join("".join(cell["source"]) for cell in kept(name) if cell["cell_type"] == "code")
    return re.sub(r"^(\s*)[%!].*", r"\1pass", code, flags=re.MULTILINE)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A copy of the notebooks' folder, with nothing of this user's about it and no way to the Hub."""
    for module in ("nbclient", "ipykernel", "matplotlib"):
        pytest.importorskip(module, reason="the extra `notebooks` is not installed")
    paths = [ROOT] if importlib.util.find_spec("torchvision") else [ROOT, stand_ins.HERE]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, paths)))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")  # the kernel of this Python, not one of the user's
    monkeypatch.delenv("MPLBACKEND", raising=False)
    return Path(shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*")))


@pytest.mark.slow
@notebooks
def test_notebook_runs(name, workplace):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(workplace / name, as_version=4)
    nbformat.validate(notebook)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=CELL_SECONDS,
        resources={"metadata": {"path": str(workplace)}},
    )
    asyncio.run(asyncio.wait_for(client.async_execute(), NOTEBOOK_SECONDS))  # raises the first error of a cell
    assert pictures(notebook.cells) == pictures(kept(name))
    if name == "finding_rings.ipynb":
        assert_a_network_is_trained_where_it_can_be(notebook.cells)


def assert_a_network_is_trained_where_it_can_be(cells):
    printed = "".join(output["text"] for output in outputs(cells) if output["output_type"] == "stream")
    (table,) = [
        output["data"]["text/plain"]
        for output in outputs(cells)
        if "average precision" in output.get("data", {}).get("text/plain", "")
    ]
    if all(map(importlib.util.find_spec, ("torch", "timm"))):
        area = re.search(r"^network from random weights +(\d\.\d\d)", table, re.MULTILINE)
        assert float(area[1]) > 0.6, "it should do better than chance"
        assert printed.count("trained on") == 5
    else:
        assert "No network is trained" in printed and "skyshards[embed]" in printed
        assert "network" not in table and "trained on" not in printed


def test_the_first_cell_installs_skyshards_in_colab_alone(monkeypatch):
    transform = pytest.importorskip("IPython.core.inputtransformer2").TransformerManager().transform_cell
    (cell,) = {
        "".join(next(cell["source"] for cell in kept(name) if cell["cell_type"] == "code")) for name in NOTEBOOKS
    }
    shell = mock.Mock()
    exec(transform(cell), {"get_ipython": lambda: shell})
    shell.run_line_magic.assert_not_called()
    monkeypatch.setitem(sys.modules, "google.colab", mock.Mock())
    exec(transform(cell), {"get_ipython": lambda: shell})
    shell.run_line_magic.assert_called_once_with("pip", 'install -q "skyshards[notebooks]"')


@notebooks
def test_notebook_needs_only_what_its_extra_installs(name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    modules = {"sklearn": "scikit-learn", "yaml": "pyyaml", "PIL": "pillow"}
    for indent, requirements in (("", []), (r"\s+", extras["embed"])):  # what is indented may be for others alone
        required = [*project["dependencies"], *extras["notebooks"], *requirements]
        installed = {re.match(r"[\w-]+", requirement)[0].lower() for requirement in required}
        imported = set(re.findall(rf"^{indent}(?:import|from) (\w+)", code_of(name), re.MULTILINE))
        others = imported - sys.stdlib_module_names - OURS
        assert {modules.get(module, module) for module in others} <= installed


@notebooks
def test_what_a_notebook_imports_from_here_is_there(name):
    pytest.importorskip("matplotlib", reason="the extra `notebooks` is not installed")
    for node in ast.walk(ast.parse(code_of(name))):
        if isinstance(node, ast.Import):
            for module in {alias.name for alias in node.names if alias.name.split(".")[0] in OURS}:
                importlib.import_module(module)
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in OURS:
            exec(ast.unparse(node), {})


@notebooks
def test_notebook_is_kept_with_its_outputs(name):
    cells = [cell for cell in kept(name) if cell["cell_type"] == "code"]
    counts = [cell["execution_count"] for cell in cells]
    assert counts == list(range(1, len(cells) + 1)), "run all cells from the top, then save the notebook"
    assert outputs(cells) and not any(output["output_type"] == "error" for output in outputs(cells))


@notebooks
def test_notebook_tells_nothing_of_the_machine_it_ran_on(name):
    cells = kept(name)
    for output in outputs(cells):
        for kind in [kind for kind in output.get("data", {}) if kind.startswith("image/")]:
            del output["data"][kind]
    found = OF_THIS_MACHINE.search(json.dumps(cells, ensure_ascii=False))
    assert found is None, f"{name} has {found.group()}"
