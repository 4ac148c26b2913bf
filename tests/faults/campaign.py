"""Builds that are killed, or whose disk fails, at a chosen step; and what must be true of them afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from demo_archive import DemoArchive
from tests.faults.inject import FAULTS, NEED_NO_ROOM, Fault, Steps, compile_shim

LONGEST = 120.0
"""Seconds after which a build counts as hung; a build takes one or two."""
GONE = 20.0
"""Seconds that a killed build's workers have to notice."""
TRIES = 5
"""Builds, at most, until one takes the step that is to fail: a download comes in more writes or in fewer."""
BY_RUN = ("tries.csv",)
"""Files that tell of the runs, not of the dataset: they need not be the same."""


@dataclass(frozen=True)
class Dataset:
    """How the campaign builds a dataset: `options` of the whole, and how it gets from a smaller state to that."""

    name: str
    options: Callable[[DemoArchive, Path], list[str]]
    whole: tuple[str, ...] = ("--limit", "3")
    part: tuple[str, ...] = ("--limit", "1")
    """Options of the smaller build that rows are added to."""


def _gz3d(archive: DemoArchive, root: Path) -> list[str]:
    return ["--archive_url", archive.sas_url]


def _gz_sdss(archive: DemoArchive, root: Path) -> list[str]:
    return ["--tap_url", archive.tap_url, "--hips2fits_url", archive.hips2fits_url, "--rate", "0"]


def _candels_blend(archive: DemoArchive, root: Path) -> list[str]:
    return ["--zenodo_url", archive.zenodo_url, "-d", str(root / "stamps"), "--n_blends", "4", "--delete"]


def _gz_decals(archive: DemoArchive, root: Path) -> list[str]:
    return ["--archive_url", archive.decals_url]


def _sdss_spectra(archive: DemoArchive, root: Path) -> list[str]:
    return ["--catalog_file", str(archive.spectra), "--archive_url", archive.dr17_url]


def _galaxy10(archive: DemoArchive, root: Path) -> list[str]:
    return ["--url", archive.galaxy10_url]


DATASETS = (
    Dataset("gz3d", _gz3d),
    Dataset("gz_sdss", _gz_sdss),
    Dataset("candels_blend", _candels_blend, (), ()),
    Dataset("gz_decals", _gz_decals),
    Dataset("galaxy10", _galaxy10, (), ("--limit", "3")),
    Dataset("sdss_spectra", _sdss_spectra),
)


@dataclass(frozen=True)
class Case:
    """One fault at one step of a build, from nothing or adding rows."""

    dataset: Dataset
    adding: bool
    fault: Fault
    step: str
    before: int
    """How many steps of the same name come before."""

    def __str__(self) -> str:
        start = "adding" if self.adding else "new"
        return f"{self.dataset.name} {start} {self.fault.name} at {self.step} ({self.before + 1})"


