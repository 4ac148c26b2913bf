"""HTTP server of the demo archive, with range requests, HEAD, a request log and fault injection."""

from __future__ import annotations

import contextlib
import http
import re
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import overload
from urllib.parse import parse_qs, unquote, urlsplit

from demo_archive.serve.faults import Fault, Faults

MAX_BODY = 16 << 20
"""Maximum size of a request body, bytes."""
PIECE = 1 << 16
LOG_LENGTH = 100_000
"""Maximum number of logged requests, so that an archive can run for days in bounded memory."""


@dataclass(frozen=True)
class Request:
    """A request, as passed to services and kept in the log.

    `path` is percent-decoded and without the query. `query` and `form` hold all values of each parameter by its name in
    upper case (IVOA protocols ignore the case). `time` is `time.monotonic()` on arrival.
    """

    method: str
    target: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    form: Mapping[str, list[str]]
    time: float

    @property
    def server_url(self) -> str:
        """Address of the server, without a path."""
        return f"http://{self.headers['Host']}"

    @overload
    def get(self, name: str) -> str | None: ...

    @overload
    def get(self, name: str, default: str) -> str: ...

    def get(self, name: str, default: str | None = None) -> str | None:
        """Last value of a parameter in the form or the query."""
        values = self.form.get(name) or self.query.get(name)
        return values[-1] if values else default


@dataclass
class Response:
    """A service's response. A `body` that is neither bytes nor a file is streamed, and needs a `length`."""

    body: bytes | Path | Iterable[bytes] = b""
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int = -1

    def __post_init__(self) -> None:
        if isinstance(self.body, bytes):
            self.length = len(self.body)
        elif isinstance(self.body, Path):
            self.length = self.body.stat().st_size
        elif self.length < 0:
            raise ValueError("expected the `length` of a streamed body, found none")

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield bytes `start` to `stop` of the body; a streamed body is always sent completely."""
        if isinstance(self.body, bytes):
            for place in range(start, stop, PIECE):
                yield self.body[place : min(place + PIECE, stop)]
        elif isinstance(self.body, Path):
            with self.body.open("rb") as file:
                file.seek(start)
                for place in range(start, stop, PIECE):
                    yield file.read(min(PIECE, stop - place))
        else:
            yield from self.body

    @property
    def ranged(self) -> bool:
        return self.status == 200 and isinstance(self.body, (bytes, Path))


Service = Callable[[Request], Response]


def error_page(status: int) -> Response:
    """Make an error page like nginx's."""
    title = f"{status} {http.HTTPStatus(status).phrase}" if status in {*http.HTTPStatus} else str(status)
    head = f"<html>\r\n<head><title>{title}</title></head>\r\n"
    body = f"<body>\r\n<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    return Response((head + body).encode(), "text/html", status)


