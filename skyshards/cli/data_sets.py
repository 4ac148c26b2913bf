"""Registry of datasets: distributions register them as entry points of the group `skyshards.data_sets`."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import tomllib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from skyshards.errors import BuildError

GROUP = "skyshards.data_sets"
OWN = "skyshards"
"""The distribution whose datasets come first."""
PROJECT = Path(__file__).parents[2] / "pyproject.toml"
"""Source of the entry points in a clone, installed or not."""


@dataclass(frozen=True)
class DataSet:
    """A dataset that can be built.

    Attributes
    ----------
    name : str
    value : str
        Entry point of its build command: "gz3d.build_parent_sample:main".
    distributions : tuple of str
        Installed distributions that register the name: one, unless it is ambiguous.
    """

    name: str
    value: str
    distributions: tuple[str, ...]

    @property
    def summary(self) -> str:
        """First line of its package's docstring, read without importing the package."""
        module = self.value.partition(":")[0].strip()
        package = module.rpartition(".")[0] or module
        try:
            spec = importlib.util.find_spec(package)
            loader = spec.loader if spec is not None else None
            if loader is None or not hasattr(loader, "get_source"):
                raise ImportError(f"{package}: its source cannot be found")
            source = loader.get_source(package)
            return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
        except Exception:  # a broken dataset must not hide the others
            return f"(cannot be found; registered by {' and '.join(self.distributions)})"

    def command(self) -> click.Command:
        """Load its build command. Raises `BuildError` that names the distribution if that fails."""
        first, *others = self.distributions
        if others:
            raise BuildError(
                f"{self.name}: {len(others) + 1} installed distributions have a dataset of this name:"
                f" {', '.join(self.distributions)}; uninstall all but one"
            )
        module, _, attribute = self.value.partition(":")
        try:
            command = functools.reduce(getattr, attribute.strip().split("."), importlib.import_module(module.strip()))
            if not isinstance(command, click.Command):
                raise TypeError(f"expected a command made with build_command, found {command!r}")
        except Exception as error:
            *_, frame = traceback.extract_tb(error.__traceback__)
            is_its_own = frame.filename != __file__ and not frame.filename.startswith("<")
            place = f" ({frame.filename}, line {frame.lineno})" if is_its_own else ""
            raise BuildError(
                f"{self.name}: {self.value} of the distribution {first} cannot be loaded: {type(error).__name__}:"
                f" {error}{place}; mend or uninstall {first}"
            ) from error
        return command


@functools.cache
def own_data_sets() -> dict[str, DataSet]:
    """Datasets of skyshards itself, by name: from a clone's `pyproject.toml`, or as installed."""
    project = {}
    if PROJECT.is_file():
        try:
            project = tomllib.loads(PROJECT.read_text(encoding="utf-8")).get("project", {})
        except ValueError as error:
            raise BuildError(f"{PROJECT}: cannot be read: {error}") from error
    if project.get("name") == OWN:
        points = project.get("entry-points", {}).get(GROUP, {})
    else:
        from importlib import metadata

        points = {point.name: point.value for point in metadata.distribution(OWN).entry_points.select(group=GROUP)}
    return {name: DataSet(name, value, (OWN,)) for name, value in points.items()}


def data_sets() -> dict[str, DataSet]:
    """All datasets by name: those of skyshards first, then those of other distributions."""
    own = own_data_sets()
    others: dict[str, DataSet] = {}
    for name, value, distribution in _registered():
        if name in own or distribution == OWN:
            continue
        there = others.get(name)
        if there is None:
            others[name] = DataSet(name, value, (distribution,))
        elif distribution not in there.distributions:
            others[name] = DataSet(name, value, (*there.distributions, distribution))
    return own | dict(sorted(others.items()))


def _registered() -> Iterator[tuple[str, str, str]]:
    """Name, value and distribution of each entry point of the group; a distribution may be found twice."""
    from importlib import metadata

    for distribution in metadata.distributions():
        try:
            points = distribution.entry_points.select(group=GROUP)
            yield from ((point.name, point.value, distribution.name) for point in points)
        except Exception:  # broken metadata must not hide other distributions
            continue
