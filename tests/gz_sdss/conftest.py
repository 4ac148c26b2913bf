"""What the tests of gz_sdss share: a server that answers as a test says, and pictures."""

import io

import numpy as np
import pytest
from PIL import Image

from demo_archive.serve.faults import Faults
from demo_archive.serve.server import Response, Server


@pytest.fixture
def serve():
    """Start a server on loopback that answers with a function, and with faults; it stops when the test ends."""
    servers = []

    def start(answer, *faults):
        server = Server(answer, Faults(faults))
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()
        assert server.errors == []


@pytest.fixture
def replay(serve, shared_data):
    """Serve responses that were recorded from a real server, with their status and content type, by path."""

    def start(recorded, **changes):
        def answer(request):
            name = recorded[request.path]
            body = (shared_data / "vo" / name).read_bytes()
            for before, after in changes.items():
                body = body.replace(before.encode(), after.encode())
            headers = shared_data / "vo" / f"{name}.headers"
            lines = headers.read_text().splitlines() if headers.exists() else ["200", "Content-Type: text/xml"]
            kind = next(line.partition(": ")[2] for line in lines if line.lower().startswith("content-type"))
            return Response(body, kind, int(lines[0]))

        return serve(answer)

    return start


def picture(width=64, height=64, mode="RGB", blank=False, format="JPEG", seed=0):
    """An image file of noise, or of one colour."""
    channels = {"RGB": (3,), "L": (), "CMYK": (4,)}[mode]
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, *channels), dtype=np.uint8)
    if blank:
        pixels[:] = 12
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode).save(buffer, format)
    return buffer.getvalue()
