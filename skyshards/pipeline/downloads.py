"""The folder that a build downloads to: what goes once its rows are on disk, and what stays for good."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from skyshards.files import remove_if_empty
from skyshards.pipeline.claims import claimed, is_claimed, release
from skyshards.pipeline.recipe import Recipe, Source
from skyshards.progress import say

MARK = ".kept"
"""File in a folder of downloads: what lies there was to be kept, and is not the rest of a build that was killed."""


def keep(folder: Path) -> None:
    """Have the downloads in a folder stay, also when a later build is not to keep its own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def kept(folder: Path) -> frozenset[str]:
    """Names of the downloads that are to stay in a folder."""
    if not (folder / MARK).exists():
        return frozenset()
    return frozenset(path.name for path in folder.iterdir()) - {MARK}


class Downloads:
    """The folder of downloads of one build.

    Parameters
    ----------
    folder : Path
    recipe : Recipe
    pending : iterable of Source
        What is to be read.
    """

    def __init__(self, folder: Path, recipe: Recipe, pending: Iterable[Source]):
        self.folder, self._recipe = folder, recipe
        self._kept = kept(folder)
        if recipe.keeps_downloads and any(source.path is None and source.url is not None for source in pending):
            keep(folder)

    def discard(self, source: Source, fetched: Any, failed: bool) -> None:
        """Have the recipe discard what was fetched, unless it is to stay; what `failed` never is, or is named."""
        is_here = isinstance(fetched, Path) and fetched.parent == self.folder
        if failed and is_here and self._stays(fetched.name):
            fetched.unlink(missing_ok=True)
        elif failed and is_here and not is_claimed(fetched):
            say(f"{fetched}: cannot be read, and no build downloaded it; remove it, and the next one does")
        if failed or not (is_here and self._stays(fetched.name)):
            self._recipe.discard(source, fetched, failed)

    def remove_leftovers(self, listed: Iterable[Source]) -> None:
        """Discard what a build killed at the wrong moment left behind, then the folder if nothing is to stay."""
        if not self.folder.is_dir():
            return
        by_key = {source.key: source for source in listed}
        for path in list(self.folder.iterdir()):
            if path.name in by_key:
                self.discard(by_key[path.name], path, failed=False)
        for path in claimed(self.folder):
            if not path.exists() or self._stays(path.name):
                release(path)
        remove_if_empty(self.folder)

    def _stays(self, name: str) -> bool:
        return self._recipe.keeps_downloads or name in self._kept
