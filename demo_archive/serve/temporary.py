"""Temporary folder of the archive, deleted when it closes, or, if it was killed, when the next one opens."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock

PREFIX = "skyshards-demo-"
LOCK = "lock"


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create a folder in the system's temporary folder, after removing the folders of killed archives.

    A folder is locked before it gets its final name, so one with a free lock is abandoned.
    """
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"{PREFIX}*"):
        _remove_if_left(left)
    unnamed = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=parent))
    with filelock.FileLock(unnamed / LOCK):
        folder = unnamed.rename(parent / unnamed.name.removeprefix("."))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_if_left(folder: Path) -> None:
    """Remove the folder of an archive of this user that is no longer running."""
    with contextlib.suppress(OSError, filelock.Timeout):
        if folder.is_symlink() or folder.stat().st_uid != os.getuid() or not (folder / LOCK).is_file():
            return
        with filelock.FileLock(folder / LOCK, timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
