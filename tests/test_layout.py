"""Names of files and of the engine's own columns have one place."""

import ast

import pytest

from skyshards.format import layout
from tests.test_tree import MODULES, REPOSITORY

NAMES = layout.FILES | {layout.WORKSPACE, layout.SHARDS, layout.SPLIT, layout.SHARD, layout.ROW}
PARTS = (".hdf5", f"{layout.HEALPIX}=", layout.START, layout.SIZE, layout.CRC32)


def spelled_out(path):
    """The names of the layout that a module's code has as text; docstrings may."""
    tree = ast.parse((REPOSITORY / path).read_text())
    words = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in words:
            continue
        if node.value in NAMES or node.value.startswith(PARTS) or node.value.endswith(".hdf5"):
            yield f"line {node.lineno}: {node.value!r}"


CHECKED = [path for path in MODULES if path.parts[0] != "demo_archive" and path.parts[1] != "testing"]
"""The contract tests spell out what they expect, as tests do."""


@pytest.mark.parametrize("path", CHECKED, ids=str)
def test_only_the_layout_spells_out_its_names(path):
    if path.name != "layout.py":
        assert list(spelled_out(path)) == []
