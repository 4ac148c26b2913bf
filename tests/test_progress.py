"""What is shown of work under way, in a terminal and elsewhere."""

import os
import pty
import re
import subprocess
import sys
import termios
import time

import pytest

from skyshards import progress
from skyshards.progress import duration, size


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.01)
    monkeypatch.setattr(progress, "_waits", {})


def wait_for(capsys, words: str) -> str:
    """What was printed on standard error up to a line with these words."""
    text = ""
    for _ in range(500):
        text += capsys.readouterr().err
        if words in text:
            return text
        time.sleep(0.01)
    raise AssertionError(f"no {words!r} in {text!r}")


def test_lines_say_done_of_all_rate_and_time_left(capsys):
    with progress.progress("fetching", "sources", 1000, done=200) as bar:
        bar.update(100)
        text = wait_for(capsys, "300 of")
    line = next(line for line in text.splitlines() if "300 of" in line)
    assert re.fullmatch(r"fetching: 300 of 1,000 sources, \S+ sources/s, .+ left", line)


def test_lines_count_bytes_in_their_units(capsys):
    with progress.progress("archive.zip", "B", 26_000_000_000) as bar:
        bar.update(3_000_000_000)
        wait_for(capsys, "archive.zip: 3 GB of 26 GB, ")


def test_lines_go_on_while_nothing_is_done(capsys):
    with progress.progress("fetching", "sources", 10):
        wait_for(capsys, "0 of 10 sources")
        wait_for(capsys, "0 of 10 sources")


def test_lines_say_why_nothing_goes_on(capsys):
    with progress.progress("reading", "sources", 10):
        progress.stalled("waiting for workers")
        try:
            assert wait_for(capsys, "sources/s, waiting for workers").startswith("waiting for workers\n")
        finally:
            progress.stalled(None)
        capsys.readouterr()
        assert "waiting" not in wait_for(capsys, "0 of 10 sources").splitlines()[-1]


def test_short_work_prints_nothing_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 30.0)
    with progress.progress("fetching", "sources", 10) as bar:
        bar.update(10)
    assert capsys.readouterr().err == ""


def test_a_server_that_asks_to_wait_is_named_once_and_then_in_the_lines(capsys, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 30.0)
    with progress.progress("fetching", "sources", 10) as bar:
        for _ in range(8):  # as many threads are told
            progress.waiting("https://data.sdss.org/sas/file", 60, 60)
        assert capsys.readouterr().err == "data.sdss.org asks to wait 60 s\n"
        assert bar.line().endswith("data.sdss.org asks to wait 60 s")


def test_a_wait_that_is_cut_and_one_that_nobody_asked_for_are_told_apart(capsys):
    progress.waiting("https://one.example.org/", 3600, 86_400)
    progress.waiting("https://two.example.org/", 30)
    assert capsys.readouterr().err.splitlines() == [
        "one.example.org asks to wait 24 h; retrying in 60 min",
        "two.example.org does not answer, retrying in 30 s",
    ]
    progress._waits.clear()


def test_short_waits_are_not_mentioned(capsys):
    progress.waiting("https://data.sdss.org/sas/file", 0.5)
    assert capsys.readouterr().err == ""


def test_durations():
    found = [duration(seconds) for seconds in (0, 40, 89, 90, 3600, 5400, 12_000, 86_400, 187_200)]
    assert found == ["0 s", "40 s", "89 s", "2 min", "60 min", "1 h 30 min", "3 h 20 min", "24 h", "2 d 4 h"]


def test_sizes():
    found = [size(nbytes) for nbytes in (0, 999, 1000, 9.81e6, 240e9, 2e15)]
    assert found == [
        "0 B",
        "999 B",
        "1 kB",
        "9.81 MB",
        "240 GB",
        "2 PB",
    ]


SCREEN = """
import time
from skyshards import progress
progress.REFRESH = 0.05
with progress.progress("fetching", "sources", 100) as outer:
    outer.update(40)
    with progress.progress("archive.zip", "B", 10**9) as inner:
        inner.update(5 * 10**8)
        progress.say("17 galaxies are outside the cut")
        progress.waiting("https://example.org/x", 100, 100)
        time.sleep(0.3)
    outer.update(60)
progress.say("done")
"""


def screen(output: str, columns: int) -> list[str]:
    """What a terminal shows in the end; knows carriage return, line feed, and cursor up."""
    rows, row, column = [[]], 0, 0
    for escape, character in re.findall(r"(\x1b\[\d*[A-Z])|([\s\S])", output):
        if escape == "\x1b[A":
            row = max(0, row - 1)
        elif character == "\r":
            column = 0
        elif character == "\n":
            row, column = row + 1, column
        elif not escape:
            rows += [[] for _ in range(row + 1 - len(rows))]
            rows[row] += [" "] * (column + 1 - len(rows[row]))
            rows[row][column] = character
            column += 1
            assert column <= columns, "a bar is wider than the terminal"
        rows += [[] for _ in range(row + 1 - len(rows))]
    return ["".join(line).rstrip() for line in rows]


@pytest.mark.parametrize("columns", [100, 0])  # some terminals do not know how wide they are
def test_bars_and_lines_do_not_overlap_in_a_terminal(columns):
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (30, columns))
    command = [sys.executable, "-c", SCREEN]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        output = b""
        while True:
            try:
                block = os.read(master, 4096)
            except OSError:  # Linux's way to say that the other end is closed
                block = b""
            if not block:
                break
            output += block
        os.close(master)
        assert process.wait(20) == 0
    text = output.decode()
    assert "archive.zip:  50%" in text
    assert "example.org asks to wait" in text
    shown = [line for line in screen(text, columns or 80) if line]
    assert shown[0] == "17 galaxies are outside the cut"
    assert shown[1].startswith("fetching: 100%") and "100/100" in shown[1]
    assert shown[2:] == ["done"]
