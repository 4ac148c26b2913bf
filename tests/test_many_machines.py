"""Builds in the workers of a Dask cluster: the same bytes as on one machine, whoever is killed."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import skyshards.cluster
from skyshards.cli.main import main
from skyshards.cluster import connected
from skyshards.errors import UsageError
from skyshards.fetch.client import Fetcher
from skyshards.fetch.rate import RateLimit
from skyshards.fetch.turns import giving_turns
from skyshards.matching import catalogue_pairs, zones
from skyshards.pipeline.build import build
from skyshards.pipeline.payloads import HandedOver
from skyshards.pipeline.recipe import Recipe, Source
from skyshards.pipeline.source_rows import Piece, sent_far
from tests.machines import Far, Machine, Machines, end, namespaces, until
from tests.raw_server import answer, raw_server
from tests.toy import Toy, row
from tests.toy_folder import assert_whole, shard_bytes

distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
dask = pytest.importorskip("dask")
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of Dask


@pytest.fixture(scope="module")
def cluster():
    with connected("local", 1) as executor:
        yield executor


@pytest.fixture
def loopback(tmp_path):
    machines = Machines(tmp_path, [Machine("127.0.0.1")] * 3)
    yield machines
    machines.stop()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Bytes(Toy):
    """Its `fetch` gives bytes."""

    def fetch(self, source, fetcher, folder):
        return str(source.info).encode()

    def read(self, source, fetched):
        assert fetched == str(source.info).encode()
        yield row(source.info)


def test_bytes_go_by_the_shared_folder(tmp_path, cluster):
    build(Bytes(20), tmp_path / "here", workers=0)
    build(Bytes(20), tmp_path / "far", executor=cluster.client)
    assert files(tmp_path / "far") == files(tmp_path / "here")


def test_what_is_sent_has_no_payload_and_no_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    contents = [b"one", Path("file"), b"", None, b"three"]
    pieces = [Piece(Source(str(number), path=Path("at")), content) for number, content in enumerate(contents)]
    sent, path = sent_far(pieces, tmp_path)
    assert [piece.source.path for piece in sent] == [tmp_path / "at"] * 5
    handed_over = [piece.fetched.content() for piece in sent if isinstance(piece.fetched, HandedOver)]
    assert handed_over == [b"one", b"", b"three"]
    assert sent[1].fetched == tmp_path / "file" and sent[3].fetched is None
    assert path.read_bytes() == b"onethree"


def test_one_limit_for_all_workers(tmp_path, cluster, monkeypatch):
    """Workers fetch, and each request, a retry too, takes a turn in this process."""
    turns, holds = [], []
    monkeypatch.setattr(RateLimit, "wait", lambda self: turns.append(threading.current_thread().name))
    monkeypatch.setattr(RateLimit, "hold", lambda self, seconds: holds.append(seconds))
    monkeypatch.setattr(Fetcher, "open", lambda *_: pytest.fail("fetched here"))
    busy = answer(b"", "Retry-After: 0.1", status="503 Busy")

    def respond(connection):
        number = connection.target[2:-4]
        connection.send(answer(str(int(number)).encode()))

    with raw_server(busy, respond) as server:
        summary = build(Far(10, url=server.url), tmp_path / "far", executor=cluster, connections=3)
    assert (summary.rows, summary.failed) == (10, 0)
    assert len(server.requests) == len(turns) == 11 and holds == [0.1]
    assert_whole(tmp_path / "far")


def test_a_failed_download_has_the_same_reason(tmp_path, cluster):
    with raw_server(answer(status="404 Not Found")) as server:
        for name, options in (("here", {"workers": 0}), ("far", {"executor": cluster})):
            assert build(Far(2, url=server.url), tmp_path / name, **options).failed == 2
    assert (tmp_path / "here/failures.csv").read_text() == (tmp_path / "far/failures.csv").read_text()


def fail(fetcher, number):
    raise KeyError(number)


class Failing(Toy):
    """Its `fetch` fails, in a function that workers call."""

    def fetch(self, source, fetcher, folder):
        return fetcher.run(fail, source.info)


def test_a_failed_call_has_the_same_reason(tmp_path, cluster):
    """With the file and line where it was raised."""
    for name, options in (("here", {"workers": 0}), ("far", {"executor": cluster})):
        assert build(Failing(2), tmp_path / name, **options).failed == 2
    found = (tmp_path / "far/failures.csv").read_text()
    assert "KeyError: 1 (tests/test_many_machines.py, line " in found
    assert (tmp_path / "here/failures.csv").read_text() == found


def test_turns_are_refused_once_a_build_stops(cluster):
    stopping = threading.Event()
    stopping.set()
    with giving_turns(cluster.client, Fetcher(), stopping) as name:
        asked, given = (distributed.Queue(f"{name}-{end}", cluster.client) for end in ("asked", "given"))
        asked.put("turn")
        assert given.get(timeout=20) is False


def test_a_server_that_wants_a_pause_is_heard_while_workers_wait_for_turns(cluster):
    limit, stopping, held = RateLimit(1 / 3600), threading.Event(), []
    limit.wait()  # the next turn is in an hour
    limit.hold = held.append
    with giving_turns(cluster.client, Fetcher(limit=limit), stopping) as name:
        asked, given, told = (distributed.Queue(f"{name}-{end}", cluster.client) for end in ("asked", "given", "told"))
        asked.put("turn")
        told.put(["http://x", 7.0, 7.0])
        until(lambda: held == [7.0])
        stopping.set()
        assert given.get(timeout=20) is False


@dataclass(frozen=True)
class Large(Recipe):
    """Its source is a file that is read in blocks."""

    url: str

    name = "toy"
    schema = Toy.schema
    folder = Toy.folder

    def sources(self, fetcher):
        yield Source("large.txt", url=self.url)

    def count(self, source, fetched):
        return int(fetched.read_text())

    def read_rows(self, source, fetched, rows):
        return map(row, rows)


def test_workers_download_large_files(tmp_path, cluster, monkeypatch):
    with raw_server(answer(b"30")) as server:
        build(Large(server.url), tmp_path / "here", workers=0)
        monkeypatch.setattr("skyshards.fetch.resume.download", lambda *_: pytest.fail("downloaded here"))
        build(Large(server.url), tmp_path / "far", executor=cluster)
    assert files(tmp_path / "far") == files(tmp_path / "here") and len(server.requests) == 2


@pytest.mark.slow
def test_another_worker_resumes_a_large_download(loopback, tmp_path):
    """The part that a killed worker received is kept: the rest is asked for by range."""
    whole = b"30".ljust(4 << 20)
    half, mark = len(whole) // 2, 'ETag: "1"'

    def begin(connection):
        connection.send(answer(whole, mark)[: half - len(whole)])
        connection.hang()

    def go_on(connection):
        start = int(connection.header("Range").removeprefix("bytes=").removesuffix("-"))
        span = f"Content-Range: bytes {start}-{len(whole) - 1}/{len(whole)}"
        connection.send(answer(whole[start:], span, mark, status="206 Partial Content"))

    with raw_server(answer(whole, mark), begin, go_on) as server:
        build(Large(server.url), tmp_path / "here", workers=0)
        scheduler = loopback.scheduler()
        first = loopback.worker(scheduler, loopback.machines[1])
        process = loopback.build(Large(server.url), scheduler, tmp_path / "far")
        until(lambda: any(path.stat().st_size > half // 2 for path in (tmp_path / "far").rglob("*.part")))
        end(first)
        loopback.worker(scheduler, loopback.machines[2])
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert [request.count("Range: bytes=") for request in server.requests] == [0, 0, 1]
    assert files(tmp_path / "far") == files(tmp_path / "here")


@pytest.mark.slow
def test_workers_put_shards_to_an_object_store(tmp_path, cluster, s3):
    options = {"endpoint_url": s3, "key": "testing", "secret": "testing"}
    build(Toy(20), tmp_path / "here", workers=0)
    work = tmp_path / "work"
    build(Toy(20), "s3://sky/far", executor=cluster.client, work_dir=work, storage_options=options)
    store = fsspec.filesystem("s3", **options)
    found = {name.removeprefix("sky/far/"): store.cat_file(name) for name in store.find("sky/far")}
    assert found == files(tmp_path / "here") and not list(work.rglob("*.hdf5"))


def test_a_crossmatch_has_the_same_bytes(tmp_path, cluster):
    build(Toy(30), tmp_path / "toy", workers=0)
    words = ["crossmatch", *[str(tmp_path / "toy")] * 2, "--radius_arcsec", "90000", "-o"]
    address = cluster.client.scheduler.address
    for name, more in (("here.parquet", []), ("far.parquet", ["--dask", address])):
        outcome = CliRunner().invoke(main, [*words, str(tmp_path / name), *more])
        assert outcome.exit_code == 0, outcome.output
    assert files(tmp_path)["far.parquet"] == files(tmp_path)["here.parquet"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["far.parquet", "here.parquet", "toy"]
    refused = CliRunner().invoke(main, [*words, str(tmp_path / "x.parquet"), "--on", "object_id", "--dask", address])
    assert refused.exit_code == 2 and "--dask: is for matching by position" in refused.output


WITHOUT = [("nonsense://x", None, "no scheduler at"), ("tcp://127.0.0.1:1", 2, "workers: "), ("local", 0, "workers: ")]


@pytest.mark.parametrize("where, workers, words", WITHOUT)
def test_a_cluster_that_cannot_be_had_is_said(where, workers, words):
    with pytest.raises(UsageError, match=words), connected(where, workers):
        pass


@pytest.mark.slow
def test_workers_read_catalogues_themselves(tmp_path, cluster, monkeypatch):
    """Not a row of a Parquet file, a folder or their pairs is read or matched here."""
    build(Toy(30), tmp_path / "toy", workers=0)
    catalog = pq.read_table(tmp_path / "toy" / "catalog.parquet", columns=["object_id", "ra", "dec"])
    pq.write_table(catalog, tmp_path / "b.parquet", row_group_size=7)
    monkeypatch.setattr(catalogue_pairs, "spool", lambda *_: pytest.fail("read here"))
    monkeypatch.setattr(zones, "search", lambda *_: pytest.fail("matched here"))
    words = ["crossmatch", str(tmp_path / "toy"), str(tmp_path / "b.parquet"), "-o", str(tmp_path / "pairs.parquet")]
    outcome = CliRunner().invoke(main, [*words, "--dask", cluster.client.scheduler.address])
    assert outcome.exit_code == 0, outcome.output
    assert len(pq.read_table(tmp_path / "pairs.parquet")) == 30


@pytest.mark.slow
@pytest.mark.parametrize("far", [True, False])
def test_a_killed_crossmatch_begins_again(loopback, tmp_path, far):
    """A killed worker's part is read by another; a killed command leaves nothing that the next one does not remove."""
    random = np.random.default_rng(1)
    where = {"ra": random.uniform(0, 360, 400_000), "dec": random.uniform(-80, 80, 400_000)}
    pq.write_table(pa.table(where), tmp_path / "a.parquet", row_group_size=50_000)
    words = [
        "-c",
        "import skyshards_start; skyshards_start.main()",
        "crossmatch",
        *[str(tmp_path / "a.parquet")] * 2,
        "--match",
        "all",
    ]
    here = loopback.start(loopback.head, *words, "-o", str(tmp_path / "here.parquet"))
    assert here.wait(200) == 0
    out, more = tmp_path / "far.parquet", []
    if far:
        scheduler = loopback.scheduler()
        workers = [loopback.worker(scheduler, machine) for machine in loopback.machines[1:]]
        more = ["--dask", scheduler]
    run = loopback.start(loopback.head, *words, "-o", str(out), *more)
    until(lambda: list(tmp_path.glob("far.parquet.parts/.writing-*")))
    end(workers[0] if far else run)
    if not far:
        assert (tmp_path / "far.parquet.parts").exists()
        run = loopback.start(loopback.head, *words, "-o", str(out))
    assert run.wait(200) == 0
    assert out.read_bytes() == (tmp_path / "here.parquet").read_bytes()
    assert not (tmp_path / "far.parquet.parts").exists()


