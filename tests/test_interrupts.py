"""Ctrl-C: the first ends a build in good order, the second at once, and nothing that was done is lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from skyshards.pipeline.build import build
from tests.raw_server import answer, raw_server
from tests.toy import Toy
from tests.toy_folder import assert_whole, shard_bytes

pytestmark = pytest.mark.slow

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


def bounded(process):
    """Ends a process that goes on for a minute, so that whoever reads from it does too."""
    timer = threading.Timer(60, process.kill)
    timer.start()
    return timer


@pytest.fixture
def started(tmp_path):
    """A build of which one request is under way, for so many seconds, and the next wait for their turn."""
    running = []

    def start(seconds):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(seconds)]
        process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True)
        running.append((process, bounded(process)))
        while not (tmp_path / "waiting").exists():
            assert process.poll() is None, process.stderr.read()
        return process

    yield start
    for process, timer in running:
        timer.cancel()
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0])
def test_a_signal_in_the_first_second_is_answered_in_a_line(tmp_path, number, seconds):
    """Whatever is imported or started then."""
    command = [sys.executable, "build_parent_sample.py", "gz3d", "--demo", "-o", str(tmp_path / "gz3d")]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True)
    time.sleep(seconds)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert errors.splitlines()[-1] == "Interrupted. The same command goes on from here."
    assert "Traceback" not in errors and "Aborted" not in errors


def test_sigterm_ends_a_build_as_ctrl_c_does(tmp_path):
    """And the second one at once, though a request is under way that nobody ends."""
    with raw_server(lambda connection: connection.hang()) as server:
        names = ["gz3d_1-2_127_3.fits.gz", "gz3d_1-3_127_4.fits.gz"]
        page = "<html>" + "".join(f'<a href="{name}">x</a>' for name in names) + "</html>"
        server._answers.insert(0, answer(page.encode()))
        program = "import skyshards_start; skyshards_start.main()"
        command = [sys.executable, "-c", program, "build", "gz3d", "-o", str(tmp_path), "--archive_url", server.url]
        process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
        timer = bounded(process)
        while len(server.requests) < 3:
            assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGTERM)
        for line in process.stderr:
            if "finishing 2 requests; again to stop now" in line:
                break
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        timer.cancel()
    assert process.returncode == 143
    assert errors == "Interrupted. The same command goes on from here.\n"


LARGE = """
import sys
from tests.toy import Toy
from skyshards.pipeline.build import build

class Large(Toy):
    def fetch(self, source, fetcher, folder):
        fetcher.download(sys.argv[1], folder / "archive.zip", keep_part=True)

    def discard(self, source, fetched, failed):
        pass

if __name__ == "__main__":
    build(Large(1), sys.argv[2], workers=0)
"""


def test_the_first_ctrl_c_ends_a_large_download_which_goes_on_by_range(tmp_path):
    whole = bytes(range(256)) * 2000
    half, mark = len(whole) // 2, 'ETag: "1"'
    part = tmp_path / "toy" / "downloads" / "archive.zip.part"

    def begin(connection):
        head, _, body = answer(whole, mark).partition(b"\r\n\r\n")
        connection.send(head + b"\r\n\r\n" + body[:half])
        for byte in body[half:]:  # as slow as a large file is long
            connection.send(bytes([byte]))
            if connection.wait(0.02):
                return

    def go_on(connection):
        start = int(connection.header("Range").removeprefix("bytes=").removesuffix("-"))
        span = f"Content-Range: bytes {start}-{len(whole) - 1}/{len(whole)}"
        connection.send(answer(whole[start:], span, mark, status="206 Partial Content"))

    with raw_server(begin, go_on) as server:
        command = [sys.executable, "-c", LARGE, server.url, str(tmp_path / "toy")]
        process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True)
        timer = bounded(process)
        while not (part.exists() and part.stat().st_size > half // 2):  # the last bytes are in a buffer
            assert process.poll() is None, process.stderr.read()
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
        timer.cancel()
        assert process.returncode == -signal.SIGINT
        assert half // 2 < part.stat().st_size < len(whole)
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert [request.count("Range: bytes=") for request in server.requests] == [0, 1]
    assert (tmp_path / "toy" / "downloads" / "archive.zip").read_bytes() == whole and not part.exists()
    assert build(Toy(1), tmp_path / "toy", workers=1).rows == 1
