"""How the demo archive misbehaves on request: what the fault tests of the clients are made of."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass

KINDS = ("silence", "reset", "truncate", "bad_checksum", "slow")


@dataclass(frozen=True)
class Fault:
    """One way to misbehave.

    Attributes
    ----------
    match : str
        Regular expression that is searched for in a request's method, path and query: "GET /sia/frame/1/2.fits".
    kind : str
        An HTTP status such as "404", "429" or "503": that answer, with an error page.
        "silence": no answer, until the peer gives up or the archive stops.
        "reset": the connection is reset before the answer.
        "truncate": headers of the whole answer, then half of its body, then the connection closes.
        "bad_checksum": the whole answer, with one byte changed.
        "slow": the whole answer, its body spread over `delay` seconds.
    times : int or None
        So many matching requests are spoiled, then no more; None: all of them.
    retry_after : float or None
        Seconds for a Retry-After header, which goes with a status.
    delay : float
        Seconds that a "slow" answer takes.
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
    """The faults still to come, counted down by the threads that serve requests."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._lock = threading.Lock()
        self._left: list[tuple[Fault, list[int | None]]] = []
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault) -> None:
        """Add a fault, while the archive runs if need be; earlier ones go first."""
        with self._lock:
            self._left.append((fault, [fault.times]))

    def take(self, request_line: str) -> Fault | None:
        """The fault that strikes a request, if any; it then has one time less."""
        with self._lock:
            for fault, times in self._left:
                if times[0] != 0 and re.search(fault.match, request_line):
                    if times[0] is not None:
                        times[0] -= 1
                    return fault
        return None
