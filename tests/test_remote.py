"""Tables behind URLs: a real HTTP server with ranges, and a real S3 interface, both on loopback."""

import asyncio
import functools
import http.server
import json
import pickle
import re
import sys
import threading
import time

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner
from datasets import load_dataset

import skyshards
from skyshards.cli.main import main
from skyshards.errors import FolderError, UsageError
from skyshards.format.columns import flatten
from skyshards.page.write import write_page
from skyshards.pipeline.build import build
from skyshards.read.nearby import GAP
from tests.contract import as_formatted, assert_same
from tests.exported_files import digests
from tests.stock_cache import OtherToy
from tests.toy import Toy

web = pytest.importorskip("aiohttp.web", reason="the extra `remote` is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("remote") / "toy"
    build(Toy(30), folder, workers=2)
    return folder


@pytest.fixture
def web_server(folder):
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


def test_http_reads_catalogue_once_and_ranges_of_nearby_values(folder, web_server):
    url, requests = web_server
    local, remote = skyshards.open(folder), skyshards.open(url)
    positions = np.random.default_rng(1).permutation(30)
    assert_same(flatten(remote[positions]), flatten(local[positions]))
    assert [path for path, span in requests if span is None] == ["/toy/catalog.parquet"]
    ranges = [span for path, span in requests if path.endswith(".hdf5")]
    assert len(local._data.manifest.shards) <= len(ranges) < 30 * 3 / 2
    sizes = [local._data.columns.array(f"_size:{name}")[positions].sum() for name in ("votes.mask", "noise", "picture")]
    assert sum(sizes) <= sum(ranges) <= sum(sizes) + GAP * (30 * 3 - len(ranges))


def rows_of(url, **options):
    """All rows by the builder that serves every folder, streamed, as nested values."""
    return list(load_dataset("skyshards", data_dir=url, split="train", streaming=True, **options).with_format("numpy"))


def assert_rows(found, table):
    for row, wanted in zip(found, table, strict=True):
        wanted = flatten(wanted)
        assert_same(flatten(row), {path: as_formatted(value, flatten(row)[path]) for path, value in wanted.items()})


def test_datasets_loads_a_url(folder, web_server, tmp_path):
    url, requests = web_server
    local = skyshards.open(folder)
    assert_rows(rows_of(url), local)
    assert [path for path, span in requests if span is None] == ["/toy/catalog.parquet"]
    requests.clear()
    rows = load_dataset("skyshards", "flags", data_dir=url, split="train", num_proc=2, cache_dir=str(tmp_path))
    assert rows["object_id"][:] == local.catalog["object_id"].to_pylist()
    assert {path for path, _ in requests} == {"/toy/catalog.parquet"}
    ra, dec = local[0]["ra"], local[0]["dec"]
    near = local.cone(ra, dec, 5.0)
    requests.clear()
    assert_rows(rows_of(url, cone=(ra, dec, 5.0), columns=["object_id", "noise"]), near.columns(["object_id", "noise"]))
    assert len([path for path, _ in requests if path.endswith(".hdf5")]) == len(near)


def test_datasets_tells_builds_at_a_url_apart(tmp_path, web_server, folder):
    """A cached copy of a URL is not taken for what is there now."""
    url, _ = web_server
    options = {"data_dir": url, "split": "train", "cache_dir": str(tmp_path / "cache")}
    first = load_dataset("skyshards", "flags", **options)["object_id"][:]
    kept = (folder / "catalog.parquet").read_bytes()
    build(OtherToy(30), tmp_path / "other", workers=1)
    try:
        (folder / "catalog.parquet").write_bytes((tmp_path / "other" / "catalog.parquet").read_bytes())
        second = load_dataset("skyshards", "flags", **options)["object_id"][:]
    finally:
        (folder / "catalog.parquet").write_bytes(kept)
    assert second == [name.replace("galaxy", "nebula") for name in first]


def test_datasets_does_not_print_what_signs_a_url(web_server):
    url, _ = web_server
    with pytest.raises(UsageError, match="/toy: has no config 'x'; available: default, flags, catalog") as caught:
        load_dataset("skyshards", "x", data_dir=f"{url}?signature=secret")
    assert "secret" not in str(caught.value)


def test_datasets_names_a_url_without_a_data_set(web_server):
    url, _ = web_server
    with pytest.raises(FolderError, match="/nothing: not a built dataset"):
        rows_of(url + "/nothing")


def test_http_reads_where_rows_came_from_once(folder, web_server):
    url, requests = web_server
    remote = skyshards.open(url).select([3, 1])
    assert [remote.source(row) for row in (0, 1, -1)] == [skyshards.open(folder).source(row) for row in (3, 1, 1)]
    assert [path for path, _ in requests] == ["/toy/catalog.parquet", "/toy/sources.parquet"]


def test_http_reads_only_the_columns_asked_for(web_server):
    url, requests = web_server
    remote = skyshards.open(url).columns(["ra", "votes.mask"])
    remote[4]
    assert len([path for path, _ in requests if path.endswith(".hdf5")]) == 1


def test_http_without_a_data_set(web_server):
    url, _ = web_server
    with pytest.raises(FolderError, match="/nothing: not a built dataset"):
        skyshards.open(url + "/nothing")


@pytest.mark.slow
def test_server_that_is_gone():
    with pytest.raises(FolderError, match=r"127\.0\.0\.1:9/toy.*cannot be read"):
        skyshards.open("http://127.0.0.1:9/toy")


def test_server_without_ranges(folder):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            remote = skyshards.open(f"http://127.0.0.1:{server.server_port}/toy")
            with pytest.raises(FolderError, match=r"hdf5: requested \d+ bytes, .* does not support byte ranges"):
                remote[3]
        finally:
            server.shutdown()
            thread.join(10)


class CountedFile(fsspec.spec.AbstractBufferedFile):
    def _fetch_range(self, start, end):
        self.fs.flying += 1
        self.fs.requests.append((self.path, end - start, self.fs.flying))
        time.sleep(0.01)
        self.fs.flying -= 1
        with open(self.path, "rb") as file:
            file.seek(start)
            return file.read(end - start)


class CountedFileSystem(fsspec.AbstractFileSystem):
    """Files on disk behind fsspec's own buffers, which is how `hf://` reads: (path, bytes, requests in flight)."""

    protocol = "counted"
    cachable = False

    def __init__(self, **options):
        super().__init__(**options)
        self.requests, self.flying, self.lookups = [], 0, []

    def info(self, path, **_):
        self.lookups.append(path)
        return fsspec.filesystem("file").info(path)

    def _open(self, path, **options):
        return CountedFile(self, path, **options)


def test_file_system_that_is_not_async(folder):
    fsspec.register_implementation("counted", CountedFileSystem, clobber=True)
    remote = skyshards.open(f"counted://{folder}")
    filesystem, *_ = remote._data.reader.store._connect()
    local = skyshards.open(folder)
    filesystem.requests.clear()
    filesystem.lookups.clear()
    assert_same(flatten(remote[:]), flatten(local[:]))
    sizes = [local._data.columns.array(f"_size:{name}").sum() for name in ("votes.mask", "noise", "picture")]
    assert len(local._data.manifest.shards) <= len(filesystem.requests) < 30 * 3 / 2
    assert sum(sizes) <= sum(size for _, size, _ in filesystem.requests) <= sum(sizes) + GAP * 30 * 3
    assert max(flying for *_, flying in filesystem.requests) > 4
    assert filesystem.lookups == []
    assert_rows(rows_of(f"counted://{folder}"), local)


def test_datasets_loads_from_the_hub_with_a_token(folder, monkeypatch):
    tokens = []

    class Hub(CountedFileSystem):
        """The folder, as the Hub's file system has it."""

        protocol = "hf"

        def __init__(self, token=None, **options):
            super().__init__(**options)
            tokens.append(token)

        def _open(self, path, **options):
            return super()._open(path.replace("datasets/me/toy", str(folder)), **options)

        def info(self, path, **options):
            return super().info(path.replace("datasets/me/toy", str(folder)), **options)

    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "hf", Hub)
    assert_rows(rows_of("hf://datasets/me/toy", token="hf_secret"), skyshards.open(folder))
    assert set(tokens) == {"hf_secret"}
    assert_rows(rows_of("hf://datasets/me/toy"), skyshards.open(folder))
    assert tokens[-1] is None


