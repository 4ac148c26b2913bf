"""Deadlines for HTTP responses: the timeout limits all headers together, not each byte of them."""

from __future__ import annotations

import functools
import http.client
import io
import socket
import time

from urllib3.connectionpool import HTTPConnectionPool


class _TimedReader(io.RawIOBase):
    """Socket reader with an optional deadline for a step of several reads."""

    def __init__(self, sock: socket.socket):
        self._sock, self._received = sock, sock.makefile("rb", buffering=0)
        self._deadline: float | None = None

    def begin_step(self) -> None:
        """Start a step: all reads until `end_step` must finish within the socket's timeout."""
        timeout = self._sock.gettimeout()
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def end_step(self) -> None:
        self._deadline = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int | None:
        if self._deadline is None:
            return self._received.readinto(buffer)
        if (left := self._deadline - time.monotonic()) <= 0:
            raise TimeoutError("timed out")
        timeout = self._sock.gettimeout()
        self._sock.settimeout(left)
        try:
            return self._received.readinto(buffer)
        finally:
            self._sock.settimeout(timeout)

    def close(self) -> None:
        self._received.close()
        super().close()


class _TimedAnswer(http.client.HTTPResponse):
    """HTTP response that applies the timeout to all headers together, and to each block including its chunk framing.

    The standard library applies it to each byte, and reads interim responses and trailers without limit.
    """

    def __init__(self, sock: socket.socket, *args, **kwargs):
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self._reader = _TimedReader(sock)
        self._reader.begin_step()  # here, as a proxy's answer to CONNECT is read without `begin`
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        try:
            super().begin()
        finally:
            self._reader.end_step()

    def read1(self, n: int = -1) -> bytes:
        self._reader.begin_step()
        try:
            return super().read1(n)
        finally:
            self._reader.end_step()


@functools.cache
def _timed(connection: type) -> type:
    return type(connection.__name__, (connection,), {"response_class": _TimedAnswer})


def with_deadlines(pool: HTTPConnectionPool) -> HTTPConnectionPool:
    """Make a pool's connections read responses with deadlines."""
    if getattr(pool.ConnectionCls, "response_class", None) is not _TimedAnswer:
        pool.ConnectionCls = _timed(pool.ConnectionCls)
    return pool
