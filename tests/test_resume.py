"""Large files: taken up where they broke off, in this run or the next, and never put together from two versions."""

import contextlib
import gzip
import hashlib
import json
import random
import subprocess
import sys
import zlib
from types import SimpleNamespace

import pytest
import requests

from skyshards.errors import BrokenAnswer, FetchError
from skyshards.fetch import resume
from skyshards.fetch.answers import body
from skyshards.fetch.client import Fetcher
from skyshards.fetch.ranges import NoRanges, RemoteFile
from skyshards.fetch.resume import content_range
from tests.raw_server import answer, raw_server

OLD, NEW = (random.Random(seed).randbytes(300_000) for seed in (1, 2))
HALF = len(OLD) // 2
MD5 = f"md5:{hashlib.md5(OLD).hexdigest()}"
ETAG = 'ETag: "old"'


@pytest.fixture
def fetcher():
    return Fetcher(timeout=5, retries=3, backoff=0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "archive.zip"


def cut(content=OLD, *headers, at=HALF):
    """The beginning of an answer that announces all of it."""
    return answer(content, *headers)[: -len(content) + at]


def rest(content=OLD, *headers, start=HALF):
    span = f"Content-Range: bytes {start}-{len(content) - 1}/{len(content)}"
    return answer(content[start:], span, *headers, status="206 Partial Content")


def ranges(server):
    return [line for request in server.requests for line in request.split("\r\n") if line.startswith("Range")]


@pytest.mark.parametrize("keep_part", [False, True])
@pytest.mark.parametrize("known", ["checksum", "etag", "date"])
def test_goes_on_after_a_cut(fetcher, path, keep_part, known):
    mark = {"checksum": [], "etag": [ETAG], "date": ["Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT"]}[known]
    checksum = MD5 if known == "checksum" else None
    with raw_server(cut(OLD, *mark), rest(OLD, *mark)) as server:
        fetcher.download(server.url, path, checksum, keep_part=keep_part)
        assert ranges(server) == [f"Range: bytes={HALF}-"]
        assert f"If-Range: {mark[0].partition(': ')[2]}" in server.requests[1] if mark else True
    assert path.read_bytes() == OLD and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("checksum", [MD5, None])
def test_goes_on_in_the_next_run(path, checksum):
    """What a failed run, or a killed one, has left."""
    with raw_server(cut(OLD, ETAG)) as server, pytest.raises(FetchError, match="goes on where this one stopped"):
        Fetcher(retries=0).download(server.url, path, checksum, keep_part=True)
    part = path.with_name("archive.zip.part")
    assert part.read_bytes() == OLD[:HALF] and not path.exists()
    with raw_server(rest(OLD, ETAG)) as server:
        note = part.with_name("archive.zip.part.json")
        note.write_text(json.dumps(json.loads(note.read_text()) | {"url": server.url}))
        Fetcher(retries=0).download(server.url, path, checksum, keep_part=True)
        assert ranges(server) == [f"Range: bytes={HALF}-"]
    assert path.read_bytes() == OLD and list(path.parent.iterdir()) == [path]


@pytest.mark.slow
def test_goes_on_after_kill_9(path):
    code = "import sys; from pathlib import Path; from skyshards.fetch.client import Fetcher\n"
    code += "Fetcher().download(sys.argv[1], Path(sys.argv[2]), keep_part=True)"

    def kill(connection):
        connection.send(cut(OLD, ETAG))
        part = path.with_name("archive.zip.part")
        while not (part.exists() and part.stat().st_size):
            pass
        process.kill()
        process.wait()

    def give_rest(connection):
        start = int(connection.header("Range").removeprefix("bytes=").rstrip("-"))
        assert 0 < start <= HALF and connection.header("If-Range") == '"old"'
        connection.send(rest(OLD, ETAG, start=start))

    with raw_server(kill, give_rest) as server:
        process = subprocess.Popen([sys.executable, "-c", code, server.url, path])
        process.wait(timeout=60)
        Fetcher(retries=0).download(server.url, path, keep_part=True)
    assert path.read_bytes() == OLD and list(path.parent.iterdir()) == [path]


OTHER = 'ETag: "new"'
CHANGED = {
    "If-Range is honoured": [answer(NEW, OTHER)],
    "If-Range is not known, but the mark differs": [rest(NEW, OTHER), answer(NEW, OTHER)],
}


@pytest.mark.parametrize("case", CHANGED)
def test_a_file_that_has_changed_is_fetched_whole(fetcher, path, case):
    with raw_server(cut(OLD, ETAG), *CHANGED[case]) as server:
        fetcher.download(server.url, path, keep_part=True)
    assert path.read_bytes() == NEW


def test_without_mark_and_checksum_nothing_is_put_together(fetcher, path):
    with raw_server(cut(OLD, 'ETag: W/"weak"'), answer(NEW)) as server:
        fetcher.download(server.url, path, keep_part=True)
        assert ranges(server) == []
    assert path.read_bytes() == NEW


def test_a_checksum_finds_what_no_mark_tells(fetcher, path):
    """The part is of another file, and the server says nothing of it: one download is lost, not the build."""
    with raw_server(cut(NEW), rest(OLD), answer(OLD)) as server:
        fetcher.download(server.url, path, MD5, keep_part=True)
    assert path.read_bytes() == OLD


BAD_RANGES = {
    "ignored": answer(OLD),
    "416": answer(b"", status="416 Range Not Satisfiable"),
    "416 of another length": answer(b"", "Content-Range: bytes */17", status="416 Range Not Satisfiable"),
    "501": answer(b"no", status="501 Not Implemented"),
    "400": answer(b"no", status="400 Bad Request"),
    "0-0/*": answer(OLD[:1], "Content-Range: bytes 0-0/*", status="206 Partial Content"),
    "no Content-Range": answer(OLD[HALF:], status="206 Partial Content"),
    "another range": rest(OLD, start=17),
    "multipart": answer(b"--x\r\n", "Content-Type: multipart/byteranges; boundary=x", status="206 Partial Content"),
    "nonsense": answer(OLD[HALF:], "Content-Range: bytes many", status="206 Partial Content"),
}


@pytest.mark.parametrize("kind", BAD_RANGES)
def test_bad_ranges_cost_the_range_and_not_the_download(fetcher, path, kind):
    with raw_server(cut(OLD, ETAG), BAD_RANGES[kind], answer(OLD, ETAG)) as server:
        assert fetcher.download(server.url, path, MD5, keep_part=True).read_bytes() == OLD
        assert len(server.requests) <= 3


def test_ranges_shorter_than_asked_for_are_put_together(fetcher, path):
    def short(start, stop):
        return answer(
            OLD[start:stop], f"Content-Range: bytes {start}-{stop - 1}/{len(OLD)}", status="206 Partial Content"
        )

    with raw_server(cut(OLD, ETAG), short(HALF, HALF + 1000), rest(start=HALF + 1000)) as server:
        assert fetcher.download(server.url, path).read_bytes() == OLD


def test_a_part_that_is_whole_is_not_asked_for_again(fetcher, path):
    """Killed after the last byte."""
    path.with_name("archive.zip.part").write_bytes(OLD)
    with raw_server(answer(b"", f"Content-Range: bytes */{len(OLD)}", status="416 Range Not Satisfiable")) as server:
        fetcher.download(server.url, path, MD5, keep_part=True)
    path.replace(path.with_name("archive.zip.part"))
    with raw_server(answer(b"")) as server:
        fetcher.download(server.url, path, MD5, size=len(OLD), keep_part=True)
        assert server.requests == []
    assert path.read_bytes() == OLD


@pytest.mark.parametrize("suffix", [".part", ".part.json"])
def test_a_link_is_not_followed(fetcher, path, tmp_path, suffix):
    (tmp_path / "other").write_bytes(OLD[:10])
    path.with_name(f"archive.zip{suffix}").symlink_to(tmp_path / "other")
    with raw_server(answer(OLD, ETAG)) as server:
        fetcher.download(server.url, path, MD5, keep_part=True)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"other": OLD[:10], "archive.zip": OLD}


