"""The arrows of the tree: who may import whom. A module that breaks one stands in the wrong room."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data_sets import DATA_SETS

REPOSITORY = Path(__file__).parents[1]
MODULES = [
    path.relative_to(REPOSITORY)
    for folder in ("skyshards", "demo_archive", *DATA_SETS)
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
    if "template" not in path.parts  # a dataset's folder
]
OURS = ("skyshards", "demo_archive", *DATA_SETS)
ANYWHERE = {
    "cluster",
    "entry_points",
    "errors",
    "files",
    "machine",
    "place",
    "processes",
    "text",
    "version",
}
"""Modules of skyshards that know nothing of the others."""
ALLOWED = {
    "format": {"format"},
    "fetch": {"fetch"},
    "pipeline": {"pipeline", "format", "fetch", "progress"},
    "pictures": {"pictures", "format"},
    "read": {"read", "format", "fetch", "pictures"},
    "input_tables": {"input_tables"},
    "embed": {"embed", "read", "format", "progress"},
    "export": {"export", "read", "format", "progress"},
    "page": {"page", "read", "pictures", "format", "progress"},
    "matching": {"matching", "input_tables", "read", "format", "progress"},
    "additions": {"additions", "input_tables", "matching", "pipeline", "format"},
    "cli": {
        "cli",
        "additions",
        "embed",
        "export",
        "page",
        "read",
        "format",
        "pipeline",
        "fetch",
        "progress",
        "verify",
        "matching",
    }
    | {"join", "pictures"},
}
"""By package of skyshards, what else of skyshards it imports."""


def imported(path: Path) -> Iterator[str]:
    """The dotted names of our own modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse((REPOSITORY / path).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in OURS)


def breaches(path: Path) -> Iterator[str]:
    package, *rest = path.with_suffix("").parts
    for name in imported(path):
        target, *inner = name.split(".")
        if package == "demo_archive" and target != "demo_archive":
            yield f"{name}: the demo archive imports nothing of ours"
        elif package in DATA_SETS and target in DATA_SETS and target != package:
            yield f"{name}: a dataset imports no other"
        elif package in DATA_SETS and target == "demo_archive":
            yield f"{name}: only --demo, tests, notebooks and benchmarks know the demo archive"
        elif package == "skyshards" and target in DATA_SETS:
            yield f"{name}: nothing in skyshards names a dataset"
        elif package == "skyshards" and target == "demo_archive" and rest[0] != "cli":
            yield f"{name}: only --demo knows the demo archive"
        elif package == target == "skyshards" and rest[0] in ALLOWED and inner[0] not in ALLOWED[rest[0]] | ANYWHERE:
            yield f"{name}: not for {rest[0]}"
        elif package == target == "skyshards" and rest[0] in ANYWHERE and inner[0] not in ANYWHERE:
            yield f"{name}: {rest[0]} knows nothing of the others"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_run_one_way(path):
    assert list(breaches(path)) == []


def test_the_command_is_imported_by_scripts_alone():
    users = {str(path) for path in MODULES for name in imported(path) if name.startswith("skyshards.cli")}
    outside = {user for user in users if not user.startswith("skyshards/cli/")}
    commands = {f"{name}/build_parent_sample.py" for name in DATA_SETS}
    assert outside <= commands | {"candels_blend/cli.py", "candels_blend/options.py", "gz_sdss/options.py"}
