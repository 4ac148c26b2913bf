"""Which files in a folder of downloads a build fetched: these alone it deletes, and nothing that a user put there.

Beside each lies an empty file `.NAME.downloaded`, from before its download begins until it is discarded, or kept for
good.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

CLAIM = ".downloaded"


def claim(path: Path) -> None:
    """Note that a file is about to be downloaded, unless it is there already."""
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
    """Let a download be the user's from now on."""
    _note(path).unlink(missing_ok=True)


def claimed(folder: Path) -> Iterator[Path]:
    """What builds downloaded to a folder, whether it is still there or not."""
    for note in list(folder.glob(f".*{CLAIM}")):
        yield folder / note.name.removeprefix(".").removesuffix(CLAIM)


def _note(path: Path) -> Path:
    return path.with_name(f".{path.name}{CLAIM}")
