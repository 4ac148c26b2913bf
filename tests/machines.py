"""A few machines, on loopback or with addresses of their own: a scheduler, workers in own folders, a web server."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skyshards.pipeline.recipe import Recipe, Source
from tests.toy import Toy

REPOSITORY = Path(__file__).parents[1]
PATIENCE = 180.0


@dataclass(frozen=True)
class Far(Toy):
    """Sources are files of a web server, each with the number of its row."""

    url: str = ""

    def sources(self, fetcher):
        for number in range(self.count):
            yield Source(f"s{number:05d}.txt", url=f"{self.url}/s{number:05d}.txt", info=number)

    def read(self, source, fetched):
        number = int(fetched.read_text())
        assert number == source.info
        yield from super().read(source, fetched)


@dataclass
class Machine:
    """A machine with an address; `command` runs what follows there."""

    address: str
    command: tuple[str, ...] = ()


class Machines:
    """Processes on machines that share a folder; the first one has scheduler, web server and builds."""

    def __init__(self, folder: Path, machines: list[Machine]):
        self.folder, self.machines = folder, machines
        self.running: list[subprocess.Popen] = []

    @property
    def head(self) -> Machine:
        return self.machines[0]

    def start(self, machine: Machine, *command: str, **options) -> subprocess.Popen:
        """Start Python on a machine, in a folder of its own."""
        place = self.folder / f"place-{uuid.uuid4().hex[:8]}"
        place.mkdir()
        process = subprocess.Popen(
            [*machine.command, sys.executable, *command],
            cwd=place,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"},
            text=True,
            **({"stderr": subprocess.DEVNULL} | options),
        )
        self.running.append(process)
        return process

    def serve(self, count: int) -> str:
        """Serve the files of a `Far` recipe; returns their URL."""
        archive = self.folder / "archive"
        archive.mkdir()
        for number in range(count):
            (archive / f"s{number:05d}.txt").write_text(str(number))
        log = open(self.folder / "requests.log", "w")  # noqa: SIM115
        with log:
            command = "-m", "http.server", "0", "--bind", self.head.address, "-d", str(archive)
            server = self.start(self.head, *command, stdout=subprocess.PIPE, stderr=log)
        assert server.stdout is not None
        found = re.search(r"http://[\d.:]+", server.stdout.readline())
        assert found is not None
        return found[0]

    def requests(self) -> list[tuple[str, str]]:
        """Address and path of each request so far."""
        log = (self.folder / "requests.log").read_text()
        return re.findall(r'^(\S+) - - .*"GET (\S+) ', log, re.MULTILINE)

    def scheduler(self) -> str:
        """Start a scheduler; returns its address."""
        where = self.folder / f"scheduler-{uuid.uuid4().hex[:8]}.json"
        command = "-m", "dask", "scheduler", "--host", self.head.address, "--port", "0", "--no-dashboard"
        self.start(self.head, *command, "--no-show", "--scheduler-file", str(where))
        found = until(lambda: where.exists() and re.search(r'"address": "(tcp://[\d.:]+)"', where.read_text()))
        return found[1]

    def worker(self, scheduler: str, machine: Machine) -> subprocess.Popen:
        """Start a worker with one thread on a machine, without a nanny to restart it."""
        command = "-m", "dask", "worker", scheduler, "--nthreads", "1", "--no-nanny", "--no-dashboard"
        return self.start(machine, *command, "--host", machine.address, "--local-directory", ".")

    def build(self, recipe: Recipe, scheduler: str, out: Path) -> subprocess.Popen:
        """Start a build in a cluster."""
        program = (
            "import pickle\n"
            "from skyshards.cluster import connected; from skyshards import build\n"
            f"recipe = pickle.loads({pickle.dumps(recipe)!r})\n"
            f"with connected({scheduler!r}) as executor:\n"
            f"    build(recipe, {str(out)!r}, executor=executor, connections=4)"
        )
        return self.start(self.head, "-c", program, stderr=subprocess.PIPE)

    def build_despite_a_kill(self, recipe: Recipe, out: Path, victim: str, arrived: Callable[[], bool]) -> None:
        """Build in two workers; kill -9 one of them, the client or the scheduler once `arrived`, and go on."""
        scheduler = self.scheduler()
        server = self.running[-1]
        workers = [self.worker(scheduler, machine) for machine in self.machines[1:]]
        process = self.build(recipe, scheduler, out)
        until(arrived)
        if victim == "worker":
            end(workers[0])
        elif victim == "client":
            end(process)
            process = self.build(recipe, scheduler, out)
        else:
            end(server)
            _, errors = process.communicate(timeout=PATIENCE)
            assert process.returncode == 1 and "the Dask scheduler went away" in errors
            scheduler = self.scheduler()
            self.worker(scheduler, self.machines[1])
            process = self.build(recipe, scheduler, out)
        _, errors = process.communicate(timeout=2 * PATIENCE)
        assert process.returncode == 0, errors

    def stop(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


def until(function) -> Any:
    """Wait until a function gives something true, and return that."""
    deadline = time.monotonic() + PATIENCE
    while not (found := function()):
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.02)
    return found


def end(process: subprocess.Popen) -> None:
    """Kill a process, and wait for its end."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


@contextlib.contextmanager
def namespaces(count: int):
    """Network namespaces with addresses of their own, joined by a bridge in the first; None where that is refused."""
    name = f"sky{os.getpid() % 100000}"
    names = [f"{name}-{number}" for number in range(count)]

    def ip(*words: str) -> bool:
        return shutil.which("ip") is not None and not subprocess.run(["ip", *words], capture_output=True).returncode

    done = all(ip("netns", "add", one) for one in names)
    done = done and ip("-n", names[0], "link", "add", "bridge0", "type", "bridge")
    for number, one in enumerate(names):
        address = f"10.203.7.{number + 1}/24"
        done = done and ip("-n", one, "link", "set", "lo", "up")
        if number == 0:
            done = done and ip("-n", one, "addr", "add", address, "dev", "bridge0")
            done = done and ip("-n", one, "link", "set", "bridge0", "up")
            continue
        peer = f"port{number}"
        done = done and ip("-n", one, "link", "add", "eth0", "type", "veth", "peer", "name", peer, "netns", names[0])
        done = done and ip("-n", one, "addr", "add", address, "dev", "eth0")
        done = done and ip("-n", one, "link", "set", "eth0", "up")
        done = done and ip("-n", names[0], "link", "set", peer, "master", "bridge0")
        done = done and ip("-n", names[0], "link", "set", peer, "up")
    try:
        machines = [Machine(f"10.203.7.{n}", ("ip", "netns", "exec", one)) for n, one in enumerate(names, 1)]
        yield machines if done else None
    finally:
        for one in names:
            ip("netns", "del", one)
