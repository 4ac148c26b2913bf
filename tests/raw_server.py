"""A server on a raw socket, for what no HTTP library would send: it answers byte by byte as a test says."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator

Answer = bytes | Callable[["Connection"], None]


class Connection:
    """One request and the way to answer it.

    Attributes
    ----------
    request : str
        Its line and headers.
    """

    def __init__(self, peer: socket.socket, request: str, stopping: threading.Event):
        self.request, self._peer, self._stopping = request, peer, stopping

    @property
    def target(self) -> str:
        """Path and query."""
        return self.request.split(" ")[1]

    def header(self, name: str) -> str | None:
        found = re.search(rf"^{name}: (.*?)\r?$", self.request, re.IGNORECASE | re.MULTILINE)
        return found[1] if found else None

    def send(self, content: bytes) -> None:
        self._peer.sendall(content)

    def drip(self, content: bytes, seconds: float) -> None:
        """Send a byte every so many seconds, then again from the first one, until the peer leaves or the test ends."""
        while not self._stopping.is_set():
            for byte in content:
                self.send(bytes([byte]))
                if self._stopping.wait(seconds):
                    return

    def flood(self, block: bytes) -> None:
        """Send a block for ever."""
        while not self._stopping.is_set():
            self.send(block)

    def wait(self, seconds: float) -> bool:
        """Wait; whether the test has ended."""
        return self._stopping.wait(seconds)

    def hang(self) -> None:
        """Say nothing more until the test ends."""
        self._stopping.wait()

    def reset(self) -> None:
        """Close so that the peer sees a reset."""
        self._peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class RawServer:
    """What `raw_server` gives: its `url`, and the `requests` that came (line and headers of each)."""

    def __init__(self, answers: tuple[Answer, ...]):
        self._answers, self._lock, self.requests = list(answers), threading.Lock(), []
        self.stopping = threading.Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.threads: list[threading.Thread] = []

    def serve(self) -> None:
        while not self.stopping.is_set():
            peer, _ = self.socket.accept()
            thread = threading.Thread(target=self._answer, args=(peer,))
            self.threads.append(thread)
            thread.start()

    def _answer(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            peer.settimeout(10)
            request = b""
            while not request.endswith(b"\r\n\r\n") and (piece := peer.recv(1)):
                request += piece
            if not request or self.stopping.is_set():
                return
            text = request.decode("latin-1")
            with self._lock:
                self.requests.append(text)
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            connection = Connection(peer, text, self.stopping)
            if callable(answer):
                answer(connection)
            else:
                connection.send(answer)


@contextlib.contextmanager
def raw_server(*answers: Answer) -> Iterator[RawServer]:
    """A server that gives these answers, one a connection, the last one to all that follow, and then closes it.

    An answer is bytes, or a function that is called with the `Connection`.
    """
    server = RawServer(answers)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        with contextlib.suppress(OSError):  # wakes `accept`
            socket.create_connection(server.socket.getsockname(), timeout=5).close()
        thread.join()
        for each in server.threads:
            each.join()
        server.socket.close()


def answer(body: bytes = b"", *headers: str, status: str = "200 OK", length: bool = True) -> bytes:
    """A response, with the length of its body unless one is given or none is wanted."""
    if length and not any(header.lower().startswith(("content-length", "transfer-encoding")) for header in headers):
        headers += (f"Content-Length: {len(body)}",)
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "Connection: close", "", ""]).encode("latin-1") + body
