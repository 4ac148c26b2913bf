"""The archive's folder of temporary files: gone when it closes, or when the next one opens after it was killed."""

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
    """A new folder in the system's temporary folder; those of archives that were killed are removed first.

    A folder is locked before it has its name, so one whose lock is free belongs to nobody.
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
    """Remove a folder of ours whose archive lives no more."""
    with contextlib.suppress(OSError, filelock.Timeout):
        if folder.is_symlink() or folder.stat().st_uid != os.getuid() or not (folder / LOCK).is_file():
            return
        with filelock.FileLock(folder / LOCK, timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
