"""Common parts of the benchmarks: measures in their own processes, monitored from outside, and Markdown tables."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

SAMPLE_SECONDS = 0.1


@dataclass(frozen=True)
class Measured:
    """Return value of a function in its own process, and the peak memory of the process and its descendants, bytes.

    `pss` counts shared pages once; `rss` counts them in each process.
    """

    value: Any
    pss: int
    rss: int


def in_fresh_process(function: Callable, *args: Any) -> Measured:
    """Run a module's function in a new process, so that measures do not affect each other.

    Raises `RuntimeError` with the reason if the function raises or its process dies.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_call, args=(theirs, function, args))
    with _Sampler() as sampler:
        process.start()
        theirs.close()
        try:
            value, error = ours.recv()
        except EOFError:
            value, error = None, "its process died"
        finally:
            _end(process)
    if error:
        raise RuntimeError(f"{function.__name__}: {error}")
    return Measured(value, sampler.pss, sampler.rss)


def _end(process: Any) -> None:
    """End a process and its workers, which may be busy with an unwanted batch."""
    try:
        workers = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        workers = []
    process.kill()
    process.join()
    for worker in workers:
        with contextlib.suppress(psutil.Error):
            # Python's resource tracker frees the shared memory of the others, and then ends.
            if "resource_tracker" not in " ".join(worker.cmdline()):
                worker.kill()


def _call(pipe: Any, function: Callable, args: tuple) -> None:
    multiprocessing.set_start_method(None, force=True)  # the function starts processes by the default method
    try:
        pipe.send((function(*args), None))
    except Exception as error:
        pipe.send((None, f"{type(error).__name__}: {error}"))
    pipe.recv()  # never arrives: whatever the function left running continues until it is killed


class _Sampler(threading.Thread):
    """Sampler of the memory of all descendants of this process."""

    def __init__(self):
        super().__init__(daemon=True)
        self.pss = self.rss = 0
        self._ended = threading.Event()

    def __enter__(self) -> _Sampler:
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        this = psutil.Process()
        pause = SAMPLE_SECONDS
        while not self._ended.wait(pause):
            start = time.perf_counter()
            pss = rss = 0
            for process in this.children(recursive=True):
                try:
                    memory = process.memory_full_info()
                except psutil.Error:  # it has just ended
                    continue
                pss, rss = pss + memory.pss, rss + memory.rss
            self.pss, self.rss = max(self.pss, pss), max(self.rss, rss)
            # The system walks all pages; for many GB, that takes long enough to disturb the measure.
            pause = max(SAMPLE_SECONDS, 20 * (time.perf_counter() - start))


def best_in_turn(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Shortest time of each function, called in turn so that a busy moment of the machine affects all."""
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def machine() -> str:
    """Describe processor, cores, memory, system and Python in one line."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux on a PC
        pass
    memory = psutil.virtual_memory().total / 2**30
    system = f"{platform.system()} {platform.release().split('-')[0]}, Python {platform.python_version()}"
    load = os.getloadavg()[0]
    return f"{model}, {psutil.cpu_count()} cores, {memory:.0f} GiB; {system}; load average at the start {load:.1f}"


def versions(packages: Iterable[str]) -> str:
    """List installed versions in one line."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)


def print_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)
