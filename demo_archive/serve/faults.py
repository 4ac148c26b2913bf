"""Fault injection, for tests of the clients."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass

KINDS = ("silence", "reset", "truncate", "bad_checksum", "slow")


@dataclass(frozen=True)
class Fault:
    """A fault to inject into matching requests.

    Attributes
    ----------
    match : str
        Regular expression to search for in a request's method, path and query, such as "GET /sia/frame/1/2.fits".
    kind : str
        An HTTP status such as "404", "429" or "503": that status, with an error page.
        "silence": no response, until the peer gives up or the archive stops.
        "reset": the connection is reset before the response.
        "truncate": all headers, then half of the body, then the connection closes.
        "bad_checksum": the complete response, with one byte changed.
        "slow": the complete response, its body spread over `delay` seconds.
    times : int or None
        Number of matching requests to spoil; None for all of them.
    retry_after : float or None
        Seconds for a Retry-After header, sent with the status.
    delay : float
        Duration of a "slow" response, seconds.
    """

    match: str
    kind: str
    times: int | None = 1
    retry_after: float | None = None
    delay: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS and not re.fullmatch("[45][0-9][0-9]", self.kind):
            raise ValueError(f"a fault is an HTTP status from 400 on or one of {', '.join(KINDS)}; found {self.kind!r}")


class Faults:
    """Thread-safe list of the remaining faults."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._lock = threading.Lock()
        self._left: list[tuple[Fault, list[int | None]]] = []
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault) -> None:
        """Add a fault, also while the archive runs; earlier faults take precedence."""
        with self._lock:
            self._left.append((fault, [fault.times]))

    def take(self, request_line: str) -> Fault | None:
        """Return the fault for a request, if any, and count it down."""
        with self._lock:
            for fault, times in self._left:
                if times[0] != 0 and re.search(fault.match, request_line):
                    if times[0] is not None:
                        times[0] -= 1
                    return fault
        return None
