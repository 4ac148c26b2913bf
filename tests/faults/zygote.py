"""A warm process under `shim.c` that forks one build after another: a build of three galaxies then takes a second.

Reads a line of JSON for each: {"command": […], "output": path, "temporary": folder}. Answers {"pid": …}, and when it
has ended {"status": …} (negative: the signal). The builds share one fork server, which is not one of their processes:
it outlives a kill of all of them.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import multiprocessing.forkserver as forkserver
import os
import sys
import tempfile


def _build(command: list[str], output: str, temporary: str) -> None:
    """In a process of its own: run one command, and end as it does."""
    forkserver._forkserver.ensure_running = lambda: None  # it runs, but as a sibling's child
    forkserver.ensure_running = lambda: None
    tempfile.tempdir = temporary
    os.setsid()
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from skyshards.cli.main import main

    main.main(command, prog_name="skyshards")


def main() -> None:
    importlib.import_module("tests.faults.warm")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.warm"])
    process = context.Process(target=os.getpid)  # started once, it has all of that imported
    process.start()
    process.join()
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
    main()