@pytest.mark.slow
def test_a_client_without_workers_is_said(loopback, tmp_path, monkeypatch):
    monkeypatch.setattr(skyshards.cluster, "STALLED", 0.5)
    scheduler, said = loopback.scheduler(), []
    monkeypatch.setattr("skyshards.pipeline.build.stalled", said.append)
    with distributed.Client(scheduler) as client, ThreadPoolExecutor(1) as thread:
        summary = thread.submit(build, Toy(4), tmp_path / "toy", executor=client)
        words = f"waiting for workers: expected one or more at {scheduler}, found none"
        until(lambda: any(text and text.startswith(words) for text in said))
        loopback.worker(scheduler, loopback.machines[1])
        assert summary.result(timeout=100).rows == 4
    assert said[-1] is None


@pytest.mark.slow
def test_a_cluster_without_workers_is_said(loopback, tmp_path, monkeypatch):
    """The build goes on when one comes."""
    monkeypatch.setattr(skyshards.cluster, "STALLED", 0.5)
    scheduler, said = loopback.scheduler(), []
    with connected(scheduler, stalled=said.append) as executor, ThreadPoolExecutor(1) as thread:
        summary = thread.submit(build, Toy(4), tmp_path / "toy", executor=executor)
        words = f"waiting for workers: expected one or more at {scheduler}, found none"
        until(lambda: any(text and text.startswith(words) for text in said))
        loopback.worker(scheduler, loopback.machines[1])
        assert summary.result(timeout=100).rows == 4
        until(lambda: said[-1] is None)