class Campaign:
    """A warm process that builds, a demo archive that it builds from, and a folder for one case after the other."""

    def __init__(self, folder: Path):
        self.root = folder / "case"
        self._folder = folder
        self._archive = DemoArchive(galaxies=8, stamps=12)

    def __enter__(self) -> Campaign:
        (self._folder / "states").mkdir()
        (self._folder / "sockets").mkdir()
        self._empty()
        control = self._folder / "steps"
        self.steps = Steps(control)
        self._archive.__enter__()
        environment = os.environ | {
            "LD_PRELOAD": str(compile_shim(self._folder)),
            "SKYSHARDS_STEPS": str(control),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "TMPDIR": str(self._folder / "sockets"),  # which multiprocessing leaves when it is killed
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        self._zygote = subprocess.Popen(
            [sys.executable, "-W", "ignore::UserWarning", "-m", "tests.faults.zygote"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()
        self._answer()
        self._references: dict[str, dict[str, str]] = {}
        self._done_twice: set[str] = set()
        self._counts: dict[tuple[str, bool], list[str]] = {}
        return self

    def __exit__(self, *_) -> None:
        self._zygote.stdin.close()
        try:
            self._zygote.wait(20)
        except subprocess.TimeoutExpired:
            self._zygote.kill()
            self._zygote.wait()
        self._listener.join()
        self._zygote.stdout.close()
        self._archive.__exit__()

    def cases(self, dataset: Dataset, adding: bool, faults: tuple[Fault, ...] = FAULTS) -> Iterator[Case]:
        """Every fault at every step where it can happen. Of consecutive writes to one file, the first, the middle and
        the last; the fork server, which takes no steps, is killed at the first.
        """
        seen: Counter[str] = Counter()
        for step, run in itertools.groupby(self.count(dataset, adding)):
            size = len(list(run))
            for number in sorted({0, size // 2, size - 1}) if step.startswith("write") else range(size):
                for fault in faults:
                    if fault in (Fault.FULL_ONCE, Fault.FULL) and step.startswith(NEED_NO_ROOM):
                        continue
                    if fault is Fault.KILL_SERVER and number:
                        continue
                    yield Case(dataset, adding, fault, step, seen[step] + number)
            seen[step] += size

    def count(self, dataset: Dataset, adding: bool) -> list[str]:
        """The steps of a build in which nothing happens."""
        if (dataset.name, adding) not in self._counts:
            self._start(dataset, adding)
            status, output = self._run(dataset, dataset.whole)
            assert status == 0, output
            self._counts[dataset.name, adding] = self.steps.log
            if not adding:
                self._references[dataset.name] = snapshot(self.root)
        return self._counts[dataset.name, adding]

    def problems(self, case: Case) -> list[str]:
        """What is wrong after the fault, and after the same command was given again; empty if nothing is.

        Raises `LookupError` if the builds do not take the step.
        """
        dataset = case.dataset
        self.count(dataset, adding=False)
        reference = self._references[dataset.name]
        for _ in range(TRIES):
            self._start(dataset, case.adding)
            status, output = self._run(dataset, dataset.whole, case)
            if self.steps.struck:
                break
        else:
            raise LookupError(f"{case}: in {TRIES} builds there was no such step")
        found = []
        if status not in (0, 1, -signal.SIGKILL):
            found.append(f"after the fault: exit status {status}\n{output}")
        found += self._complaints("after the fault", output)
        if status == 0 and (differences := _differences(reference, snapshot(self.root))):
            found.append(f"after the fault: exit status 0, but {differences}")
        elif status == 0 and dataset.name in self._done_twice:
            return found  # a whole folder, to which the same command was given before
        if status == 0:
            self._done_twice.add(dataset.name)
        status, output = self._run(dataset, dataset.whole)
        if status != 0:
            found.append(f"given again: exit status {status}\n{output}")
        found += self._complaints("given again", output)
        if differences := _differences(reference, snapshot(self.root)):
            found.append(f"given again: {differences}")
        return found

    def _complaints(self, when: str, output: str) -> Iterator[str]:
        if "Traceback" in output or "Exception ignored" in output:
            yield f"{when}: a traceback\n{output}"
        if alive := self._alive():
            yield f"{when}: processes {alive} are alive"
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _alive(self) -> list[int]:
        """Processes of the last build that are still there some time after its end."""
        end = time.monotonic() + GONE
        while (alive := [pid for pid in self.steps.pids if _lives(pid)]) and time.monotonic() < end:
            time.sleep(0.005)
        return alive

    def _start(self, dataset: Dataset, adding: bool) -> None:
        """Make the state that a case starts from."""
        self._empty()
        if not adding:
            return
        state = self._folder / "states" / dataset.name
        if not state.exists():
            status, output = self._run(dataset, dataset.part)
            assert status == 0, output
            if not dataset.part:  # it has one size: then a shard is lost, whose rows are added again
                next((self.root / "out").rglob("*.hdf5")).unlink()
            shutil.copytree(self.root, state)
        self._empty(state)

    def _empty(self, state: Path | None = None) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        if state is None:
            self.root.mkdir()
            (self.root / "tmp").mkdir()
        else:
            shutil.copytree(state, self.root)

    def _run(self, dataset: Dataset, options: tuple[str, ...], case: Case | None = None) -> tuple[int, str]:
        """Build; gives the exit status (negative: the signal) and what was printed."""
        self._alive()
        command = ["build", dataset.name, "-o", str(self.root / "out"), "--workers", "2", "--connections", "2"]
        command += [*dataset.options(self._archive, self.root), *options]
        output = self._folder / "output"
        if case:
            self.steps.arm(self.root, case.fault, case.step, case.before)
        else:
            self.steps.arm(self.root)
        request = {"command": command, "output": str(output), "temporary": str(self.root / "tmp")}
        print(json.dumps(request), file=self._zygote.stdin, flush=True)
        pid = self._answer()["pid"]
        try:
            status = self._answer()["status"]
        except queue.Empty:
            os.kill(pid, signal.SIGABRT)  # which no build should end with
            status = self._answer()["status"]
        return status, output.read_text(errors="replace")

    def _answer(self) -> dict:
        """What the warm process says next; raises `queue.Empty` if it says nothing for too long."""
        line = self._answers.get(timeout=LONGEST)
        assert line, "the process that builds has ended"
        return json.loads(line)

    def _listen(self) -> None:
        for line in self._zygote.stdout:
            self._answers.put(line)
        self._answers.put("")


def snapshot(root: Path) -> dict[str, str]:
    """The sha256 of every file below a folder, and the folders, by path; without what tells of runs alone."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.name not in BY_RUN:
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "a folder"
            found[path.relative_to(root).as_posix()] = content
    return found


def _differences(expected: dict[str, str], found: dict[str, str]) -> str:
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    other = sorted(path for path in expected.keys() & found.keys() if expected[path] != found[path])
    parts = {"missing": missing, "left over": extra, "other bytes": other}
    return "; ".join(f"{what}: {', '.join(paths)}" for what, paths in parts.items() if paths)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return not re.search(r"\) [ZX]", state)
