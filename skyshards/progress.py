"""Progress reports: bars in a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from tqdm import tqdm

from skyshards.text import printable, singular

INTERVAL = 30.0
"""Seconds between two lines without a terminal."""
REFRESH = 1.0
"""Seconds between two refreshes of an idle bar, to keep its clock running."""
SHORT = 2.0
"""Waits up to this many seconds are not reported."""

_shown: list[Progress] = []
"""Work in progress, outermost first."""
_waits: dict[str, tuple[float, bool]] = {}
"""For each server, when its wait ends (monotonic) and whether the server asked for it."""
_stalled: str | None = None
"""Why nothing goes on, if nothing does."""
_lock = threading.Lock()


class Progress:
    """The progress of some work, shown on standard error; see `progress`."""

    def __init__(self, what: str, unit: str, total: int | None, done: int, nested: bool):
        self.done = done
        self._what, self._unit, self._total, self._first = printable(what), unit, total, done
        self._started = time.monotonic()
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._said = False
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(
                desc=self._what,
                unit=unit if unit == "B" else f" {unit}",
                unit_scale=unit == "B",
                total=total,
                initial=done,
                leave=not nested,
                **_width(),
            )
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()

    def update(self, count: int = 1) -> None:
        """Add to the amount done. Thread-safe."""
        with self._lock:
            self.done += count
            if self._bar is not None:
                self._bar.update(count)

    def expect(self, count: int) -> None:
        """Add to the total."""
        with self._lock:
            self._total = (self._total or 0) + count
            if self._bar is not None:
                self._bar.total = self._total

    def line(self) -> str:
        """Format the amount done, the rate and the time left as one line."""
        done = self.done - self._first
        rate = done / max(time.monotonic() - self._started, 1e-9)
        of_all = "" if self._total is None else f" of {self._amount(self._total)}"
        last = self.done if self._total is None else self._total
        unit = "" if self._unit == "B" else f" {singular(self._unit) if last == 1 else self._unit}"
        words = [f"{self._what}: {self._amount(self.done)}{of_all}{unit}"]
        words.append(f"{self._amount(rate)}/s" if self._unit == "B" else f"{rate:,.3g} {self._unit}/s")
        if self._total is not None and done:
            words.append(f"{duration((self._total - self.done) / rate)} left")
        return ", ".join([*words, *_waiting_for()])

    def close(self) -> None:
        """Stop, and bring the output up to date."""
        self._ended.set()
        self._ticker.join()
        if self._bar is not None:
            self._bar.set_postfix_str("", refresh=False)
            self._bar.close()
        elif self._said:
            say(self.line())

    def _amount(self, number: float) -> str:
        return size(number) if self._unit == "B" else f"{number:,}"

    def _tick(self) -> None:
        while not self._ended.wait(INTERVAL if self._bar is None else REFRESH):
            if self._bar is not None:
                self._bar.set_postfix_str(", ".join(_waiting_for()))  # also redraws the bar
            else:
                self._said = True
                say(self.line())


def _width() -> dict[str, int | bool]:
    """Return tqdm options for the width of a bar: that of the terminal, or 80 columns if unknown."""
    try:
        known = os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError):
        known = False
    return {"dynamic_ncols": True} if known else {"ncols": 80}


@contextlib.contextmanager
def progress(what: str, unit: str, total: int | None = None, done: int = 0) -> Iterator[Progress]:
    """Report progress during a block: the amount done, the total, the rate and the time left.

    Nested progress gets its own bar below, which disappears when it ends.

    Parameters
    ----------
    what : str
        The work, such as "fetching".
    unit : str
        The unit in the plural, such as "sources"; "B" for bytes.
    total : int, optional
        The total amount, if known.
    done : int
        The amount done before.
    """
    with _lock:
        shown = Progress(what, unit, total, done, nested=bool(_shown))
        _shown.append(shown)
    try:
        yield shown
    finally:
        shown.close()
        with _lock:
            _shown.remove(shown)


def say(message: str) -> None:
    """Print a line on standard error, above any bars; control characters are escaped."""
    tqdm.write(printable(message), file=sys.stderr)
    sys.stderr.flush()


def waiting(url: str, seconds: float, asked: float | None = None) -> None:
    """Report a wait for a server. Thread-safe.

    Parameters
    ----------
    url : str
    seconds : float
        Time until the next request.
    asked : float, optional
        The seconds that the server asked for; None if it failed.
    """
    if seconds <= SHORT:
        return
    server, now = urlsplit(url).hostname or url, time.monotonic()
    with _lock:
        end = _waits.get(server, (now, False))[0]
        _waits[server] = max(end, now + seconds), asked is not None
        in_bar = sys.stderr.isatty() and bool(_shown)
    if asked is not None and asked > seconds and end <= now:
        say(f"{server} asks to wait {duration(min(asked, 1e9))}; retrying in {duration(seconds)}")
    elif end <= now and not in_bar:
        say(_wait_for(server, seconds, asked is not None))


def stalled(why: str | None) -> None:
    """Report that nothing goes on, and why, in all progress lines until this is called with None. Thread-safe."""
    global _stalled
    with _lock:
        is_new = why is not None and why != _stalled
        _stalled = why
        in_bar = sys.stderr.isatty() and bool(_shown)
    if why is not None and is_new and not in_bar:
        say(why)


def _waiting_for() -> list[str]:
    """List what is being waited for: servers, with the time left, or why nothing goes on."""
    now = time.monotonic()
    with _lock:
        if _stalled is not None:
            return [printable(_stalled)]
        for server in [server for server, (end, _) in _waits.items() if end <= now]:
            del _waits[server]
        return [_wait_for(server, end - now, asked) for server, (end, asked) in _waits.items()]


def _wait_for(server: str, seconds: float, asked: bool) -> str:
    return f"{printable(server)} {'asks to wait' if asked else 'does not answer, retrying in'} {duration(seconds)}"


def duration(seconds: float) -> str:
    """Format a length of time in at most two units: "40 s", "12 min", "3 h 20 min", "2 d 4 h"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    hours = round(seconds / 3600)
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"


def size(nbytes: float) -> str:
    """Format a number of bytes with three digits: "9.81 MB", "240 GB"."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if nbytes < 999.5:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:,.3g} PB"