def build_here(machines: Machines, recipe: Far) -> Path:
    whole = machines.folder / "whole"
    build(recipe, whole, workers=0)
    return whole


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["worker", "client", "scheduler"])
def test_kill_9(victim, loopback):
    recipe = Far(60, url=loopback.serve(60), pause=0.05)
    whole, before = build_here(loopback, recipe), len(loopback.requests())
    out = loopback.folder / "out"
    loopback.build_despite_a_kill(recipe, out, victim, lambda: len(loopback.requests()) - before > 25)
    assert files(out) == files(whole)
    assert len(loopback.requests()) - before < 60 + 20, "only what was in flight is fetched again"


@pytest.mark.slow
def test_a_source_that_kills_its_workers_fails_alone(tmp_path):
    failures = {"distributed.scheduler.allowed-failures": 0}  # by default, four workers may die
    with dask.config.set(failures), connected("local", 2) as executor:
        summary = build(Toy(8, deadly=5), tmp_path / "toy", executor=executor)
    assert (summary.rows, summary.failed) == (7, 1)
    assert "the process that read it died" in (tmp_path / "toy/failures.csv").read_text()


@dataclass(frozen=True)
class Deadly:
    """A network of mean colours; kills its process if a file is there, which it deletes."""

    file: Path

    def __call__(self, images):
        if self.file.exists():
            self.file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return images.mean(dim=(2, 3))


