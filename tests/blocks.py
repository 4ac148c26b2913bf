"""Python of Markdown documents, run from the first block to the last in one namespace."""

import importlib.util
import re

OPTIONAL = {"torch", "torchdata", "grain", "lightning", "timm"}
PLOTS = {"matplotlib", "gz3d.plot"}


def _needed(block):
    imported = set(re.findall(r"^(?:from|import) ([\w.]+)", block, re.MULTILINE))
    needed = {name.partition(".")[0] for name in imported} & OPTIONAL
    return needed | ({"matplotlib"} if imported & PLOTS or ".plot(" in block else set())


def run(text, name):
    """The namespace after all blocks but those of extras that are not installed.

    Each `.shape  # (…)` is checked, and the first of the batches or rows of what is not looped over is read.
    """
    names = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        if not all(importlib.util.find_spec(needed) for needed in _needed(block)):
            continue
        exec(compile(block, name, "exec"), names)
        for expression, shape in re.findall(r"^(.*\.shape)  # (\(.*\))$", block, re.MULTILINE):
            assert str(eval(expression, names)) == shape
        for iterable in re.findall(r"^(loader|batches|mixed) = ", block, re.MULTILINE):
            next(iter(names[iterable]))
    return names
