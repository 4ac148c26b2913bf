"""Cutouts from hips2fits: the URL, and what is done when something is wrong."""

import threading
import time
from urllib.parse import parse_qs, urlsplit

import pytest

import gz_sdss
from demo_archive.serve.faults import Fault
from demo_archive.serve.server import Response
from gz_sdss import Hips2Fits_access, download_with_retries, hips2fits
from skyshards.errors import FetchError, SourceError
from skyshards.fetch.mirrors import PoliteClient
from tests.gz_sdss.conftest import picture

PLACE = (180.25, -1.5, 6.0)


def download(*servers, place=PLACE, client=None, **options):
    options = {"max_retries": 3, "delay": 0.01} | options
    urls = [f"{server.url}/hips2fits" for server in servers]
    return download_with_retries(*place, **options, hips2fits_urls=urls, client=client or PoliteClient())


def image(**kwargs):
    return lambda request: Response(picture(**kwargs), "image/jpeg")


def test_url():
    url = Hips2Fits_access(*PLACE)
    address, parameters = url.partition("?")[0], parse_qs(urlsplit(url).query)
    assert address == "https://alasky.cds.unistra.fr/hips-image-services/hips2fits"
    assert float(parameters.pop("fov")[0]) == 2 * 6.0 * 1.25 / 3600
    assert parameters == {
        "hips": ["CDS/P/SDSS9/color"],
        "width": ["64"],
        "height": ["64"],
        "projection": ["TAN"],
        "coordsys": ["icrs"],
        "ra": ["180.25"],
        "dec": ["-1.5"],
        "format": ["jpg"],
    }


def test_url_of_another_size_and_survey():
    parameters = parse_qs(urlsplit(Hips2Fits_access(*PLACE, 128, 32, "CDS/P/DSS2/color")).query)
    assert [parameters[name] for name in ("width", "height", "hips")] == [["128"], ["32"], ["CDS/P/DSS2/color"]]


@pytest.mark.parametrize(
    "arguments",
    [
        (float("nan"), 0.0, 5.0),
        (0.0, 90.1, 5.0),
        (0.0, 0.0, 0.0),
        (0.0, 0.0, float("nan")),
        (0.0, 0.0, -9999.0),
        (0.0, 0.0, 5.0, 10_000, 5_001),
        (0.0, 0.0, 5.0, 0, 64),
    ],
)
def test_refuses_what_the_service_would(arguments):
    with pytest.raises(SourceError, match="expected"):
        Hips2Fits_access(*arguments)


def test_gives_the_jpeg_s_own_bytes(serve):
    assert download(serve(image())) == picture()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (image(blank=True), "blank image.* outside the survey"),
        (image(width=63), "expected an image of 64 x 64 pixels, found 63 x 64"),
        (image(mode="L"), "expected a JPEG in RGB, found mode L"),
        (image(mode="CMYK"), "expected a JPEG in RGB, found mode CMYK"),
        (lambda request: Response(picture() + bytes(10_000_000), "image/jpeg"), "longer than"),
        (
            lambda request: Response(b'{"title": "Bad Request", "description": "unknown HiPS"}', status=400),
            "HTTP status 400: Bad Request: unknown HiPS",
        ),
    ],
)
def test_what_no_other_try_can_mend_is_not_tried_again(serve, answer, message):
    server = serve(answer)
    with pytest.raises(FetchError, match=message):
        download(server)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: Response(picture()[:-200], "image/jpeg"),
        lambda request: Response(b"", "image/jpeg"),
        lambda request: Response(b"<html>try later</html>", "text/html"),
        image(format="PNG"),
    ],
)
def test_a_broken_image_is_asked_for_again_and_never_kept(serve, answer):
    server = serve(answer)
    with pytest.raises(FetchError, match="JPEG.*tried 3 times"):
        download(server)
    assert len(server.requests) == 3


@pytest.mark.parametrize("kind", ["429", "500", "502", "503", "504", "reset", "truncate"])
def test_passing_faults_are_got_over(serve, kind):
    server = serve(image(), Fault("hips2fits", kind, 2))
    assert download(server) == picture()
    assert len(server.requests) == 3


def test_a_silent_server_is_given_up(serve):
    server = serve(image(), Fault("hips2fits", "silence", None))
    with pytest.raises(FetchError, match="[Tt]imed? ?out.*tried 2 times"):
        download(server, max_retries=2, client=PoliteClient(timeout=0.2))