@pytest.mark.parametrize("protocol", ["file", "memory", "simplecache::file"])
def test_other_file_systems(folder, protocol):
    if protocol == "memory":
        fsspec.filesystem("memory").put(str(folder), str(folder), recursive=True)
    remote = skyshards.open(f"{protocol}://{folder}")
    assert_same(flatten(remote[[7, 3, 21, 3]]), flatten(skyshards.open(folder)[[7, 3, 21, 3]]))


def upload(s3, folder, place):
    """Copy a folder to an S3 bucket."""
    files = fsspec.filesystem("s3", endpoint_url=s3)
    for path in folder.rglob("*"):
        if path.is_file():
            files.put_file(str(path), f"{place}/{path.relative_to(folder).as_posix()}")


def test_s3(folder, s3):
    upload(s3, folder, "sky/toy")
    remote = skyshards.open("s3://sky/toy", storage_options={"endpoint_url": s3})
    positions = [7, 3, 21, 3]
    assert_same(flatten(remote[positions]), flatten(skyshards.open(folder)[positions]))
    found = rows_of("s3://sky/toy", storage_options={"endpoint_url": s3})
    assert_rows(found, skyshards.open(folder))


def assert_join(joined, local, tmp_path, **options):
    """A join of remote tables is that of local ones, also when pickled, saved, and read by `datasets`."""
    assert_same(flatten(joined[[7, 3, 21, 3]]), flatten(local[[7, 3, 21, 3]]))
    assert_same(flatten(pickle.loads(pickle.dumps(joined))[2:5]), flatten(local[2:5]))
    joined.save(tmp_path / "pairs.parquet")
    again = skyshards.open_join(tmp_path / "pairs.parquet", **options)
    assert again.catalog["far.object_id"].equals(joined.catalog["far.object_id"])
    assert_same(flatten(again[:4]), flatten(local[:4]))
    wanted = ["near.noise", "far.votes", "separation"]
    rows = rows_of(str(tmp_path / "pairs.parquet"), columns=wanted, **options)
    assert_rows(rows, local.select_columns(wanted))


