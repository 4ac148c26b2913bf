"""Ctrl-C: the first ends a build in good order, the second at once, and nothing that was done is lost."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from skyshards.pipeline.build import build
from tests.toy import Toy
from tests.toy_folder import assert_whole, shard_bytes

REPOSITORY = Path(__file__).parents[1]

PROGRAM = """
import sys, time
from pathlib import Path
from tests.toy import Toy
from skyshards.fetch.rate import RateLimit
from skyshards.pipeline.build import build

limit = RateLimit(0.0)

class Slow(Toy):
    def fetch(self, source, fetcher, folder):
        limit.wait()
        if source.info == 6:
            limit.hold(10_000)  # all others wait for their turn now, longer than any test
            Path(sys.argv[1], "waiting").touch()
            time.sleep(float(sys.argv[2]))

if __name__ == "__main__":
    build(Slow(40), Path(sys.argv[1], "toy"), workers=1, connections=4)
"""


@pytest.fixture
def started(tmp_path):
    """A build of which one request is under way, for so many seconds, and the next wait for their turn."""
    running = []

    def start(seconds):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(seconds)]
        process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True)
        running.append(process)
        while not (tmp_path / "waiting").exists():
            assert process.poll() is None, process.stderr.read()
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_the_first_ctrl_c_finishes_what_is_under_way_and_begins_nothing(started, tmp_path):
    process = started(1.0)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "finishing 1 request; again to stop now" in errors and "spawn_main" not in errors
    assert process.returncode == -signal.SIGINT
    folder = tmp_path / "toy"
    done = build(Toy(7), folder, workers=1)
    assert done.rows == done.added == 7, "what had been read and what was under way"
    assert build(Toy(40), folder, workers=1).rows == 40
    build(Toy(40), tmp_path / "whole", workers=1)
    assert shard_bytes(folder) == shard_bytes(tmp_path / "whole")
    assert_whole(folder)


def test_the_second_stops_at_once(started, tmp_path):
    process = started(10_000.0)
    os.kill(process.pid, signal.SIGINT)
    for line in process.stderr:
        if "finishing 1 request" in line:
            break
    os.kill(process.pid, signal.SIGINT)
    for line in process.stderr:
        if "KeyboardInterrupt" in line:
            break
    else:
        pytest.fail("it went on")
