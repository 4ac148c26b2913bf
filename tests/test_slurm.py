"""Builds in jobs of Slurm: of daemons on loopback where Slurm is installed, else of a stand-in for its commands."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from skyshards.cluster import connected
from skyshards.pipeline.build import build
from tests.machines import REPOSITORY, until
from tests.toy import Toy

dask = pytest.importorskip("dask", reason="the extra `slurm` is not installed")
pytest.importorskip("dask_jobqueue", reason="the extra `slurm` is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # of Dask
]

SBATCH = """#!{python}
import shutil, subprocess, sys
copy = shutil.copy(sys.argv[-1], "{folder}")
job = subprocess.Popen(["sh", copy], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print("Submitted batch job", job.pid)
open("{folder}/jobs", "a").write(f"{{job.pid}}\\n")
"""
SCANCEL = """#!{python}
import os, signal, sys
for job in sys.argv[1:]:
    os.killpg(int(job), signal.SIGTERM)
"""
CONF = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={other_port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 State=UNKNOWN
PartitionName=loopback Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (commands / name).write_text(text.format(python=sys.executable, folder=commands))
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    yield
    for job in (commands / "jobs").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(job), signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def slurm(monkeypatch):
    daemons = ("munged", "slurmctld", "slurmd")
    if os.getuid() != 0 or not all(shutil.which(name) for name in (*daemons, "sbatch")):
        pytest.skip("Slurm is not installed, or needs root to start")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)  # or munge refuses it
    host = socket.gethostname()
    (folder / "slurm.conf").write_text(CONF.format(host=host, port=free_port(), other_port=free_port(), folder=folder))
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o600)
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    files = {"key-file": "key", "socket": "munge.socket", "pid-file": "munge.pid", "seed-file": "seed"}
    munge = ["munged", "--foreground", "--force", *(f"--{name}={folder / file}" for name, file in files.items())]
    log = open(folder / "log", "w")  # noqa: SIM115
    running = []
    with log:
        try:
            for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D"]):
                running.append(subprocess.Popen(command, stdout=log, stderr=log))
                if command == munge:
                    until((folder / "munge.socket").exists)
            until(lambda: "idle" in subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True).stdout)
            yield
            subprocess.run(["scancel", "--user=root"], check=False)
            until(lambda: not subprocess.run(["squeue", "-h"], capture_output=True, text=True).stdout)
        finally:
            for process in reversed(running):
                process.terminate()
                process.wait(30)
    shutil.rmtree(folder)


@pytest.mark.parametrize("scheduler", ["stand_in", "slurm"])
def test_builds_in_jobs(scheduler, request, tmp_path, monkeypatch):
    request.getfixturevalue(scheduler)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    settings = {
        "cores": 1,
        "memory": "1GB",
        "interface": "lo",
        "walltime": "01:00:00",
        "local-directory": str(tmp_path),
        "log-directory": str(tmp_path / "logs"),
        "scheduler-options": {"dashboard_address": "127.0.0.1:0"},
    }
    build(Toy(20), tmp_path / "here", workers=0)
    options = {f"jobqueue.slurm.{name}": value for name, value in settings.items()}
    with dask.config.set(options), connected("slurm", 2) as executor:
        until(lambda: len(executor.client.nthreads()) == 2)
        first = next(iter(executor.client.scheduler_info()["workers"].values()))
        subprocess.run(["scancel", executor.client.cluster.workers[first["name"]].job_id], check=True)
        until(lambda: len(executor.client.nthreads()) == 1)
        until(lambda: len(executor.client.nthreads()) == 2)  # another job takes its place
        assert build(Toy(20), tmp_path / "far", executor=executor).rows == 20
    found, wanted = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "far", tmp_path / "here")
    )
    assert found == wanted
