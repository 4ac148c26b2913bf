"""Tables at https://: a server's passing faults cost time, its lasting ones are named."""

import contextlib
import re

import pytest

import skyshards
from skyshards.errors import FolderError
from skyshards.fetch import answers
from skyshards.format.columns import flatten
from skyshards.pipeline.build import build
from skyshards.read import store
from tests.contract import assert_same
from tests.raw_server import answer, raw_server
from tests.toy import Toy

pytestmark = pytest.mark.slow

pytest.importorskip("aiohttp", reason="the extra `remote` is not installed")
from skyshards.read import bounded_answers  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("remote") / "toy"
    build(Toy(8), folder, workers=1)
    return folder


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    monkeypatch.setattr(store, "WAITS", (0.0, 0.0, 0.0))


@contextlib.contextmanager
def serving(folder, fault, catalog=False, times=1):
    """A server of the folder whose requests for byte ranges (or for the catalogue) fail at first."""
    left = [times]

    def serve(connection):
        target = connection.target.partition("?")[0]
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", connection.header("Range") or "")
        content = (folder / target.lstrip("/")).read_bytes()
        headers = []
        if span:
            headers = [f"Content-Range: bytes {span[1]}-{span[2]}/{len(content)}"]
            content = content[int(span[1]) : int(span[2]) + 1]
        whole = answer(content, *headers, status="206 Partial Content" if span else "200 OK")
        if left[0] and (target == "/catalog.parquet") == catalog:
            left[0] -= 1
            return fault(connection, whole)
        connection.send(whole)

    with raw_server(serve) as server:
        yield server


FAULTS = {
    "503": lambda connection, whole: connection.send(answer(b"", "Retry-After: 0.01", status="503 Busy")),
    "429 with a strange wait": lambda connection, whole: connection.send(
        answer(b"", "Retry-After: -5", status="429 No")
    ),
    "reset": lambda connection, whole: connection.reset(),
    "closed": lambda connection, whole: None,
    "cut": lambda connection, whole: connection.send(whole[:-1]),
}
NO_HTTP = {"no HTTP": lambda connection, whole: connection.send(b"SSH-2.0\r\n")}


@pytest.mark.parametrize("catalog", [False, True])
@pytest.mark.parametrize("kind", FAULTS)
def test_a_passing_fault_is_got_over(folder, kind, catalog):
    with serving(folder, FAULTS[kind], catalog, times=3) as server:
        assert_same(flatten(skyshards.open(server.url)[:]), flatten(skyshards.open(folder)[:]))


def test_a_short_answer_that_says_so_is_asked_for_again(folder):
    def short(connection, whole):
        head, _, body = whole.partition(b"\r\n\r\n")
        connection.send(answer(body[:-1], "Content-Range: bytes 0-0/*", status="206 Partial Content"))

    with serving(folder, short, times=3) as server:
        assert_same(flatten(skyshards.open(server.url)[:]), flatten(skyshards.open(folder)[:]))


@pytest.mark.parametrize("kind", FAULTS | NO_HTTP)
def test_a_lasting_fault_is_named(folder, kind):
    fault = (FAULTS | NO_HTTP)[kind]
    with serving(folder, fault, times=99) as server:
        with pytest.raises(FolderError, match="hdf5: cannot be read") as caught:
            skyshards.open(server.url)[3]
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("catalog", [False, True])
@pytest.mark.parametrize("filling", [b"", b" " * 1_000_000])
def test_a_page_in_place_of_a_file_is_named(folder, catalog, filling):
    page = b"<!DOCTYPE html><html><head><title>Log in</title>" + filling
    fault = lambda connection, whole: connection.send(answer(page, "Content-Type: text/html"))  # noqa: E731
    message = r"(hdf5|parquet): an HTML page \(Log in\) came in its place; .*log in"
    with serving(folder, fault, catalog, times=99) as server, pytest.raises(FolderError, match=message):
        skyshards.open(server.url)[3]


