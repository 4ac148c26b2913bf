"""Markers of the files that builds downloaded, so that a build never deletes a file that a user put there.

The marker of NAME is an empty file `.NAME.downloaded` beside it. It is written before the download starts and removed
when the file is discarded or kept for good.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

CLAIM = ".downloaded"


def claim(path: Path) -> None:
    """Mark a file as about to be downloaded, unless it exists already."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _note(path).touch()


def is_claimed(path: Path) -> bool:
    """Whether a file was downloaded by a build."""
    return _note(path).exists()


def delete_claimed(path: Path) -> None:
    """Delete a file if it was downloaded by a build."""
    if is_claimed(path):
        path.unlink(missing_ok=True)
        release(path)


def release(path: Path) -> None:
    """Remove a file's marker, so that builds no longer delete the file."""
    _note(path).unlink(missing_ok=True)


def claimed(folder: Path) -> Iterator[Path]:
    """Paths that builds downloaded to a folder, including files that no longer exist."""
    for note in list(folder.glob(f".*{CLAIM}")):
        yield folder / note.name.removeprefix(".").removesuffix(CLAIM)


def _note(path: Path) -> Path:
    return path.with_name(f".{path.name}{CLAIM}")
