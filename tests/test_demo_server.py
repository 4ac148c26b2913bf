"""The demo archive as an HTTP server: files, ranges, faults on request, and nothing left behind."""

import hashlib
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

import demo_archive.protocols.sas
from demo_archive import DemoArchive, Fault

SHA1SUM = "manga_morphology_galaxyzoo3d_v4_0_0.sha1sum"


@pytest.fixture
def archive():
    with DemoArchive(galaxies=3) as archive:
        yield archive
        assert archive.errors == []


@pytest.fixture
def name(archive):
    """The name of a file on the server."""
    return re.search('href="([^"]+fits.gz)"', requests.get(archive.sas_url).text)[1]


def test_nothing_is_left_when_the_block_ends():
    before = threading.enumerate()
    with DemoArchive(galaxies=1) as archive, requests.Session() as session:
        address = archive.url.removeprefix("http://").split(":")
        session.get(archive.sas_url)  # leaves a connection open that the server must close
        assert len(threading.enumerate()) > len(before)
    assert threading.enumerate() == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address[0], int(address[1])), timeout=5)


def test_nothing_is_rendered_before_it_is_asked_for_and_then_only_once(monkeypatch):
    rendered = []
    render = demo_archive.protocols.sas.gz3d_file
    monkeypatch.setattr(
        demo_archive.protocols.sas, "gz3d_file", lambda subject: rendered.append(subject) or render(subject)
    )
    with DemoArchive(galaxies=3) as archive:
        page = requests.get(archive.sas_url).text
        assert rendered == []
        name = re.search('href="([^"]+fits.gz)"', page)[1]
        with ThreadPoolExecutor(8) as threads:
            bodies = list(threads.map(lambda _: requests.get(archive.sas_url + name).content, range(8)))
        assert len(rendered) == 1
        assert len(set(bodies)) == 1