@pytest.mark.slow
def test_embed_goes_on_without_a_dead_worker(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from skyshards.embed import run as embedding
    from skyshards.embed.encoders import Encoder

    monkeypatch.setattr(embedding, "PART", 4)
    build(Toy(30), tmp_path / "toy", workers=0)
    encoder = Encoder(Deadly(tmp_path / "kill"), 16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), {"model": "means"})
    embedding.embed(tmp_path / "toy", tmp_path / "here.parquet", encoder, column="picture")
    (tmp_path / "kill").touch()
    with connected("local", 2) as executor:
        embedding.embed(tmp_path / "toy", tmp_path / "far.parquet", encoder, column="picture", executor=executor)
    assert not (tmp_path / "kill").exists()
    assert (tmp_path / "far.parquet").read_bytes() == (tmp_path / "here.parquet").read_bytes()


@pytest.mark.slow
def test_machines_with_addresses_of_their_own(tmp_path):
    with namespaces(3) as found:
        if found is None:
            pytest.skip("network namespaces cannot be made here")
        machines = Machines(tmp_path, found)
        try:
            recipe = Far(60, url=machines.serve(60), pause=0.05)
            scheduler, out = machines.scheduler(), tmp_path / "out"
            first, _ = (machines.worker(scheduler, machine) for machine in found[1:])
            process = machines.build(recipe, scheduler, out)
            until(lambda: len(machines.requests()) > 20)
            end(process)
            process = machines.build(recipe, scheduler, out)
            until(lambda: len(machines.requests()) > 40)
            end(first)
            _, errors = process.communicate(timeout=100)
            assert process.returncode == 0, errors
            assert {address for address, _ in machines.requests()} == {machine.address for machine in found[1:]}
        finally:
            machines.stop()
    build(Toy(60), tmp_path / "toy", workers=0)
    assert shard_bytes(out) != {} and len(shard_bytes(out)) == len(shard_bytes(tmp_path / "toy"))