def test_progress_gives_new_tries(path, monkeypatch):
    """Twenty cuts of a large file, and two retries."""
    monkeypatch.setattr(resume, "PROGRESS", 1000)

    def some(connection):
        start = int((connection.header("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        connection.send((rest(OLD, ETAG, start=start) if start else answer(OLD, ETAG))[: 15_000 + 200])

    with raw_server(some) as server:
        Fetcher(retries=2, backoff=0).download(server.url, path, MD5)
        assert len(server.requests) > 15
    assert path.read_bytes() == OLD


@pytest.mark.parametrize("keep_part", [True, False])
def test_a_large_download_shows_its_bytes(path, keep_part):
    shown = []

    @contextlib.contextmanager
    def progress(*bar):
        shown.append([*bar])
        yield SimpleNamespace(update=lambda nbytes: shown[-1].append(nbytes))

    with raw_server(cut(OLD, ETAG), rest(OLD, ETAG)) as server:
        Fetcher(retries=1, backoff=0, progress=progress).download(server.url, path, keep_part=keep_part)
    found = [(*bar[:4], sum(bar[4:])) for bar in shown]
    name = "archive.zip"
    bars = [(name, "B", len(OLD), 0, HALF), (name, "B", len(OLD), HALF, len(OLD) - HALF)]
    assert found == (bars if keep_part else [])


def test_no_progress_ends(path):
    with raw_server(cut(OLD, ETAG), rest(OLD, ETAG)[:-HALF]) as server, pytest.raises(FetchError, match="Incomplete"):
        Fetcher(retries=4, backoff=0).download(server.url, path, MD5)
    assert len(server.requests) == 5


def test_a_page_in_its_place_does_not_cost_the_part(path):
    page = answer(b"<!DOCTYPE html><title>Log in to\x1b[31m the archive</title>")
    message = r"an HTML page \(Log in to \[31m the archive\) came in its place"
    with raw_server(cut(OLD, ETAG), page) as server, pytest.raises(FetchError, match=message):
        Fetcher(retries=1, backoff=0).download(server.url, path, keep_part=True)
    assert path.with_name("archive.zip.part").stat().st_size == HALF


@pytest.mark.parametrize("size", [len(OLD) - 1, len(OLD) + 1, 0])
def test_another_length_than_published_is_refused(fetcher, path, size):
    with raw_server(answer(OLD)) as server, pytest.raises(FetchError, match=f"bytes|{size}"):
        fetcher.download(server.url, path, size=size)
    assert not path.exists()


def test_an_endless_body_ends(fetcher, path):
    def endless(connection):
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
        connection.flood(bytes(100_000))

    with raw_server(endless) as server:
        with pytest.raises(FetchError, match="longer than the 1000000 bytes"):
            fetcher.download(server.url, path, max_bytes=1_000_000)
        with pytest.raises(FetchError, match="longer than the 1000000 bytes"):
            fetcher.get(server.url, max_bytes=1_000_000)
    assert list(path.parent.iterdir()) == []


def test_a_page_that_inflates_beyond_bounds_is_refused(fetcher):
    bomb = gzip.compress(bytes(30_000_000))
    message = "longer than the 1000000 bytes"
    with raw_server(answer(bomb, "Content-Encoding: gzip")) as server, pytest.raises(FetchError, match=message):
        fetcher.get(server.url, max_bytes=1_000_000)


def test_a_body_that_inflates_to_nothing_ends(fetcher):
    """A gzip header whose file name has no end."""

    def endless_name(connection):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x08\0\0\0\0\0\x03")
        connection.flood(b"x" * 100_000)

    with raw_server(endless_name) as server, pytest.raises(FetchError, match="longer than the 1000000 bytes"):
        fetcher.get(server.url, max_bytes=1_000_000)


@pytest.mark.parametrize("content", [b"", b"x", bytes(1 << 17), OLD, bytes(200_001)])
@pytest.mark.parametrize("parts", [1, 3])
def test_a_page_of_any_size_is_inflated(fetcher, content, parts):
    packed = b"".join(gzip.compress(content) for _ in range(parts)) + b"\0\0"
    with raw_server(answer(packed, "Content-Encoding: gzip")) as server:
        assert fetcher.get(server.url).content == content * parts
    with raw_server(answer(zlib.compress(content), "Content-Encoding: deflate")) as server:
        assert fetcher.get(server.url).content == content


@pytest.mark.parametrize(
    ("body", "encoding", "words"),
    [
        (gzip.compress(OLD)[:-9], "gzip", "breaks off"),
        (b"no gzip", "gzip", "cannot be inflated"),
        (b"?", "br\x1b[31m", "expected gzip"),
    ],
)
def test_a_page_that_cannot_be_inflated_is_named(body, encoding, words):
    with (
        raw_server(answer(body, f"Content-Encoding: {encoding}")) as server,
        pytest.raises(FetchError, match=words) as caught,
    ):
        Fetcher(retries=0).get(server.url)
    assert str(caught.value).isprintable()


def test_what_is_too_slow_is_asked_for_again(path, monkeypatch):
    monkeypatch.setattr("skyshards.fetch.answers.SPEED_WINDOW", 0.3)

    def drip(connection):
        connection.send(cut(OLD, ETAG, at=1000))
        connection.drip(OLD[1000:1100], 0.05)

    def give_rest(connection):
        connection.send(rest(OLD, ETAG, start=int(connection.header("Range").removeprefix("bytes=").rstrip("-"))))

    with raw_server(drip, give_rest) as server:
        assert Fetcher(retries=1, backoff=0).download(server.url, path).read_bytes() == OLD
    with raw_server(drip) as server, pytest.raises(FetchError, match="slower than 1000 bytes a second"):
        Fetcher(retries=0).get(server.url)


HEADERS = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEADERS + b"Transfer-Encoding: chunked\r\n\r\n"
DROPS = {
    "a status": (b"", b"HTTP/1.1 200 " + b"O" * 1000, 0.02),
    "headers": (HEADERS, b"X-Header: a value\r\n", 0.02),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.001),
    "the length of a chunk": (CHUNKED, b"5;" + b"x" * 1000, 0.02),
    "trailers": (CHUNKED + b"5\r\nhello\r\n0\r\n", b"X-Trailer: a value\r\n", 0.001),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", DROPS)
@pytest.mark.parametrize("way", ["session", "get", "download"])
def test_what_stands_around_a_body_comes_within_the_time_out(path, what, way):
    """Drop by drop, so that the wait for none is long."""
    start, drops, seconds = DROPS[what]

    def take(response):
        try:
            list(body(response, 1000))
        except BrokenAnswer as error:
            raise requests.ConnectionError(str(error)) from error

    def drip(connection):
        connection.send(start)
        connection.drip(drops, seconds)

    fetcher = Fetcher(timeout=0.25, retries=1, backoff=0)
    with raw_server(drip) as server:
        with pytest.raises((FetchError, requests.RequestException), match="timed out"):
            if way == "session":
                fetcher.retrying_session(take).get(server.url)
            elif way == "get":
                fetcher.get(server.url)
            else:
                fetcher.download(server.url, path)
        assert len(server.requests) >= 2


def test_a_proxy_answers_within_the_time_out(monkeypatch):
    with raw_server(lambda connection: connection.drip(b"HTTP/1.1 200 " + b"O" * 1000, 0.02)) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        with pytest.raises(FetchError, match="timed out"):
            Fetcher(timeout=0.5, retries=0).get("https://archive.example/")
        assert server.requests[0].startswith("CONNECT archive.example:443")


def test_content_range():
    assert content_range({"Content-Range": "bytes 5-9/10"}) == (5, 10)
    assert content_range({"Content-Range": "bytes 0-0/*"}) == (0, None)
    assert content_range({"Content-Range": "bytes */10"}) == (None, 10)
    for text in ("", "bytes", "bytes 5-9", "items 5-9/10", "bytes -5/10", "bytes 5-9/" + "9" * 30):
        assert content_range({"Content-Range": text} if text else {}) == (None, None)


# A remote file, read by ranges.


@pytest.mark.parametrize("kind", [kind for kind in BAD_RANGES if kind not in ("another range",)])
def test_a_server_without_ranges_is_named(fetcher, kind):
    with raw_server(BAD_RANGES[kind]) as server, pytest.raises(NoRanges, match="gives no byte ranges .HTTP status"):
        RemoteFile(server.url, fetcher)


def test_a_remote_file_that_changes_meanwhile_is_refused(fetcher):
    first = answer(OLD[:1], f"Content-Range: bytes 0-0/{len(OLD)}", ETAG, status="206 Partial Content")
    for then in (rest(NEW, OTHER, start=HALF), rest(OLD + b"x", ETAG, start=HALF)):
        with raw_server(first, then) as server:
            remote = RemoteFile(server.url, fetcher)
            remote.seek(HALF)
            with pytest.raises(FetchError, match="has changed on the server"):
                remote.read(len(OLD) - HALF)


def test_a_remote_range_is_asked_for_again_after_faults(fetcher):
    first = answer(OLD[:1], f"Content-Range: bytes 0-0/{len(OLD)}", ETAG, status="206 Partial Content")
    busy = answer(b"", status="503 Service Unavailable")
    whole = rest(OLD, ETAG)
    with raw_server(busy, first, busy, lambda connection: connection.reset(), whole[:-10], whole) as server:
        remote = RemoteFile(server.url, fetcher)
        remote.seek(HALF)
        assert remote.read(len(OLD) - HALF) == OLD[HALF:]
