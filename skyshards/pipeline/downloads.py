"""Download folder of a build: which files are deleted once their rows are on disk, and which are kept."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any

from skyshards.files import remove_if_empty, remove_unfinished
from skyshards.pipeline.claims import claimed, is_claimed, release
from skyshards.pipeline.listing import Listing
from skyshards.pipeline.recipe import Recipe, Source
from skyshards.progress import say

MARK = ".kept"
"""File that marks a download folder as kept on purpose, as opposed to left behind by a killed build."""


def keep(folder: Path) -> None:
    """Keep the downloads in a folder, even if a later build discards its own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def kept(folder: Path) -> frozenset[str]:
    """Names of the downloads to keep in a folder."""
    if not (folder / MARK).exists():
        return frozenset()
    return frozenset(path.name for path in folder.iterdir()) - {MARK}


class Downloads:
    """Download folder of one build.

    Parameters
    ----------
    folder : Path
    recipe : Recipe
    any_pending : bool
        Whether sources are to be downloaded.
    """

    def __init__(self, folder: Path, recipe: Recipe, any_pending: bool):
        self.folder, self._recipe = folder, recipe
        self._kept = kept(folder)
        if recipe.keeps_downloads and any_pending:
            keep(folder)

    def discard(self, source: Source, fetched: Any, failed: bool) -> None:
        """Let the recipe discard a download unless it is to be kept.

        A file that `failed` to be read is never kept; one that no build downloaded is reported to the user instead.
        """
        is_here = isinstance(fetched, Path) and fetched.parent == self.folder
        if failed and is_here and self._stays(fetched.name):
            fetched.unlink(missing_ok=True)
        elif failed and is_here and not is_claimed(fetched):
            say(f"{fetched}: cannot be read, and no build downloaded it; remove it to have it downloaded")
        if failed or not (is_here and self._stays(fetched.name)):
            self._recipe.discard(source, fetched, failed)

    def remove_leftovers(self, listing: Listing, needed: Container[str]) -> None:
        """Discard what a killed build left behind, then the folder if it is empty.

        The files of sources that are `needed` stay.
        """
        if not self.folder.is_dir():
            return
        remove_unfinished(self.folder)  # of workers that died
        for path in list(self.folder.iterdir()):
            source = None if path.name in needed else listing.get(path.name)
            if source is not None:
                self.discard(source, path, failed=False)
        for path in claimed(self.folder):
            if not path.exists() or self._stays(path.name):
                release(path)
        remove_if_empty(self.folder)

    def _stays(self, name: str) -> bool:
        return self._recipe.keeps_downloads or name in self._kept