@pytest.mark.slow
def test_it_can_be_served_from_the_command_line():
    command = [sys.executable, "-m", "demo_archive", "--galaxies", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            names = [name for name in dir(DemoArchive) if name.endswith("_url")]
            urls = dict(process.stdout.readline().split() for _ in names)
            assert requests.get(urls["sas_url"]).status_code == 200
            assert urls.keys() >= {"tap_url", "hips2fits_url", "sia_url", "zenodo_url", "decals_url"}
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_only_loopback_is_served(archive):
    assert archive.url.startswith("http://127.0.0.1:")


def test_head_tells_the_length_and_sends_no_body(archive, name):
    whole = requests.get(archive.sas_url + name)
    head = requests.head(archive.sas_url + name)
    assert head.headers["Content-Length"] == str(len(whole.content))
    assert head.content == b""


@pytest.mark.parametrize(
    ("header", "part"),
    [("bytes=5-9", slice(5, 10)), ("bytes=100-", slice(100, None)), ("bytes=-7", slice(-7, None))],
)
def test_a_range_is_that_part_of_the_file(archive, name, header, part):
    whole = requests.get(archive.sas_url + name).content
    answer = requests.get(archive.sas_url + name, headers={"Range": header})
    start = range(len(whole))[part].start
    assert answer.status_code == 206
    assert answer.content == whole[part]
    assert answer.headers["Content-Range"] == f"bytes {start}-{start + len(answer.content) - 1}/{len(whole)}"


def test_a_range_past_the_end_is_refused(archive, name):
    answer = requests.get(archive.sas_url + name, headers={"Range": "bytes=999999999-"})
    assert answer.status_code == 416


def test_what_is_not_there_is_404(archive):
    for path in ("nothing.fits.gz", "../", "%2e%2e/%2e%2e/etc/passwd"):
        request = requests.Request("GET", archive.sas_url).prepare()
        request.url = archive.sas_url + path  # as it is: requests would resolve the dots
        assert requests.Session().send(request).status_code == 404


def test_two_connections_are_served_at_once():
    slow = Fault("/", "slow", times=2, delay=0.5)
    with DemoArchive(galaxies=1, faults=[slow]) as archive:
        threads = [threading.Thread(target=requests.get, args=[archive.sas_url]) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert archive.peak_connections == 2


@pytest.mark.parametrize("status", [404, 429, 500, 503])
def test_a_status_fault_answers_so_once(archive, status):
    archive.add_fault(Fault("sha1sum", str(status), retry_after=7))
    answer = requests.get(archive.sas_url + SHA1SUM)
    assert answer.status_code == status
    assert answer.headers["Retry-After"] == "7"
    assert requests.get(archive.sas_url + SHA1SUM).status_code == 200


def test_a_reset_is_a_reset(archive, name):
    archive.add_fault(Fault(name, "reset"))
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        requests.get(archive.sas_url + name)


def test_a_truncated_answer_promises_its_whole_length(archive, name):
    whole = requests.get(archive.sas_url + name).content
    archive.add_fault(Fault(name, "truncate"))
    with requests.get(archive.sas_url + name, stream=True) as answer:
        assert answer.headers["Content-Length"] == str(len(whole))
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            answer.raw.enforce_content_length = True
            answer.content  # noqa: B018


def test_a_bad_checksum_has_the_right_length_and_one_wrong_byte(archive, name):
    whole = requests.get(archive.sas_url + name).content
    archive.add_fault(Fault(name, "bad_checksum"))
    spoiled = requests.get(archive.sas_url + name).content
    assert len(spoiled) == len(whole)
    assert sum(a != b for a, b in zip(spoiled, whole, strict=True)) == 1


def test_a_slow_answer_is_whole_and_does_not_hold_up_the_end():
    with DemoArchive(galaxies=1) as archive:
        page = requests.get(archive.sas_url).content
        archive.add_fault(Fault("v4_0_0/$", "slow", delay=0.2))
        archive.add_fault(Fault("v4_0_0/$", "slow", delay=3600))
        assert requests.get(archive.sas_url).content == page
        with pytest.raises(requests.RequestException):
            requests.get(archive.sas_url, timeout=0.2)


def test_a_fault_strikes_as_often_as_it_says_and_where_it_matches(archive):
    archive.add_fault(Fault("sha1sum", "503", times=2))
    archive.add_fault(Fault("metadata", "404", times=None))
    statuses = [requests.get(archive.sas_url + SHA1SUM).status_code for _ in range(4)]
    assert statuses == [503, 503, 200, 200]
    assert {requests.get(archive.sas_url + "gz3d_metadata.fits").status_code for _ in range(4)} == {404}


def test_an_unknown_fault_is_refused():
    with pytest.raises(ValueError, match="'explode'"):
        Fault("", "explode")


def test_requests_are_logged_in_order(archive):
    requests.get(archive.sas_url, headers={"User-Agent": "tester/1"})
    requests.get(archive.url + "/nothing?Query=1%202")
    first, second = archive.requests
    assert (first.method, first.headers["User-Agent"]) == ("GET", "tester/1")
    assert (second.path, second.get("QUERY")) == ("/nothing", "1 2")
    assert first.time <= second.time


def test_a_zenodo_record_lists_its_file_with_its_md5(archive):
    record = requests.get(archive.zenodo_url + "/api/records/2604740").json()
    (file,) = record["files"]
    body = requests.get(file["links"]["self"]).content
    assert file["key"] == "candels-blender-data.tar.gz"
    assert (file["size"], file["checksum"]) == (len(body), f"md5:{hashlib.md5(body).hexdigest()}")
    assert requests.get(f"{archive.zenodo_url}/records/2604740/files/{file['key']}?download=1").content == body


def test_a_zenodo_record_that_is_not_there_is_404_in_json(archive):
    answer = requests.get(archive.zenodo_url + "/api/records/1")
    assert (answer.status_code, answer.json()["status"]) == (404, 404)
