"""Dask clusters: run functions in the workers of many machines."""

from __future__ import annotations

import contextlib
import functools
import pickle
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skyshards.errors import BuildError, UsageError
from skyshards.files import TEMPORARY_PREFIX, replacing
from skyshards.machine import usable_cores

if TYPE_CHECKING:
    from distributed import Client

LOCAL, SLURM = "local", "slurm"
PATIENCE = 30.0
"""Maximum wait for a scheduler, seconds."""
LOOK_AGAIN = 2.0
"""Seconds between two counts of a cluster's threads."""
STALLED = 5.0
"""Seconds without a worker, after which it is reported."""


class ClusterLost(BuildError):
    """The scheduler went away, and with it what was in flight."""


class DaskExecutor(Executor):
    """Executor that runs functions in the workers of a Dask cluster.

    What a dead worker was given is given to another one; what has killed several workers raises `BrokenExecutor`.
    Without its scheduler, everything raises `ClusterLost`. A function that was submitted cannot be cancelled, except
    all of them at once.

    Parameters
    ----------
    client : distributed.Client
        Left open.
    folder : Path, optional
        Folder that all workers see. Results go through files in it, deleted once they were read; so neither scheduler
        nor workers hold them, and a worker that dies after its work takes nothing with it.
    """

    def __init__(self, client: Client, folder: Path | None = None):
        self.client, self.folder = client, folder
        self._tasks: set[Any] = set()
        self._count, self._counted = 1, -LOOK_AGAIN

    def through(self, folder: Path) -> DaskExecutor:
        """Executor on the same cluster, with results in a folder."""
        return DaskExecutor(self.client, folder.absolute())

    @property
    def count(self) -> int:
        """Number of threads of all workers that are there now; 1 while there are none."""
        if (now := time.monotonic()) - self._counted >= LOOK_AGAIN:
            with self._clear_errors():
                self._count = max(1, sum(self.client.nthreads().values()))
            self._counted = now
        return self._count

    def submit(self, function: Callable, /, *args: Any, **kwargs: Any) -> Future:
        """Run a function in a worker. Its arguments go through the scheduler: keep them small."""
        import cloudpickle

        found: Future[Any] = Future()
        found.set_running_or_notify_cancel()
        place = self.folder and self.folder / f"{TEMPORARY_PREFIX}result-{uuid.uuid4().hex}"
        with self._clear_errors():
            task = self.client.submit(_call, cloudpickle.dumps((function, args, kwargs)), place, pure=False)
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._pass_on, found, place))
        return found

    def _pass_on(self, found: Future, place: Path | None, task: Any) -> None:
        """Hand a task's result, or what it raised, to the future that waits for it; runs in a thread of Dask."""
        from distributed import KilledWorker

        status = task.status
        try:
            if status == "error":
                error, trace = task.exception(), task.traceback()
                raise BrokenExecutor(str(error)) if isinstance(error, KilledWorker) else error.with_traceback(trace)
            if status == "cancelled":
                raise self._lost()
            value = task.result() if place is None else pickle.loads(place.read_bytes())
        except FileNotFoundError:
            if status == "error":
                found.set_exception(error)
            else:  # the worker died before it was done: the task begins again
                time.sleep(0.1)
                task.add_done_callback(functools.partial(self._pass_on, found, place))
                return
        except BaseException as raised:
            found.set_exception(raised)
        else:
            found.set_result(value)
            if place is not None:
                place.unlink(missing_ok=True)
        self._tasks.discard(task)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Cancel what is not finished, if that is asked for; the cluster stays."""
        if cancel_futures and self._tasks:
            with contextlib.suppress(Exception):  # also of a cluster that is lost
                self.client.cancel(list(self._tasks), force=True)

    @contextlib.contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if self.client.status == "running" and not isinstance(error, OSError):
                raise
            raise self._lost() from error

    def _lost(self) -> ClusterLost:
        return ClusterLost("the Dask scheduler went away; start a cluster and run the same command again to resume")


def _call(pickled: bytes, place: Path | None) -> Any:
    """Call a function in a worker; with a place, leave the result there."""
    import cloudpickle

    function, args, kwargs = cloudpickle.loads(pickled)
    value = function(*args, **kwargs)
    if place is None:
        return value
    with replacing(place) as temporary:
        temporary.write_bytes(pickle.dumps(value))
    return None


@contextlib.contextmanager
def as_executor(given: Executor | Client | None, stalled: Callable[[str | None], None]) -> Iterator[Executor | None]:
    """Executor for what a caller gave: one already, or a client of a Dask cluster, which is `watched` in the block."""
    if given is None or isinstance(given, Executor):
        yield given
        return
    with watched(given, stalled):
        yield DaskExecutor(given)


@contextlib.contextmanager
def connected(
    where: str | None, workers: int | None = None, stalled: Callable[[str | None], None] = lambda why: None
) -> Iterator[DaskExecutor | None]:
    """Connect to a Dask cluster for a block; None if none is named.

    Parameters
    ----------
    where : str or None
        Address of a scheduler; "local" to start worker processes on this machine; "slurm" to start jobs, as
        dask-jobqueue is configured, and others for those that end.
    workers : int, optional
        Number of processes or jobs to start; default: the number of usable cores.
    stalled : callable, optional
        Called from a thread while the cluster has no workers, with that as words, and with None once it has.

    Raises
    ------
    UsageError
        A package is missing, there is no such scheduler, or `workers` is given for a cluster that runs already.
    """
    if where is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError:
        raise UsageError("dask: needs the package distributed: pip install 'skyshards[dask]'") from None
    if workers is not None and (workers < 1 or where not in (LOCAL, SLURM)):
        raise UsageError("workers: with `dask`, the number of workers to start, for local and slurm only")
    with contextlib.ExitStack() as stack:
        start = {LOCAL: _local, SLURM: _slurm}.get(where)
        place: Any = where if start is None else stack.enter_context(start(workers or usable_cores()))
        try:
            client = Client(place, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise UsageError(f"dask: no scheduler at {where} ({error})") from None
        stack.callback(_close, client)
        executor = DaskExecutor(client)
        stack.callback(executor.shutdown, cancel_futures=True)
        expected = "one or more" if start is None else str(workers or usable_cores())
        keep = functools.partial(place.scale, jobs=workers or usable_cores()) if where == SLURM else lambda: None
        stack.enter_context(watched(client, stalled, expected, keep))
        yield executor


@contextlib.contextmanager
def watched(
    client: Client,
    stalled: Callable[[str | None], None],
    expected: str = "one or more",
    keep: Callable[[], Any] = lambda: None,
) -> Iterator[None]:
    """Report while there are no workers, and call `keep`, which starts those that have ended again.

    `stalled` is called from a thread with words that say so, and with None once there are some.
    """
    ended = threading.Event()

    def watch() -> None:
        without = time.monotonic()
        with contextlib.suppress(Exception):  # the scheduler is gone
            while not ended.wait(LOOK_AGAIN):
                keep()
                if client.nthreads():
                    without = time.monotonic()
                    stalled(None)
                elif time.monotonic() - without >= STALLED:
                    stalled(_without_workers(client, expected))

    watcher = threading.Thread(target=watch, name="skyshards-workers", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join(LOOK_AGAIN)
        stalled(None)


def _without_workers(client: Client, expected: str) -> str:
    assert client.scheduler is not None  # connected
    words = f"waiting for workers: expected {expected} at {client.scheduler.address}, found none"
    with contextlib.suppress(Exception):  # there is none
        words += f"; dashboard: {client.dashboard_link}" if client.dashboard_link else ""
    return words


def _close(client: Client) -> None:
    with contextlib.suppress(Exception):  # the scheduler may be gone
        client.close(timeout=LOOK_AGAIN)


@contextlib.contextmanager
def _local(workers: int) -> Iterator[Any]:
    import dask
    from distributed import LocalCluster

    # Dask would give up workers that take longer than 15 s to start again.
    options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}), LocalCluster(**options) as cluster:
        yield cluster


def _slurm(workers: int) -> Any:
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise UsageError("dask: slurm needs the package dask-jobqueue: pip install 'skyshards[slurm]'") from None
    try:
        cluster = SLURMCluster()
    except ValueError as error:
        raise UsageError(f"dask: slurm: {error}; set it in ~/.config/dask/jobqueue.yaml") from None
    cluster.scale(jobs=workers)
    return cluster
