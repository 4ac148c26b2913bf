"""Progress of an unfinished build, and the command that resumes it."""

from __future__ import annotations

import contextlib
import os
import shlex
import sqlite3
import sys
from pathlib import Path

import filelock

from skyshards.format.layout import WORKSPACE
from skyshards.pipeline import spool
from skyshards.text import counted


def command() -> str:
    """Command line and working directory of this process; empty if there is no command to rerun, as in a notebook."""
    if hasattr(sys, "ps1") or not os.path.exists(sys.argv[0]):
        return ""
    path = Path(sys.argv[0])
    program = ["python", sys.argv[0]] if path.suffix == ".py" else [path.name]
    return f"{shlex.join([*program, *sys.argv[1:]])}  (in {Path.cwd()})"


def how_far(folder: Path) -> str | None:
    """Describe a folder's unfinished build in at most two lines; None if there is none."""
    workspace = folder / WORKSPACE
    if not (workspace / spool.JOURNAL).is_file():
        return None
    lock = filelock.FileLock(workspace / "lock")
    try:
        with lock.acquire(timeout=0), contextlib.closing(spool.connect(workspace)) as journal:
            statuses = dict(journal.execute("SELECT status, count(*) FROM sources GROUP BY status"))
            notes = dict(journal.execute("SELECT name, value FROM notes"))
    except filelock.Timeout:
        return f"{folder}: a build is running here; where it was started, it shows how far it is"
    except (OSError, sqlite3.Error) as error:
        return f"{folder}: a build has not ended; its journal cannot be read ({error})"
    failed = statuses.pop("failed", 0)
    done, listed = sum(statuses.values()), notes.get("sources")
    sources = counted(done, "sources") if listed is None else f"{done:,} of {counted(int(listed), 'sources')}"
    words = f"{folder}: a build has not ended: {sources} done"
    words += f", {failed:,} failed" if failed else ""
    return f"{words}\nGo on with: {notes.get('command') or 'the same command'}"
