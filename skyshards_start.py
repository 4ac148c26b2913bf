"""Where the commands start: Ctrl-C and SIGTERM are answered before anything is imported that takes long."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence

INTERRUPTED = "Interrupted. The same command goes on from here."


def main() -> None:
    """The command `skyshards`."""
    run("skyshards.cli.main:main", sys.argv[1:])


def run(command: str, arguments: Sequence[str]) -> None:
    """Run a command, named as "module:attribute"; until it minds signals itself, they end the process with a line."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as it is under nohup
            signal.signal(number, _leave)
    module, _, attribute = command.partition(":")
    getattr(importlib.import_module(module), attribute)(list(arguments))


def _leave(number: int, _) -> None:
    if sys.__stderr__ is not None:
        os.write(sys.__stderr__.fileno(), f"{INTERRUPTED}\n".encode())
    os._exit(128 + number)