def test_joins_at_http(folder, web_server, tmp_path):
    url, requests = web_server
    local, remote = skyshards.open(folder), skyshards.open(url)
    options = {"names": ("near", "far"), "on": "source"}
    joined = skyshards.join(local, remote, **options)
    assert [path for path, _ in requests] == ["/toy/catalog.parquet"]  # joining reads nothing else
    joined.select_columns(["near.noise", "far.noise"])[[4, 2]]
    assert len([path for path, _ in requests if path.endswith(".hdf5")]) == 2
    assert_join(joined, skyshards.join(local, local, **options), tmp_path)
    assert_same(
        skyshards.join(remote, local, names=("near", "far"))[:3],
        skyshards.join(local, local, names=("near", "far"))[:3],
    )


def test_joins_at_s3(folder, s3, tmp_path):
    upload(s3, folder, "sky/toy")
    local, options = skyshards.open(folder), {"storage_options": {"endpoint_url": s3}}
    remote = skyshards.open("s3://sky/toy", **options)
    same = {"names": ("near", "far"), "on": "source"}
    assert_join(skyshards.join(remote, local, **same), skyshards.join(local, local, **same), tmp_path, **options)


def test_a_saved_join_keeps_no_signature(folder, web_server, tmp_path):
    url, _ = web_server
    remote = skyshards.open(f"{url}?signature=secret")
    skyshards.join(skyshards.open(folder), remote, names=("near", "far")).save(tmp_path / "pairs.parquet")
    assert b"secret" not in (tmp_path / "pairs.parquet").read_bytes()
    signed = {"far": f"{url}?signature=other"}
    assert len(skyshards.open_join(tmp_path / "pairs.parquet", folders=signed)[:2]["separation"]) == 2


