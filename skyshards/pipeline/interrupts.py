"""Ctrl-C in two steps: the first ends a build in good order, the second at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable


class FirstInterrupt:
    """Context in which the first Ctrl-C is noted and interrupts nothing; the second does what it always did.

    SIGTERM is treated the same way where the program handles it. In other threads than the main one, which get no
    signals, nothing changes.

    Parameters
    ----------
    call_back : function
        Called when the first one comes, between any two instructions: it must not do more than wake somebody.

    Attributes
    ----------
    came : bool
        Whether there was one.
    """

    def __init__(self, call_back: Callable[[], None]):
        self._call_back = call_back
        self._handlers: dict[int, Callable] = {}
        self._number: int | None = None

    @property
    def came(self) -> bool:
        return self._number is not None

    def __enter__(self) -> FirstInterrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        self._restore()

    def pass_on(self) -> None:
        """Do now what was put off: raise `KeyboardInterrupt`, usually."""
        if self._number is not None:
            self._handlers[self._number](self._number, None)

    def _note(self, number: int, _) -> None:
        self._restore()
        self._number = number
        self._call_back()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
