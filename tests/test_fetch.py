"""HTTP: what arrives is whole and right, or there is a `FetchError` of one line and no file."""

import contextlib
import email.utils
import gzip
import hashlib
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from demo_archive import DemoArchive, Fault
from skyshards.errors import FetchError
from skyshards.fetch.answers import reason, retry_after
from skyshards.fetch.client import Fetcher
from skyshards.fetch.rate import RateLimit
from skyshards.fetch.zenodo import RecordFile, record_files
from skyshards.files import file_digest
from tests.raw_server import answer as raw_answer
from tests.raw_server import raw_server

SHA1SUM = "manga_morphology_galaxyzoo3d_v4_0_0.sha1sum"


@pytest.fixture(scope="module")
def archive():
    with DemoArchive(galaxies=2) as archive:
        yield archive
        assert archive.errors == []


@pytest.fixture(scope="module")
def whole(archive):
    """Name and content of a file of the archive."""
    name = re.search('href="([^"]+fits.gz)"', requests.get(archive.sas_url).text)[1]
    return name, requests.get(archive.sas_url + name).content


@pytest.fixture
def fetcher():
    return Fetcher(timeout=5, retries=3, backoff=0)


@pytest.fixture
def spoil(archive, whole):
    """Add a fault; gives a URL that it strikes, and no other."""

    def spoil(kind, name=whole[0], **options):
        url = f"{archive.sas_url}{name}?number={len(archive.requests)}"
        archive.add_fault(Fault(f"{re.escape(url.removeprefix(archive.url))}$", kind, **options))
        return url

    return spoil


def requests_for(archive, url):
    return [request for request in archive.requests if archive.url + request.target == url]


