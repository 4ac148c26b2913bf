"""Two-step Ctrl-C: the first one ends a build cleanly, the second at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable


class FirstInterrupt:
    """Context manager that records the first Ctrl-C without interrupting; the second acts as usual.

    SIGTERM is treated the same way if the program handles it. Outside the main thread, which alone gets signals, this
    does nothing.

    Parameters
    ----------
    call_back : function
        Called at the first signal, between any two instructions: it must only wake a waiting thread.

    Attributes
    ----------
    came : bool
        Whether a signal has arrived.
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
        """Call the original handler for the recorded signal; usually raises `KeyboardInterrupt`."""
        if self._number is not None:
            self._handlers[self._number](self._number, None)

    def _note(self, number: int, _) -> None:
        self._restore()
        self._number = number
        self._call_back()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
