"""Entry points of skyshards itself, from a clone's `pyproject.toml` or as installed, and of other distributions."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skyshards.errors import BuildError

OWN = "skyshards"
"""The distribution whose entry points come first."""
PROJECT = Path(__file__).parents[1] / "pyproject.toml"
"""Source of the entry points in a clone, installed or not."""


@functools.cache
def own(group: str) -> dict[str, str]:
    """Return the entry points of skyshards itself in a group: values by name."""
    project = {}
    if PROJECT.is_file():
        import tomllib

        try:
            project = tomllib.loads(PROJECT.read_text(encoding="utf-8")).get("project", {})
        except ValueError as error:
            raise BuildError(f"{PROJECT}: cannot be read: {error}") from error
    if project.get("name") == OWN:
        return project.get("entry-points", {}).get(group, {})
    from importlib import metadata

    return {point.name: point.value for point in metadata.distribution(OWN).entry_points.select(group=group)}


def others(group: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and distribution of the entry points of other distributions, each perhaps more than once."""
    from importlib import metadata

    for distribution in metadata.distributions():
        try:
            points = distribution.entry_points.select(group=group)
            found = [(point.name, point.value, distribution.name) for point in points]
        except Exception:  # broken metadata must not hide other distributions
            continue
        yield from (point for point in found if point[2] != OWN)


def load(value: str) -> Any:
    """Import what an entry point names: "gz3d.build_parent_sample:main"."""
    module, _, attribute = value.partition(":")
    return functools.reduce(getattr, attribute.strip().split("."), importlib.import_module(module.strip()))
