"""Tables behind URLs: a real HTTP server with ranges, and a real S3 interface, both on loopback."""

import asyncio
import re
import threading

import numpy as np
import pytest

import skyshards
from skyshards.build import build
from skyshards.columns import flatten
from skyshards.errors import FolderError
from tests.contract import assert_same
from tests.toy import Toy

web = pytest.importorskip("aiohttp.web", reason="the extra `remote` is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("remote") / "toy"
    build(Toy(30), folder, workers=2)
    return folder


@pytest.fixture
def http(folder):
    """aiohttp's own static file server, and the requests that it got: (path, bytes of the range or None)."""
    requests = []

    @web.middleware
    async def note(request, handler):
        span = request.headers.get("Range")
        first, last = re.fullmatch(r"bytes=(\d+)-(\d+)", span).groups() if span else (0, -1)
        requests.append((request.path, int(last) - int(first) + 1 if span else None))
        return await handler(request)

    loop = asyncio.new_event_loop()
    application = web.Application(middlewares=[note])
    application.router.add_static("/toy", folder)
    runner = web.AppRunner(application)

    async def start():
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return runner.addresses[0][1]

    port = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{port}/toy", requests
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def test_http_reads_catalogue_once_and_a_range_a_value(folder, http):
    url, requests = http
    local, remote = skyshards.open(folder), skyshards.open(url)
    positions = np.random.default_rng(1).permutation(30)
    assert_same(flatten(remote[positions]), flatten(local[positions]))
    assert [path for path, span in requests if span is None] == ["/toy/catalog.parquet"]
    ranges = [span for path, span in requests if path.endswith(".hdf5")]
    assert len(ranges) == 30 * 3
    sizes = [local._data.array(f"_size:{name}")[positions].sum() for name in ("votes.mask", "noise", "picture")]
    assert sum(ranges) == sum(sizes)


def test_http_reads_only_the_columns_asked_for(http):
    url, requests = http
    remote = skyshards.open(url).columns(["ra", "votes.mask"])
    remote[4]
    assert len([path for path, _ in requests if path.endswith(".hdf5")]) == 1


def test_http_without_a_data_set(http):
    url, _ = http
    with pytest.raises(FolderError, match="/nothing: not a built data set"):
        skyshards.open(url + "/nothing")


def test_server_that_is_gone():
    with pytest.raises(FolderError, match=r"127\.0\.0\.1:9/toy.*cannot be read"):
        skyshards.open("http://127.0.0.1:9/toy")


def test_s3(folder, monkeypatch):
    pytest.importorskip("s3fs", reason="the extra `remote` is not installed")
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="sky")
        for path in folder.rglob("*"):
            if path.is_file():
                client.upload_file(str(path), "sky", f"toy/{path.relative_to(folder).as_posix()}")
        remote = skyshards.open("s3://sky/toy", storage_options={"endpoint_url": endpoint})
        positions = [7, 3, 21, 3]
        assert_same(flatten(remote[positions]), flatten(skyshards.open(folder)[positions]))
    finally:
        server.stop()