@contextlib.contextmanager
def serving(*answers):
    """A server that gives raw answers, one a request, and the last one to all that follow."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.close_connection = True
            self.wfile.write(left.pop(0) if len(left) > 1 else left[0])

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}/file.fits.gz"
        finally:
            httpd.shutdown()
            thread.join()


def answer(body, *headers, status="200 OK"):
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + body


def assert_one_line(error, url):
    assert url in str(error) and "\n" not in str(error) and "0x" not in str(error)


def test_a_download_is_the_file(archive, whole, fetcher, tmp_path):
    path = tmp_path / "folder" / "file.gz"
    assert fetcher.download(archive.sas_url + whole[0], path) == path
    assert path.read_bytes() == whole[1]
    assert path.stat().st_mode & 0o044, "others may read it too"


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
def test_checksums(archive, whole, fetcher, tmp_path, algorithm):
    digest = hashlib.new(algorithm, whole[1]).hexdigest()
    for written in (digest, digest.upper()):
        path = fetcher.download(archive.sas_url + whole[0], tmp_path / written, f"{algorithm}:{written}")
        assert file_digest(path, algorithm) == digest


@pytest.mark.parametrize("kind", ["429", "500", "502", "503", "504", "reset", "truncate", "bad_checksum"])
def test_a_passing_fault_is_got_over(archive, whole, fetcher, spoil, tmp_path, kind):
    url = spoil(kind, times=2)
    path = fetcher.download(url, tmp_path / "file", f"sha1:{hashlib.sha1(whole[1]).hexdigest()}")
    assert path.read_bytes() == whole[1]
    assert len(requests_for(archive, url)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


LASTING = {
    "429": "HTTP status 429",
    "503": "HTTP status 503 Service Unavailable, expected 200",
    "reset": "reset by peer",
    "truncate": "bytes|IncompleteRead",
    "bad_checksum": "wrong checksum: expected sha1:[0-9a-f]{40}, found sha1:[0-9a-f]{40}",
}


@pytest.mark.parametrize("kind", LASTING)
def test_a_lasting_fault_is_named_and_leaves_nothing(archive, whole, fetcher, spoil, tmp_path, kind):
    url = spoil(kind, times=None)
    with pytest.raises(FetchError, match=LASTING[kind]) as caught:
        fetcher.download(url, tmp_path / "file", f"sha1:{hashlib.sha1(whole[1]).hexdigest()}")
    assert_one_line(caught.value, url)
    assert len(requests_for(archive, url)) == 4, "the first try and three more"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", ["400", "403", "404", "410"])
def test_what_will_not_pass_is_not_tried_again(archive, fetcher, spoil, tmp_path, status):
    url = spoil(status, times=None)
    with pytest.raises(FetchError, match=f"HTTP status {status}") as caught:
        fetcher.download(url, tmp_path / "file")
    assert_one_line(caught.value, url)
    assert len(requests_for(archive, url)) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", ["429", "503"])
def test_retry_after_is_waited_for(archive, fetcher, spoil, tmp_path, status):
    url = spoil(status, retry_after=1)
    fetcher.download(url, tmp_path / "file")
    first, second = requests_for(archive, url)
    assert second.time - first.time >= 1.0


def test_a_silent_server_runs_into_the_time_out(archive, spoil, tmp_path):
    url = spoil("silence", times=None)
    with pytest.raises(FetchError, match="timed out") as caught:
        Fetcher(timeout=0.1, retries=1, backoff=0).download(url, tmp_path / "file")
    assert_one_line(caught.value, url)
    assert len(requests_for(archive, url)) == 2


def test_a_body_that_stalls_runs_into_the_time_out_and_is_asked_for_again(archive, whole, spoil, tmp_path):
    url = spoil("slow", delay=30)
    path = Fetcher(timeout=0.2, retries=1, backoff=0).download(url, tmp_path / "file")
    assert path.read_bytes() == whole[1]
    assert len(requests_for(archive, url)) == 2


def test_a_slow_body_is_waited_for_while_bytes_come(archive, whole, spoil, tmp_path):
    url = spoil("slow", delay=1.0)
    path = Fetcher(timeout=0.5, retries=0).download(url, tmp_path / "file")
    assert path.read_bytes() == whole[1]


@pytest.mark.parametrize(
    "connection", ["HTTPConnection(host='127.0.0.1', port=9)", "<urllib3.connection.HTTPConnection object at 0x7f1a>"]
)
def test_what_any_urllib3_says_of_a_connection_is_left_out(connection):
    error = ConnectionError(f"{connection}: Failed to establish a new connection: [Errno 111] Connection refused")
    assert reason(error) == "ConnectionError: Failed to establish a new connection: [Errno 111] Connection refused"


def test_a_closed_port_is_named(tmp_path):
    with serving(b"") as url:
        pass
    with pytest.raises(FetchError, match="refused") as caught:
        Fetcher(retries=1, backoff=0).download(url, tmp_path / "file")
    assert_one_line(caught.value, url)


@pytest.mark.parametrize("url", ["no-scheme/file", "ftp://127.0.0.1/file", "http://[::1", "file:///etc/passwd", ""])
def test_an_impossible_url_is_a_fetch_error(fetcher, tmp_path, url):
    with pytest.raises(FetchError) as caught:
        fetcher.download(url, tmp_path / "file")
    assert_one_line(caught.value, url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [0, 1, 1000])
def test_a_body_without_a_length_is_taken_as_it_ends(tmp_path, fetcher, length):
    with serving(answer(b"x" * length)) as url:
        assert fetcher.download(url, tmp_path / "file").read_bytes() == b"x" * length


def test_a_chunked_body_must_end(tmp_path, fetcher):
    cut = answer(b"5\r\nhello\r\n", "Transfer-Encoding: chunked")
    with serving(cut, answer(b"5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked")) as url:
        assert fetcher.download(url, tmp_path / "file").read_bytes() == b"hello"
    with serving(cut) as url, pytest.raises(FetchError) as caught:
        fetcher.download(url, tmp_path / "other")
    assert_one_line(caught.value, url)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("headers", [["Content-Length: many"], ["Content-Length: -7"]], ids=["word", "negative"])
def test_a_nonsensical_length_is_no_traceback(tmp_path, headers):
    with serving(answer(b"hello", *headers)) as url, contextlib.suppress(FetchError):
        assert Fetcher(retries=0).download(url, tmp_path / "file").read_bytes() == b"hello"


def test_no_http_at_all_is_named(tmp_path):
    with serving(b"SSH-2.0-OpenSSH\r\n") as url, pytest.raises(FetchError) as caught:
        Fetcher(retries=0).download(url, tmp_path / "file")
    assert_one_line(caught.value, url)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip"])
def test_a_gzip_file_stays_one(tmp_path, fetcher, encoding):
    """Some servers send a .gz file with `Content-Encoding: gzip`; inflated, it would not be the file any more."""
    body = gzip.compress(b"SIMPLE  =" * 1000)
    with serving(answer(body, f"Content-Encoding: {encoding}", f"Content-Length: {len(body)}")) as url:
        assert fetcher.download(url, tmp_path / "file.fits.gz").read_bytes() == body
        assert fetcher.download(url, tmp_path / "file.csv").read_bytes() == gzip.decompress(body)


@pytest.mark.parametrize("headers", [["Content-Length: 1001"], []], ids=["announced", "not announced"])
def test_a_body_longer_than_allowed_is_refused(tmp_path, fetcher, headers):
    with serving(answer(b"x" * 1001, *headers)) as url:
        with pytest.raises(FetchError, match="1000") as caught:
            fetcher.download(url, tmp_path / "file", max_bytes=1000)
        assert_one_line(caught.value, url)
        assert list(tmp_path.iterdir()) == []
        fetcher.download(url, tmp_path / "file", max_bytes=1001)


def test_a_redirect_is_followed(archive, whole, tmp_path, fetcher):
    target = archive.sas_url + whole[0]
    with serving(answer(b"", f"Location: {target}", "Content-Length: 0", status="302 Found")) as url:
        assert fetcher.download(url, tmp_path / "file").read_bytes() == whole[1]


def test_redirects_in_a_circle_are_named(tmp_path, fetcher):
    circle = answer(b"", "Location: /again", "Content-Length: 0", "Connection: close", status="302 Found")
    with serving(circle) as url, pytest.raises(FetchError, match="redirect") as caught:
        fetcher.download(url, tmp_path / "file")
    assert_one_line(caught.value, url)


def test_a_file_that_is_there_is_kept_if_it_is_right(archive, whole, tmp_path, fetcher):
    path, url = tmp_path / "file", f"{archive.sas_url}{whole[0]}?there"
    checksum = f"sha1:{hashlib.sha1(whole[1]).hexdigest()}"
    path.write_bytes(whole[1])
    fetcher.download(url, path, checksum)
    fetcher.download(url, path)
    assert requests_for(archive, url) == []
    path.write_bytes(whole[1][:-1])
    fetcher.download(url, path, checksum)
    assert path.read_bytes() == whole[1] and len(requests_for(archive, url)) == 1


def test_a_wrong_file_that_cannot_be_fetched_again_stays_as_it_was(archive, whole, tmp_path, fetcher, spoil):
    path, url = tmp_path / "file", spoil("truncate", times=None)
    path.write_bytes(b"something else")
    with pytest.raises(FetchError):
        fetcher.download(url, path, f"sha1:{hashlib.sha1(whole[1]).hexdigest()}")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"something else"}


@pytest.mark.parametrize("kind", ["503", "reset", "truncate"])
def test_a_page_is_got_over_a_passing_fault_too(archive, fetcher, spoil, kind):
    """A listing that is cut short is as good a reason to ask again as a file that is."""
    url = spoil(kind, SHA1SUM, times=2)
    assert fetcher.get(url).text == fetcher.get(archive.sas_url + SHA1SUM).text
    assert len(requests_for(archive, url)) == 3


def test_get_passes_parameters_and_names_errors(archive, fetcher):
    assert fetcher.get(archive.sas_url, params={"a": "b c"}).url.endswith("?a=b+c")
    with pytest.raises(FetchError, match="404") as caught:
        fetcher.get(archive.url + "/nothing")
    assert_one_line(caught.value, archive.url + "/nothing")


def test_the_archive_can_tell_who_asks(archive, fetcher):
    url = archive.sas_url + "?who"
    fetcher.get(url)
    (request,) = requests_for(archive, url)
    assert request.headers["User-Agent"].startswith("skyshards")


def test_every_thread_has_one_session(archive, fetcher):
    barrier = threading.Barrier(3)

    def sessions(_):
        barrier.wait(timeout=10)
        return fetcher.session, fetcher.session

    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(sessions, range(3)))
    assert all(first is second for first, second in found)
    assert len({id(first) for first, _ in found}) == 3


def test_many_threads_at_once_get_their_own_files(archive, whole, fetcher, tmp_path):
    def download(number):
        return fetcher.download(f"{archive.sas_url}{whole[0]}?n={number}", tmp_path / str(number))

    with ThreadPoolExecutor(8) as threads:
        paths = list(threads.map(download, range(40)))
    assert all(path.read_bytes() == whole[1] for path in paths)
    assert len(list(tmp_path.iterdir())) == 40


def test_waits_grow_and_are_bounded(monkeypatch, archive, spoil, tmp_path):
    waits = []
    monkeypatch.setattr("skyshards.fetch.client.pause", waits.append)
    url = spoil("bad_checksum", times=None)
    with pytest.raises(FetchError):
        Fetcher(retries=12, backoff=0.5).download(url, tmp_path / "file", "md5:" + "0" * 32)
    assert waits == sorted(waits) and waits[-1] == 60
    assert waits[1] / waits[0] == 2


HOUR = 3600.0
WAITS = {
    "7": 7.0,
    "0.493": 0.493,
    " 2 ": 2.0,
    "0": None,
    "-5": None,
    "soon": None,
    "": None,
    "1e3": None,
    "86400": 86400.0,
    "9" * 400: float("inf"),
    "Fri, 31 Dec 99999 23:59:59 GMT": float("inf"),
    "Fri, 31 Dec 1999 23:59:59 GMT": None,
    "Fri, 99 Xyz 2030 99:99:99 GMT": None,
}


@pytest.mark.parametrize("text", WAITS)
def test_any_retry_after_is_read_as_a_sensible_wait(text):
    assert retry_after({"Retry-After": text}) == WAITS[text]


def test_a_date_is_waited_for():
    assert 50 < retry_after({"Retry-After": email.utils.formatdate(time.time() + 60, usegmt=True)}) < 61
    assert retry_after({}) is None


@pytest.mark.parametrize("text", [text for text in WAITS if text])
@pytest.mark.parametrize("how", ["get", "download", "session"])
def test_no_retry_after_loses_a_source_or_waits_for_more_than_an_hour(monkeypatch, tmp_path, text, how):
    waits, slept = [], []
    monkeypatch.setattr("skyshards.fetch.client.pause", slept.append)
    monkeypatch.setattr(RateLimit, "hold", lambda self, seconds: None)
    fetcher = Fetcher(retries=1, on_wait=lambda *wait: waits.append(wait[1:]))
    busy = answer(b"", "Connection: close", f"Retry-After: {text}", status="503 Busy")
    with serving(busy, answer(b"hello", "Connection: close")) as url:
        if how == "get":
            assert fetcher.get(url).content == b"hello"
        elif how == "download":
            assert fetcher.download(url, tmp_path / "file").read_bytes() == b"hello"
        else:
            assert fetcher.retrying_session().get(url).content == b"hello"
    asked = WAITS[text]
    assert slept == [0.5 if asked is None else min(asked, HOUR)]
    assert waits == [(slept[0], asked)]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_is_not_asked_for_what_is_on_this_machine(archive, monkeypatch, tmp_path, name):
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    for no_proxy in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(no_proxy, raising=False)
    fetcher = Fetcher(retries=0)
    for url in (archive.sas_url, archive.sas_url.replace("127.0.0.1", "localhost")):
        assert fetcher.get(url).status_code == fetcher.retrying_session().get(url).status_code == 200
    with pytest.raises(FetchError, match="[Pp]roxy"):
        fetcher.get("http://archive.invalid/file")


def test_a_redirect_with_an_endless_body_is_followed(archive, fetcher):
    def endless(connection):
        connection.send(f"HTTP/1.1 302 Found\r\nLocation: {archive.sas_url}\r\n\r\n".encode())
        connection.flood(bytes(100_000))

    with raw_server(endless) as server:
        assert fetcher.get(server.url).url == archive.sas_url


def test_an_error_with_an_endless_page_is_an_error(fetcher):
    def endless(connection):
        connection.send(b"HTTP/1.1 404 Not\x1b[31m Found\r\n\r\n")
        connection.flood(b"no such file\x1b[31m ")

    with raw_server(endless) as server, pytest.raises(FetchError, match="HTTP status 404: no such file") as caught:
        fetcher.get(server.url)
    assert str(caught.value).isprintable()


RECORD = {"key": "a.zip", "links": {"self": "http://127.0.0.1:9/a.zip"}}


@pytest.mark.parametrize(
    ("checksum", "found"),
    [
        ("md5:" + "A" * 32, "md5:" + "a" * 32),
        ("a" * 32, "md5:" + "a" * 32),
        ("a" * 40, "sha1:" + "a" * 40),
        ("SHA-256:" + "a" * 64, "sha256:" + "a" * 64),
        ("crc32:abcdabcd", None),
        ("md5:short", None),
        ("", None),
        (None, None),
    ],
)
def test_checksums_of_a_record(fetcher, checksum, found):
    body = json.dumps({"files": [RECORD | {"checksum": checksum, "size": 7}]}).encode()
    with raw_server(raw_answer(body)) as server:
        assert record_files(server.url, fetcher) == {"a.zip": RecordFile(RECORD["links"]["self"], found, 7)}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html><head><title>Sign in</title>", r"found an HTML page \(Sign in\)"),
        (b"[]", "found none"),
        (b'{"files": [{"key": "a"}]}', "found none"),
        (b'{"files": [1]}', "found none"),
        (b"\xff\xfe", "found none"),
    ],
)
def test_what_is_no_record_is_named(fetcher, body, message):
    with raw_server(raw_answer(body)) as server, pytest.raises(FetchError, match=message) as caught:
        record_files(server.url, fetcher)
    assert_one_line(caught.value, server.url)
