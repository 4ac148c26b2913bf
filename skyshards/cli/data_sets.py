"""Registry of datasets: distributions register them as entry points of the group `skyshards.data_sets`."""

from __future__ import annotations

import ast
import importlib.util
import traceback
from dataclasses import dataclass
from pathlib import Path

import click

from skyshards import entry_points
from skyshards.errors import BuildError

GROUP = "skyshards.data_sets"


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
    def package(self) -> str:
        """Name of the package that the build command is in."""
        module = self.value.partition(":")[0].strip()
        return module.rpartition(".")[0] or module

    @property
    def summary(self) -> str:
        """First line of its package's docstring, read without importing the package."""
        try:
            spec = importlib.util.find_spec(self.package)
            loader = spec.loader if spec is not None else None
            if loader is None or not hasattr(loader, "get_source"):
                raise ImportError(f"{self.package}: its source cannot be found")
            source = loader.get_source(self.package)
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
        try:
            command = entry_points.load(self.value)
            if not isinstance(command, click.Command):
                raise TypeError(f"expected a command made with build_command, found {command!r}")
        except Exception as error:
            raise BuildError(
                f"{self.name}: {self.value} of the distribution {first} cannot be loaded: {in_words(error)}; mend or"
                f" uninstall {first}"
            ) from error
        return command


def in_words(error: Exception) -> str:
    """Say what went wrong on an import: the error, and file and line of the dataset's own code."""
    *_, frame = traceback.extract_tb(error.__traceback__)
    ours = frame.filename.startswith((str(Path(__file__).parents[1]), "<"))
    place = "" if ours else f" ({frame.filename}, line {frame.lineno})"
    return f"{type(error).__name__}: {error}{place}"


def own_data_sets() -> dict[str, DataSet]:
    """Datasets of skyshards itself, by name: from a clone's `pyproject.toml`, or as installed."""
    own = entry_points.own(GROUP)
    return {name: DataSet(name, value, (entry_points.OWN,)) for name, value in own.items()}


def data_sets() -> dict[str, DataSet]:
    """All datasets by name: those of skyshards first, then those of other distributions."""
    own = own_data_sets()
    others: dict[str, DataSet] = {}
    for name, value, distribution in entry_points.others(GROUP):
        if name in own:
            continue
        there = others.get(name)
        if there is None:
            others[name] = DataSet(name, value, (distribution,))
        elif distribution not in there.distributions:
            others[name] = DataSet(name, value, (*there.distributions, distribution))
    return own | dict(sorted(others.items()))
