"""Measure builds in a Dask cluster: processor time of workers, scheduler and main process, and wall time.

    pip install -e '.[bench,dask]' && python benchmarks/many_machines.py [--objects 200] [--tasks 2000]

Scheduler and workers (one thread each) are processes here. Processor time hardly depends on other work, wall time does.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from harness import machine, print_table, versions
from simulated import build_gz3d, make_fits

from skyshards.cluster import DaskExecutor, connected
from skyshards.fetch.client import Fetcher
from skyshards.fetch.turns import fetcher_by_turns, giving_turns

WORKERS = (1, 2, 4)
REQUESTS = 500
GROUPS = "scheduler", "main", "workers"
SHOWN = "scheduler", "main process", "workers"


class Cluster:
    """A scheduler and workers, each a process, with an executor that uses them."""

    def __init__(self, executor: DaskExecutor, scheduler: subprocess.Popen, workers: list[subprocess.Popen]):
        self.executor = executor
        self._groups = {"main": [psutil.Process()], "scheduler": [psutil.Process(scheduler.pid)]}
        self._groups["workers"] = [psutil.Process(worker.pid) for worker in workers]

    def seconds(self) -> dict[str, float]:
        """Processor time so far, user and system, seconds."""
        return {
            name: sum(sum(process.cpu_times()[:2]) for process in processes) for name, processes in self._groups.items()
        }


@contextlib.contextmanager
def cluster(count: int, folder: Path) -> Iterator[Cluster]:
    where = folder / f"scheduler-{count}.json"
    dask = [sys.executable, "-m", "dask"]
    options = {"stderr": subprocess.DEVNULL, "cwd": folder}
    address = "--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(where)
    running = [subprocess.Popen([*dask, "scheduler", "--port", "0", "--no-show", *address], **options)]
    try:
        while not (where.exists() and where.read_text().endswith("}")):
            time.sleep(0.05)
        command = [*dask, "worker", "--nthreads", "1", "--no-nanny", "--local-directory", str(folder), *address]
        running += [subprocess.Popen(command, **options) for _ in range(count)]
        with connected(json.loads(where.read_text())["address"]) as executor:
            executor.client.wait_for_workers(count)
            yield Cluster(executor, running[0], running[1:])
    finally:
        for process in running:
            process.kill()
            process.wait()


def used(found: Cluster, function, *args, **options) -> tuple[dict[str, float], float]:
    """Processor time by group and wall time of a call, seconds."""
    before, start = found.seconds(), time.perf_counter()
    function(*args, **options)
    wall = time.perf_counter() - start
    return {name: after - before[name] for name, after in found.seconds().items()}, wall


def in_this_process(fits: Path, out: Path) -> tuple[float, float]:
    """Processor and wall time of a build in this process alone, seconds."""
    before, start = time.process_time(), time.perf_counter()
    build_gz3d(fits, out, 0)
    return time.process_time() - before, time.perf_counter() - start


def nothing(number: int) -> int:
    return number


def empty_tasks(executor: DaskExecutor, tasks: int) -> None:
    for future in [executor.submit(nothing, number) for number in range(tasks)]:
        future.result()


def ask(name: str, count: int) -> None:
    limit = fetcher_by_turns(name, 1, 60.0).limit
    for _ in range(count):
        limit.wait()


def turns(executor: DaskExecutor, workers: int) -> None:
    with giving_turns(executor.client, Fetcher(), threading.Event()) as name, ThreadPoolExecutor(workers) as threads:
        asked = [threads.submit(executor.submit(ask, name, REQUESTS // workers).result) for _ in range(workers)]
        for each in asked:
            each.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=2_000)
    options = parser.parse_args()
    print(f"{machine()}\n\n{versions(['skyshards', 'distributed', 'dask', 'h5py', 'numpy'])}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_fits(folder / "few", 8, 4)
        make_fits(folder / "fits", options.objects, 16)
        builds, tasks, asks = [], [], []
        in_this_process(folder / "few", folder / "first")  # imports
        cpu, wall = in_this_process(folder / "fits", folder / "alone")
        builds.append(("one process, without Dask", wall, 1e3 * cpu / options.objects, "", "", ""))
        for count in WORKERS:
            with cluster(count, folder) as found:
                build_gz3d(folder / "few", folder / "warm", executor=found.executor.client)
                shutil.rmtree(folder / "warm")
                out = folder / f"dask-{count}"
                cpu, wall = used(found, build_gz3d, folder / "fits", out, executor=found.executor.client)
                each = {name: 1e3 * seconds / options.objects for name, seconds in cpu.items()}
                builds.append((f"{count} Dask workers", wall, sum(each.values()), *map(each.get, GROUPS)))
                for kind, executor in (("values", found.executor), ("files", found.executor.through(folder))):
                    empty_tasks(executor, 100)
                    cpu, wall = used(found, empty_tasks, executor, options.tasks)
                    each = {name: 1e3 * seconds / options.tasks for name, seconds in cpu.items()}
                    tasks.append((f"{count} workers, results as {kind}", options.tasks / wall, *map(each.get, GROUPS)))
                cpu, wall = used(found, turns, found.executor, count)
                each = {name: 1e3 * seconds / REQUESTS for name, seconds in cpu.items()}
                asks.append((f"{count} workers", REQUESTS / wall, *map(each.get, GROUPS)))

    def rounded(rows):
        return [[f"{value:,.2f}" if isinstance(value, float) else value for value in row] for row in rows]

    header = ["build of GZ3D from FITS files on disk", "wall, s", "processor, ms an object", *SHOWN]
    print_table(header, rounded(builds))
    print_table(["empty tasks", "tasks/s", *(f"{name}, ms a task" for name in SHOWN)], rounded(tasks))
    print_table(["turns of one rate limit", "requests/s", *(f"{name}, ms a request" for name in SHOWN)], rounded(asks))


if __name__ == "__main__":
    main()