def test_crossmatch_at_http_from_the_command(folder, web_server, tmp_path):
    url, _ = web_server
    out = tmp_path / "pairs.parquet"
    main(["crossmatch", str(folder), url, "-o", str(out)], standalone_mode=False)
    joined, local = skyshards.open_join(out), skyshards.open(folder)
    assert_same(joined[:3], skyshards.join(local, local, names=("a", "b"))[:3])


def run_command(*words):
    """Run a command as a user does; returns its output."""
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_page_of_a_url(folder, web_server, tmp_path):
    """The page of a dataset on disk, but for the place that its code opens; the signature is not on it."""
    url, requests = web_server
    pages = [
        write_page(place, tmp_path / name) for place, name in ((folder, "disk"), (f"{url}?signature=secret", "web"))
    ]
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*")} for name in ("disk", "web")]
    disk, page = (found.pop("index.html").decode() for found in files)
    assert files[0] == files[1] and pages[0].shown == pages[1].shown == 30
    contents = [json.loads(re.search(r'id="contents">(.*?)</script>', text)[1]) for text in (disk, page)]
    for found, place in zip(contents, (folder, url), strict=True):
        assert found.pop("open") == f"skyshards.open({str(place)!r})" and found.pop("shell") == str(place)
        assert found["gallery"].pop("code")[3].startswith(f"skyshards.open({str(place)!r}).find(")
    assert [found.pop("on_disk") for found in contents] == [True, False]
    assert contents[0] == contents[1] and "secret" not in page
    whole = [path for path, span in requests if span is None]
    assert whole == ["/toy/catalog.parquet", "/toy/sources.parquet", "/toy/README.md"]


def test_an_export_of_a_url(folder, web_server, tmp_path):
    pytest.importorskip("hats", reason="the extra `hats` is not installed")
    url, _ = web_server
    run_command("export", folder, tmp_path / "disk", "--workers", "0")
    run_command("export", f"{url}?signature=secret", tmp_path / "web", "--workers", "2")
    assert digests(tmp_path / "disk") == digests(tmp_path / "web")
    assert not any(b"secret" in path.read_bytes() for path in (tmp_path / "web").rglob("*.*"))


def test_commands_read_urls(folder, web_server, tmp_path):
    url, _ = web_server
    for words in (["info"], ["cite"], ["show", "3"], ["export", tmp_path / "{}.csv", "--format", "csv"]):
        local, remote = (
            run_command(words[0], place, *(str(word).format(name) for word in words[1:])).replace(str(place), "PLACE")
            for place, name in ((folder, "disk"), (url, "web"))
        )
        assert local.replace("disk.csv", "web.csv") == remote != ""
    assert (tmp_path / "disk.csv").read_bytes() == (tmp_path / "web.csv").read_bytes()


@pytest.mark.parametrize("words", [["info"], ["cite"], ["page"], ["export", "out"], ["show"]], ids=" ".join)
def test_commands_name_a_url_without_a_dataset(web_server, words, tmp_path, monkeypatch):
    if words[0] == "export":
        pytest.importorskip("hats", reason="the extra `hats` is not installed")
    monkeypatch.chdir(tmp_path)
    url, _ = web_server
    done = CliRunner().invoke(main, [words[0], f"{url}/nothing", *words[1:]])
    assert done.exit_code == 1 and f"{url}/nothing: not a built dataset" in done.output
    assert done.output.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words, name",
    [(["verify", "{}"], "FOLDER"), (["build", "gz3d", "--demo", "--tiny", "--work_dir", "{}"], "--work_dir")],
    ids=["verify", "build"],
)
def test_commands_that_need_a_disk_say_so(words, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, [word.format("s3://sky/toy") for word in words])
    assert done.exit_code == 2 and f"for '{name}': expected a path on disk, found the URL s3://sky/toy;" in (
        done.output.replace(f"for {name}:", f"for '{name}':")
    )
    assert not list(tmp_path.iterdir())


def test_a_page_at_s3(folder, s3, tmp_path):
    upload(s3, folder, "sky/toy")
    done = write_page("s3://sky/toy", tmp_path / "page", storage_options={"endpoint_url": s3})
    assert (done.rows, done.shown) == (30, 30) and "s3://sky/toy" in done.index.read_text()
