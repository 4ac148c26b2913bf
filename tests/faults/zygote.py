"""A warm process under `shim.c` that forks one build after another: one of three galaxies takes a third of a second.

Reads a line of JSON for each: {"command": […], "output": path, "temporary": folder}. Answers {"pid": …}, and when it
has ended {"status": …} (negative: the signal). Each build has its fork server, which is forked from it.
"""

from __future__ import annotations

import atexit
import gc
import json
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import multiprocessing.util
import os
import resource
import sys
import tempfile
import threading
import traceback
from itertools import pairwise
from unittest import mock

import tests.faults.warm  # noqa: F401
from skyshards.cli import main


def _build(command: list[str], output: str, temporary: str) -> None:
    """In a process of its own: run one command, and end as it does, but without taking down what was imported."""
    os.setsid()
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    with mock.patch.object(multiprocessing.util, "spawnv_passfds", _fork):
        multiprocessing.forkserver.ensure_running()  # the build finds it, and starts another itself if this one dies
    tempfile.tempdir = temporary
    try:
        main.main(command, prog_name="skyshards")
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    gc.collect()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _fork(path: bytes, arguments: list[str], descriptors: list[int]) -> int:
    """Run `python -c CODE` in a fork of this process, which has imported everything, with its own open files alone."""
    pid = os.fork()
    if not pid:
        try:
            last, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            for kept, next_kept in pairwise([2, *sorted(descriptors), last]):
                os.closerange(kept + 1, next_kept)
            exec(arguments[-1])
        finally:
            os._exit(0)
    return pid


def serve() -> None:
    multiprocessing.resource_tracker.ensure_running()  # all builds share it
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if not pid:
            sys.stdin.close()
            _build(**request)
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    serve()
