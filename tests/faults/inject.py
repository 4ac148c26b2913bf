"""The file that tells `shim.c` which file-system step is to fail, and how; and the compiling of it."""

from __future__ import annotations

import ctypes
import enum
import mmap
import shutil
import subprocess
from pathlib import Path

SHIM = Path(__file__).with_name("shim.c")
PROCESSES, STEPS = 256, 8192
MAX_ROOT, MAX_NAME = 512, 128


class Fault(enum.IntEnum):
    """What happens at a step; the numbers are those of `shim.c`."""

    COUNT = 0
    KILL_ALL = 1
    KILL_ONE = 2
    FULL_ONCE = 3
    FULL = 4
    BROKEN_ONCE = 5
    KILL_SERVER = 6


FAULTS = tuple(Fault)[1:]
NEED_NO_ROOM = ("unlink", "rmdir", "truncate")
"""Steps that a full disk does not stop."""


class _Control(ctypes.Structure):
    _fields_ = [
        ("armed", ctypes.c_int),
        ("fault", ctypes.c_int),
        ("before", ctypes.c_int),
        ("seen", ctypes.c_int),
        ("steps", ctypes.c_int),
        ("struck", ctypes.c_int),
        ("processes", ctypes.c_int),
        ("pids", ctypes.c_int * PROCESSES),
        ("root", ctypes.c_char * MAX_ROOT),
        ("target", ctypes.c_char * MAX_NAME),
        ("log", (ctypes.c_char * MAX_NAME) * STEPS),
    ]


def compiler() -> str | None:
    """A C compiler, if there is one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def compile_shim(folder: Path) -> Path:
    """Compile `shim.c` to a library in a folder."""
    library = folder / "shim.so"
    command = [compiler(), "-O1", "-shared", "-fPIC", "-o", str(library), str(SHIM), "-ldl", "-lpthread"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return library


class Steps:
    """The file that all processes of a build share: it counts their steps, and one of these fails."""

    def __init__(self, path: Path):
        if not path.exists():
            path.write_bytes(bytes(ctypes.sizeof(_Control)))
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), ctypes.sizeof(_Control))
        self._control = _Control.from_buffer(self._memory)

    def arm(self, root: Path, fault: Fault = Fault.COUNT, target: str = "", before: int = 0) -> None:
        """From now on the steps below `root` count, and one fails: that of the name `target` with so many before it."""
        control = self._control
        control.fault, control.target, control.before, control.root = fault, target.encode(), before, str(root).encode()
        control.steps = control.seen = control.struck = control.processes = 0
        control.armed = 1

    def disarm(self) -> None:
        self._control.armed = 0

    @property
    def struck(self) -> bool:
        """Whether the step was reached."""
        return bool(self._control.struck)

    @property
    def log(self) -> list[str]:
        """The names of the steps so far, such as "write /data/catalog.parquet"."""
        return [bytes(line.value).decode(errors="replace") for line in self._control.log[: self._control.steps]]

    @property
    def pids(self) -> list[int]:
        """The processes of the build."""
        return list(self._control.pids[: self._control.processes])
