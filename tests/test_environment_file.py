"""`environment.yml` for conda: what it installs agrees with what the distribution needs."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def test_versions_are_those_of_the_distribution():
    *packages, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["notebooks"]]
    bounds = dict(re.fullmatch(r"([\w-]+)(.*)", requirement).groups() for requirement in needed)
    bounds |= {"python": project["requires-python"], "pip": ""}
    found = dict(re.fullmatch(r"([\w-]+) ?(.*)", package).groups() for package in packages)
    assert found == {name: bounds[name] for name in found}
    assert pip == {"pip": ["-e .[notebooks]"]}
