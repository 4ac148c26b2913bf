"""Differences between a built folder and the requested build, as messages for the user."""

from __future__ import annotations

from typing import Any

from skyshards.format import storage
from skyshards.format.catalog import Manifest

REPLACED = {"representations": "skyshards add FOLDER TABLE"}
"""Options of earlier versions, by name, and the command that does the same to a built folder."""


def difference(found: Manifest, wanted: Manifest, reuse: str = "") -> str | None:
    """Describe how a folder differs from the requested build, and what to do; None if it matches.

    `reuse` is `Recipe.reuse`.
    """
    elsewhere = "elsewhere with `output_dir`"
    if found.name != wanted.name:
        return f"holds the dataset {found.name}; build {wanted.name} {elsewhere}"
    if found.simulated and not wanted.simulated:
        return f"holds simulated galaxies (`simulated`); delete it, or build the real ones {elsewhere}"
    if wanted.simulated and not found.simulated:
        return f"holds real galaxies; build simulated ones (`simulated`) {elsewhere}"
    stored, store = (storage.store_of(manifest) for manifest in (found, wanted))
    if stored != store:
        advice = f"give `store` {stored}, or convert it: skyshards repack FOLDER OUT --store {store}"
        return f"was built with `store` {stored}, now {store}; {advice}"
    before, now = ({"nside": manifest.nside} | manifest.options for manifest in (found, wanted))
    for name, command in REPLACED.items():
        if before.get(name) is not None and name not in now:
            return (
                f"was built with `{name}` {before[name]} by an earlier version; read it as it is, or build again"
                f" {elsewhere}, then: {command}"
            )
    if names := [name for name in before | now if before.get(name) != now.get(name)]:
        changes = ", ".join(_change(name, before.get(name), now.get(name)) for name in names)
        return (
            f"was built {changes}; give the same again, delete the folder, or build {elsewhere}{reuse and f', {reuse}'}"
        )
    if found.form != wanted.form:
        return f"was built by a version with other columns; delete it and build again, or build {elsewhere}"
    return None


def _change(name: str, before: Any, now: Any) -> str:
    """Describe the old and new value of an option: lists joined by commas, missing options as "without"."""
    before, now = (", ".join(map(str, value)) if isinstance(value, list) else value for value in (before, now))
    if not isinstance(before, bool) and not isinstance(now, bool) and None not in (before, now):
        return f"with `{name}` {before or 'none'}, now {now or 'none'}"
    if before is True or now is True:
        return f"with `{name}`, now without it" if before else f"without `{name}`, now with it"
    return f"with `{name}` {before}, now without it" if now is None else f"without `{name}`, now with {now}"