def byte_range(header: str | None, length: int) -> tuple[int, int] | None:
    """Start and stop of a Range header: everything without a header, None if the range cannot be satisfied."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if not found or found.groups() == ("", ""):
        return 0, length
    first, last = found.groups()
    if not first:
        return max(0, length - int(last)), length
    start, stop = int(first), min(length, int(last) + 1 if last else length)
    return (start, stop) if start < stop else None


class Handler(BaseHTTPRequestHandler):
    """Handler that reads a request, applies faults, and writes the service's response."""

    protocol_version = "HTTP/1.1"
    server_version = "skyshards-demo"
    timeout = 60
    disable_nagle_algorithm = True  # or a body waits 40 ms for the acknowledgement of its headers
    server: Server

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= MAX_BODY:
            self.close_connection = True
            return self._send(error_page(413), None)
        form = parse_qs(self.rfile.read(length).decode("utf-8", "replace"), keep_blank_values=True)
        parts = urlsplit(self.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        upper = [{name.upper(): values for name, values in each.items()} for each in (query, form)]
        path, headers = unquote(parts.path), dict(self.headers)
        request = Request(self.command, self.path, path, upper[0], headers, upper[1], time.monotonic())
        with self.server.logged(request) as fault:
            if fault and fault.kind.isdigit():
                self._send(error_page(int(fault.kind)), fault)
            elif fault and fault.kind == "reset":
                self._reset()
            elif fault and fault.kind == "silence":
                self._be_silent()
            else:
                self._send(self._answer(request), fault)

    do_POST = do_HEAD = do_DELETE = do_GET

    def _answer(self, request: Request) -> Response:
        try:
            return self.server.service(request)
        except Exception as error:
            self.server.errors.append(error)
            return error_page(500)

    def _send(self, response: Response, fault: Fault | None) -> None:
        length, status, kind = response.length, response.status, fault.kind if fault else None
        span = byte_range(self.headers.get("Range"), length) if response.ranged else (0, length)
        if span is None:
            response, span, status = error_page(416), (0, 0), 416
        start, stop = span
        if response.ranged and (start, stop) != (0, length):
            status = 206
        self.send_response(status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(stop - start))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{length}")
        if status == 416:
            self.send_header("Content-Range", f"bytes */{length}")
        if response.ranged:
            self.send_header("Accept-Ranges", "bytes")
        if fault and fault.retry_after is not None:
            self.send_header("Retry-After", f"{fault.retry_after:g}")
        for name, value in response.headers.items():
            self.send_header(name, value)
        if kind == "truncate":
            self.close_connection = True
        self.end_headers()
        if self.command == "HEAD":
            return
        sent = 0
        for piece in self._spoiled(response.pieces(start, stop), stop - start, fault):
            self.wfile.write(piece)
            sent += len(piece)
        if sent != stop - start:
            self.close_connection = True

    def _spoiled(self, pieces: Iterator[bytes], length: int, fault: Fault | None) -> Iterator[bytes]:
        """Apply a fault to the body."""
        kind = fault.kind if fault else None
        if fault and kind == "slow":
            whole = b"".join(pieces)
            step = max(1, -(-length // 10))
            for place in range(0, max(length, 1), step):
                self.wfile.flush()
                if self.server.closing.wait(fault.delay / 10):
                    return
                yield whole[place : place + step]
        elif kind == "truncate":
            yield b"".join(pieces)[: length // 2]
        elif kind == "bad_checksum":
            spoiled = bytearray(b"".join(pieces))
            if spoiled:
                spoiled[len(spoiled) // 2] ^= 0xFF
            yield bytes(spoiled)
        else:
            yield from pieces

    def _be_silent(self) -> None:
        """Keep the connection open without responding, until the peer closes it or the server stops."""
        self.close_connection = True
        self.connection.settimeout(0.1)
        while not self.server.closing.is_set():
            with contextlib.suppress(TimeoutError):
                if not self.connection.recv(1):
                    return

    def _reset(self) -> None:
        """Reset the connection: with a linger time of 0, the kernel sends RST instead of FIN."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: `Server.requests` is the log."""


class Server(ThreadingHTTPServer):
    """HTTP server on a free port of 127.0.0.1, between `start` and `stop`.

    Attributes
    ----------
    requests : deque of Request
        The latest requests, in order of arrival.
    peak : int
        Maximum number of requests served at the same time.
    errors : list of Exception
        Errors inside a service: bugs, never injected faults.
    """

    daemon_threads = False
    block_on_close = True
    request_queue_size = 256

    def __init__(self, service: Service, faults: Faults) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.service, self.faults = service, faults
        self.requests: deque[Request] = deque(maxlen=LOG_LENGTH)
        self.errors: list[Exception] = []
        self.peak = 0
        self.closing = threading.Event()
        self._active = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, name="demo archive")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop the server, close all connections, and wait for the threads to end."""
        self.closing.set()
        self.shutdown()
        self._thread.join()
        with self._lock:
            for connection in self._open:
                # The peer may have closed it already.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    @contextlib.contextmanager
    def logged(self, request: Request) -> Iterator[Fault | None]:
        """Log a request, count it as active inside the block, and yield its fault, if any."""
        with self._lock:
            self.requests.append(request)
            self._active += 1
            self.peak = max(self.peak, self._active)
        try:
            yield self.faults.take(f"{request.method} {request.target}")
        finally:
            with self._lock:
                self._active -= 1

    def process_request(self, request, client_address) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address) -> None:
        """Record errors while sending a response, except a peer that disconnects."""
        error = sys.exception()
        if isinstance(error, Exception) and not isinstance(error, (ConnectionError, TimeoutError)):
            self.errors.append(error)