@pytest.mark.parametrize("kind", ["200 OK", "206 Partial Content", "chunked", "a long page", "an error"])
@pytest.mark.parametrize("catalog", [False, True])
def test_a_body_without_end_is_not_read_on(folder, kind, catalog, monkeypatch):
    """Each flood would last until the test stops it: that the error comes at all shows that it was left."""
    monkeypatch.setattr(bounded_answers, "LARGEST_FILE", 1 << 20)
    block, sent = (b"<html><title>Log in</title>" if kind == "a long page" else b"").ljust(1 << 16), []
    head = {"an error": b"403 Forbidden", "206 Partial Content": b"206 Partial Content"}.get(kind, b"200 OK")
    if kind == "chunked":
        head, block = head + b"\r\nTransfer-Encoding: chunked", b"10000\r\n" + block + b"\r\n"

    def fault(connection, whole):
        connection.send(b"HTTP/1.1 " + head + b"\r\n\r\n")
        while not connection.wait(0):
            connection.send(block)
            sent.append(len(block))

    in_place = "longer than the 1,048,576 bytes" if catalog else "it does not support byte ranges"
    expected = {"an error": "403"}.get(kind, in_place)
    if kind == "a long page" and not catalog:
        expected = r"an HTML page \(Log in\)"
    with serving(folder, fault, catalog, times=99) as server:
        with pytest.raises(FolderError, match=expected):
            skyshards.open(server.url).columns(["noise"])[3]
        assert len(server.requests) == (1 if catalog else 2)
    assert sum(sent) < 64 << 20, "what the sockets hold, and a little"


def drip_body(connection, whole):
    head, end, _ = whole.partition(b"\r\n\r\n")
    connection.send(head + end)
    connection.drip(b"x", 0.2)


SLOW = {
    "silent": lambda connection, whole: connection.hang(),
    "headers that drip": lambda connection, whole: connection.drip(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 999, 0.2),
    "a body that stalls": lambda connection, whole: (connection.send(whole[:-1]), connection.hang()),
    "a body that drips": drip_body,
}


@pytest.mark.parametrize("catalog", [False, True])
@pytest.mark.parametrize("kind", SLOW)
def test_what_is_too_slow_is_asked_for_again(folder, kind, catalog, monkeypatch):
    monkeypatch.setattr(bounded_answers, "TIMEOUT", 1.0)
    monkeypatch.setattr(answers, "SPEED_WINDOW", 1.0)
    with serving(folder, SLOW[kind], catalog) as server:
        assert_same(flatten(skyshards.open(server.url)[:]), flatten(skyshards.open(folder)[:]))


@pytest.mark.parametrize("status", ["403 Forbidden", "401 Unauthorized", "404 Not Found"])
def test_what_will_not_pass_is_not_tried_again(folder, status):
    fault = lambda connection, whole: connection.send(answer(b"", status=status))  # noqa: E731
    with serving(folder, fault, times=99) as server:
        remote = skyshards.open(server.url).columns(["noise"])
        with pytest.raises(FolderError, match="hdf5: cannot be read"):
            remote[3]
        assert len(server.requests) == 2


SIGNATURE = "?Expires=1&Signature=a%2Fb%2Bc%3D&Key=x/"


def test_a_signed_address_is_kept_as_it_is(folder):
    with serving(folder, None, times=0) as server:
        remote = skyshards.open(server.url + "/" + SIGNATURE)
        assert_same(flatten(remote[:]), flatten(skyshards.open(folder)[:]))
        assert all(request.split(" ")[1].endswith(SIGNATURE) for request in server.requests)
        assert server.requests[0].startswith(f"GET /catalog.parquet{SIGNATURE} ")


def test_a_signature_is_in_no_message(folder):
    fault = lambda connection, whole: connection.send(answer(b"", status="403 Forbidden"))  # noqa: E731
    with serving(folder, fault, times=99) as server:
        remote = skyshards.open(server.url + SIGNATURE)
        with pytest.raises(FolderError, match="403") as caught:
            remote[3]
        assert "Signature" not in str(caught.value) + str(remote)