def test_the_service_s_message_comes_through_after_all_tries(serve):
    message = b'{"title": "Service Unavailable", "description": "the disks are being moved"}'
    server = serve(lambda request: Response(message, "application/json", 503))
    with pytest.raises(FetchError, match="503: Service Unavailable: the disks are being moved; tried 3 times"):
        download(server, max_retries=3)


@pytest.mark.parametrize("max_retries", [0, 1, 5])
def test_max_retries_is_the_number_of_requests(serve, max_retries):
    """As in the loop of the code that this stands for."""
    server = serve(lambda request: Response(b"", "text/plain", 503))
    with pytest.raises(FetchError, match="503"):
        download(server, max_retries=max_retries, delay=0.0)
    assert len(server.requests) == max(max_retries, 1)


def test_the_session_asks_again(serve):
    server = serve(image(), Fault("", "503", 1, retry_after=0))
    assert gz_sdss.session.get(server.url).content == picture()
    assert len(server.requests) == 2


def test_retry_after_holds_all_threads(serve):
    server = serve(image(), Fault("ra=1.0", "429", 1, retry_after=1))
    client = PoliteClient()
    first = threading.Thread(target=download, args=(server,), kwargs={"place": (1.0, 2.0, 6.0), "client": client})
    first.start()
    while not server.requests:
        time.sleep(0.001)
    time.sleep(0.2)
    download(server, place=(3.0, 2.0, 6.0), client=client)
    first.join()
    times = [request.time for request in server.requests]
    assert len(times) == 3 and min(times[1:]) - times[0] >= 0.99


def test_a_wait_of_hours_is_cut_and_said(serve, monkeypatch):
    monkeypatch.setattr("skyshards.fetch.client.LONGEST_WAIT", 0.01)
    server, waits = serve(image(), Fault("", "429", 1, retry_after=7200)), []
    client = PoliteClient(
        on_wait=lambda url, seconds, asked: waits.append((url.startswith(server.url), seconds, asked))
    )
    assert download(server, client=client) == picture()
    assert waits == [(True, 0.01, 7200.0)]


def test_the_mirror_serves_when_the_first_is_down(serve):
    down, mirror = serve(image(), Fault("", "503", None)), serve(image())
    client = PoliteClient()
    for _ in range(3):
        assert download(down, mirror, client=client) == picture()
    assert (len(down.requests), len(mirror.requests)) == (1, 3)


@pytest.mark.parametrize("retry_after", [None, 0])
def test_a_refusal_is_not_taken_to_the_mirror(serve, retry_after):
    busy, mirror = serve(image(), Fault("", "429", 1, retry_after)), serve(image())
    download(busy, mirror)
    assert (len(busy.requests), len(mirror.requests)) == (2, 0)


def test_the_rate_holds_over_all_threads(serve):
    server = serve(image())
    client = PoliteClient(rate=20)
    threads = [threading.Thread(target=download, args=(server,), kwargs={"client": client}) for _ in range(13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = sorted(request.time for request in server.requests)
    assert times[-1] - times[0] >= 0.9 * 12 / 20


def test_every_try_counts_towards_the_rate(serve):
    server = serve(image(), Fault("", "503", 4))
    download(server, max_retries=5, delay=0.0, client=PoliteClient(rate=8))
    assert server.requests[-1].time - server.requests[0].time >= 0.9 * 4 / 8


def test_one_connection_serves_all_of_a_thread_s_requests(serve):
    server, connections = serve(image()), []
    accept = server.process_request
    server.process_request = lambda *connection: (connections.append(connection), accept(*connection))
    client = PoliteClient()
    for _ in range(5):
        download(server, client=client)
    assert (len(server.requests), len(connections)) == (5, 1)
    assert all("skyshards" in request.headers["User-Agent"] for request in server.requests)


def test_head_is_never_asked_for(serve):
    server = serve(image())
    download(server)
    assert [request.method for request in server.requests] == ["GET"]


def test_defaults_are_those_of_the_service():
    assert hips2fits.RATE == 5.0
    assert [urlsplit(url).hostname for url in hips2fits.HIPS2FITS_URLS] == [
        "alasky.cds.unistra.fr",
        "alaskybis.cds.unistra.fr",
    ]
