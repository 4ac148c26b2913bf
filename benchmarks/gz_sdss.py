"""Measure how fast gz_sdss downloads, resumes, filters and decodes, with simulated servers and tables.

    python benchmarks/gz_sdss.py [cutouts] [workers] [resume] [filter] [decode] [read]

cutouts: 2,000 cutouts from a local server that responds to each request after 50 ms, over 20 connections, against the
server's limit, as measured by a bare client without checks or archives. workers: fetched in Dask clusters (extra
dask) of one, two and four workers, with 2 s a request. resume: from the start of a build to its first
request, with 60,000 images done; then a build with other cuts that uses 5,000 of these images. filter: 660,000 rows
read, cut and written. decode: JPEGs of 64 x 64 by Pillow and by simplejpeg. read: shuffled decoded batches of 64 from a
table, and from the formats of other libraries (see `jpegs`). The default is all of them. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib.util
import io
import multiprocessing
import resource
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

if __name__ == "__main__":  # a script's own folder is first on the path: this file hides the package gz_sdss there
    sys.path[:1] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import jpegs
from harness import in_fresh_process, machine, print_table, versions

LATENCY, CONNECTIONS, CUTOUTS = 0.05, 20, 2_000
FAR_LATENCY, FAR_CONNECTIONS, ROUNDS_FAR, WORKERS = 2.0, 8, 5, (1, 2, 4)
DONE, ROWS, PICTURES = 60_000, 660_000, 5_000
REUSED = 5_000
SECONDS, ROUNDS = 3.0, 1
_alive: list = []
"""Loaders kept alive, whose workers are still busy when a measure ends."""


def picture(number: int) -> bytes:
    """Simulate a galaxy on a noisy sky, as a JPEG of Pillow's default quality."""
    random = np.random.default_rng(number)
    y, x = np.mgrid[:64, :64] - 31.5
    light = 220 * np.exp(-np.hypot(x, y / random.uniform(0.4, 1)) / random.uniform(4, 12))
    noisy = light[..., None] * [1, 0.9, 0.8] + random.normal(12, 8, (64, 64, 3))
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG")
    return file.getvalue()


def catalog(rows: int, good: bool) -> pd.DataFrame:
    """Make a table with the columns of ZooSpec and PhotoObj; about a tenth of the rows pass the cuts, all if `good`."""
    from gz_sdss.cuts import BANDS
    from gz_sdss.tables import IDENTIFIERS, NEEDED

    random = np.random.default_rng(0)
    table = pd.DataFrame({name: random.normal(17, 1, rows).astype(np.float32).astype(float) for name in NEEDED})
    for number, name in enumerate(IDENTIFIERS):
        table[name] = pd.array(587722981736906813 + (number << 55) + np.arange(rows) * 61, dtype="Int64")
    table["ra"], table["dec"] = random.uniform(120, 240, rows), random.uniform(0, 60, rows)  # about SDSS's footprint
    table["p_cs_debiased"] = random.uniform(0.9 if good else 0, 1, rows)
    table["p_el_debiased"] = 1 - table["p_cs_debiased"]
    for label, fraction in (("spiral", "p_cs_debiased"), ("elliptical", "p_el_debiased")):
        table[label] = (table[fraction] > 0.8).astype("int32")
    table["petroR90_r"] = random.uniform(4.1 if good else 2, 8.4 if good else 12, rows)
    for band in BANDS:
        table[f"modelMagErr_{band}"] = random.uniform(0, 0.04 if good else 0.06, rows)
    return table


class SlowServer(ThreadingHTTPServer):
    """Server that responds to every request with an image after `latency` seconds."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, latency: float):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.latency = latency
        self.pictures = [picture(number) for number in range(20)]
        self.times: list[float] = []

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hips2fits"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self.server.times.append(time.perf_counter())
        body = self.server.pictures[hash(self.path) % 20]
        time.sleep(self.server.latency)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.wfile.write(head + body)

    def log_message(self, format, *args):
        pass


def serve(connection, latency: float) -> None:
    """Run the server in its own process, so that it takes no time from the client's."""
    with SlowServer(latency) as server:
        connection.send(server.url)
        while connection.recv() is not None:
            connection.send(sorted(server.times))
            server.times.clear()


@contextlib.contextmanager
def slow_server(latency: float = LATENCY):
    """Start a server; yields its address, and a function for the times of the requests since its last call."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(there, latency))
    process.start()
    url = here.recv()

    def asked():
        here.send(True)
        return here.recv()

    yield url, asked
    here.send(None)
    process.join()


def apart(function, *args):
    """Call a function in a fresh process, to measure its peak memory."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *args).result()


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def bare(url: str, count: int) -> float:
    """Requests per second of a bare client over as many connections."""
    host = url.split("/")[2]

    def work(number: int) -> None:
        connection = http.client.HTTPConnection(host)
        for place in range(number, count, CONNECTIONS):
            connection.request("GET", f"/hips2fits?{place}")
            connection.getresponse().read()
        connection.close()

    start = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        list(threads.map(work, range(CONNECTIONS)))
    return count / (time.perf_counter() - start)


def download(folder: Path, url: str, count: int) -> tuple[float, float]:
    """Images per second and peak MiB of a build's fetching: downloaded, checked and archived by its threads."""
    from gz_sdss.build_parent_sample import GZSDSSRecipe
    from skyshards.fetch.client import Fetcher

    recipe = GZSDSSRecipe(folder, catalog=folder / "own.parquet", hips2fits_urls=(url,), rate=0.0)
    fetcher = Fetcher(CONNECTIONS)
    recipe = recipe.prepare(fetcher, folder)
    sources = list(recipe.sources(fetcher))[:count]
    with contextlib.closing(recipe), ThreadPoolExecutor(CONNECTIONS) as threads:
        start = time.perf_counter()
        for _ in threads.map(lambda source: recipe.fetch(source, fetcher, folder / "Images"), sources):
            pass
        elapsed = time.perf_counter() - start
    return count / elapsed, peak()


def whole_build(folder: Path, url: str, count: int) -> tuple[float, float]:
    """Images per second and peak MiB of a whole build, with its workers and shards."""
    from gz_sdss.build_parent_sample import GZSDSSRecipe
    from skyshards.pipeline.build import build

    recipe = GZSDSSRecipe(folder, catalog=folder / "own.parquet", hips2fits_urls=(url,), rate=0.0)
    with contextlib.closing(recipe):
        summary = build(recipe, folder, limit=count, connections=CONNECTIONS)
    assert summary.failed == 0
    return count / summary.elapsed, peak()


def from_first_to_last(times: list[float]) -> float:
    """Requests per second as seen by the server."""
    return (len(times) - 1) / (times[-1] - times[0])


def cutouts() -> None:
    print("\n| cutouts, 50 ms each, 20 connections | images/s | first to last request | of the server's | peak MiB |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch, slow_server() as (url, asked):
        whole = bare(url, CUTOUTS)
        limit = from_first_to_last(asked())
        print(f"| bare client | {whole:,.0f} | {limit:,.0f} | | |")
        for name, function, count in (
            ("downloaded, checked, archived", download, CUTOUTS // 4),
            ("downloaded, checked, archived", download, CUTOUTS),
            ("whole build", whole_build, CUTOUTS),
        ):
            folder = Path(scratch, f"{function.__name__}-{count}")
            folder.mkdir()
            catalog(count, good=True).to_parquet(folder / "own.parquet")
            rate, memory = apart(function, folder, url, count)
            served = from_first_to_last(asked())
            print(f"| {name}, {count:,} | {rate:,.0f} | {served:,.0f} | {served / limit:.0%} | {memory:,.0f} |")


def in_workers() -> None:
    """Fetch cutouts in Dask clusters of more and more workers, with as many connections for each."""
    from gz_sdss.galaxy_images import ImageService, fetch_cutout
    from skyshards.cluster import connected
    from skyshards.fetch.client import Fetcher
    from skyshards.fetch.in_workers import FetcherInWorkers
    from skyshards.fetch.turns import giving_turns

    title = f"cutouts, {FAR_LATENCY:g} s each, {FAR_CONNECTIONS} connections for each Dask worker"
    print(f"\n| {title} | images/s | of the server's | scheduler and main process, ms of processor time an image |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, slow_server(FAR_LATENCY) as (url, _):
        service = ImageService((url,), "CDS/P/SDSS9/color", None, "jpg", 0.01, 64, 0.25)
        for workers in WORKERS:
            connections = workers * FAR_CONNECTIONS
            here, count = Fetcher(connections), ROUNDS_FAR * connections
            with (
                connected("local", workers) as executor,
                giving_turns(executor.client, here, threading.Event()) as name,
                ThreadPoolExecutor(connections) as threads,
            ):
                far = FetcherInWorkers(here, executor.through(Path(folder)).submit, name)
                places = [(far, service, 150 + number * 1e-3, 10.0, 5.0) for number in range(count)]

                def fetch(place):
                    fetcher, *arguments = place
                    return fetcher.run(fetch_cutout, *arguments)

                list(threads.map(fetch, places[: 2 * connections]))  # imports
                used, start = time.process_time(), time.perf_counter()
                list(threads.map(fetch, places))
                rate, used = count / (time.perf_counter() - start), time.process_time() - used
            print(f"| {workers} | {rate:.1f} | {rate * FAR_LATENCY / connections:.0%} | {1e3 * used / count:.0f} |")


def to_first_request(folder: Path, url: str) -> float:
    """Seconds from the start of a build to its first request; the build is then stopped."""
    from gz_sdss.build_parent_sample import GZSDSSRecipe
    from skyshards.pipeline.build import build

    recipe = GZSDSSRecipe(folder, catalog=folder / "own.parquet", hips2fits_urls=(url,), rate=0.0)
    start = time.perf_counter()
    with contextlib.closing(recipe):
        build(recipe, folder, connections=8)
    return start


def resumed() -> None:
    """Make a folder with all but 40 of 60,040 galaxies done, as images and as shards; then build the rest."""
    from gz_sdss.build_parent_sample import GZSDSSRecipe
    from gz_sdss.cuts import Cuts
    from gz_sdss.hips2fits import RATE, Hips2Fits_access, field_of_view
    from gz_sdss.image_list import Cutout
    from gz_sdss.image_tars import ImageArchive
    from skyshards.pipeline.build import build

    with tempfile.TemporaryDirectory() as scratch, slow_server() as (url, asked):
        folder = Path(scratch)
        table = catalog(DONE + 40, good=True)
        table.to_parquet(folder / "own.parquet")
        pictures = [picture(number) for number in range(20)]
        order = table.sample(frac=1, random_state=42)
        labels = (order["p_cs_debiased"] >= order["p_el_debiased"]).astype(int)
        with ImageArchive(folder / "Images") as images:
            images.arrange(order["objid"], dict(zip(order["objid"], labels, strict=True)))
            for number, galaxy in enumerate(order.head(DONE).itertuples()):
                address = Hips2Fits_access(galaxy.ra, galaxy.dec, galaxy.petroR90_r)
                cutout = Cutout(galaxy.ra, galaxy.dec, field_of_view(galaxy.petroR90_r), address)
                images.add(galaxy.objid, pictures[number % 20], cutout)
        start = time.perf_counter()
        own = {"catalog": folder / "own.parquet", "hips2fits_urls": (url,), "rate": 0.0}
        with contextlib.closing(GZSDSSRecipe(folder, **own)) as recipe:
            build(recipe, folder, limit=DONE)
        packed = time.perf_counter() - start
        assert asked() == []
        start = apart(to_first_request, folder, url)
        first, *others = asked()
        assert len(others) == 39
        print(f"\n| resume with {DONE:,} images done | s |\n|---|---|")
        print(f"| to the first request | {first - start:.1f} |")
        print(f"| ({DONE:,} images from the archives into shards) | {packed:.0f} |")
        other = folder / "other_cuts"
        start = time.perf_counter()
        with contextlib.closing(GZSDSSRecipe(other, cuts=Cuts(min_vote=0.95), images_from=folder, **own)) as recipe:
            summary = build(recipe, other, limit=REUSED)
        hours = f"{summary.rows / RATE / 3600:.2g} h of downloads"
        print(
            "\n| other cuts, with `--images` | requests | s | without `--images`, at 5 requests/s |\n|---|---|---|---|"
        )
        print(f"| {summary.rows:,} rows | {len(asked())} | {time.perf_counter() - start:.0f} | {hours} |")


def filtered(folder: Path) -> tuple[float, float, int]:
    from gz_sdss.build_parent_sample import GZSDSSRecipe

    start = time.perf_counter()
    kept = GZSDSSRecipe(folder, catalog=folder / "own.csv.gz").filtered()
    return time.perf_counter() - start, peak(), len(kept)


def filtering() -> None:
    from gz_sdss.tables import write_csv

    with tempfile.TemporaryDirectory() as scratch:
        write_csv(catalog(ROWS, good=False), Path(scratch, "own.csv.gz"))
        seconds, memory, kept = apart(filtered, Path(scratch))
    print("\n| 660,000 rows read, cut and written | s | peak MiB | rows kept |\n|---|---|---|---|")
    print(f"| filter | {seconds:.1f} | {memory:,.0f} | {kept:,} |")


def decoding() -> None:
    import simplejpeg

    pictures = [picture(number) for number in range(PICTURES)]
    decoders = {"Pillow": jpegs.with_pillow, "simplejpeg": lambda content: simplejpeg.decode_jpeg(content, "RGB")}
    worst = max(np.abs(jpegs.with_pillow(c).astype(int) - simplejpeg.decode_jpeg(c, "RGB")).max() for c in pictures)
    size = np.mean([len(content) for content in pictures])
    print(f"\n| {PICTURES:,} JPEGs of 64 x 64, mean {size:,.0f} bytes | 1 thread | 2 threads |")
    print("|---|---|---|")
    for name, decode in decoders.items():
        rates = []
        for threads in (1, 2):
            with ThreadPoolExecutor(threads) as pool:
                start = time.perf_counter()
                list(pool.map(lambda part, decode=decode: [decode(c) for c in part], np.array_split(pictures, 20)))
                rates.append(PICTURES / (time.perf_counter() - start))
        print(f"| {name}, images/s | {rates[0]:,.0f} | {rates[1]:,.0f} |")
    print(f"\nGreatest difference between the two: {worst} grey levels.")


def many_cutouts(folder: Path) -> None:
    """Build a dataset of 20,000 small JPEGs, 500 of them distinct."""
    from gz_sdss.build_parent_sample import GZSDSSRecipe
    from gz_sdss.image_tars import ImageArchive
    from skyshards.pipeline.build import build

    table = catalog(20_000, good=True)
    table.to_parquet(folder / "own.parquet")
    pictures = [picture(number) for number in range(500)]
    with ImageArchive(folder / "Images") as images:
        for number, objid in enumerate(table["objid"].tolist()):
            images.add(objid, pictures[number % 500])
    with contextlib.closing(GZSDSSRecipe(folder, catalog=folder / "own.parquet", rate=0.0)) as recipe:
        build(recipe, folder)


def measure(name: str, built: Path, folder: Path, workers: int) -> float:
    """Rows per second over `SECONDS` of shuffled passes, timed once every worker has returned a batch."""
    seconds, count = 0.0, 0
    while seconds < SECONDS:
        start = None
        batches = iter(jpegs.PEERS[name].batches(built, folder, workers))
        _alive.append(batches)
        for number, batch in enumerate(batches):
            images = batch["image"] if isinstance(batch, dict) else batch[0]
            assert images.shape[1:] == (64, 64, 3) and images.dtype == np.uint8
            if start is not None:
                count += len(images)
                if seconds + time.perf_counter() - start > SECONDS:
                    break
            elif number == workers:
                start = time.perf_counter()
        seconds += time.perf_counter() - start
    return count / seconds


def write(name: str, built: Path, folder: Path) -> None:
    folder.mkdir()
    if jpegs.PEERS[name].write:
        jpegs.PEERS[name].write(built, folder)


def reading() -> None:
    rates: dict[str, dict[int, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        built = Path(scratch, "built")
        built.mkdir()
        many_cutouts(built)
        present = [name for name, peer in jpegs.PEERS.items() if importlib.util.find_spec(peer.package)]
        for name in present:
            print(f"{time.strftime('%X')} {name}", file=sys.stderr)
            in_fresh_process(write, name, built, Path(scratch, name))
        for _ in range(ROUNDS):
            for name in present:
                for workers in (0, 2):
                    rate = in_fresh_process(measure, name, built, Path(scratch, name), workers).value
                    found = rates.setdefault(name, {})
                    found[workers] = max(found.get(workers, 0.0), rate)
    table = rates[jpegs.TABLE]
    ways = "1 process, rows/s", "2 workers, rows/s"
    times = "the table is faster by, each in 1 process", "each as it is fastest"
    print_table(
        ("shuffled, decoded batches of 64, from 20,000 JPEGs", *ways, *times),
        [
            (
                name, *(f"{rate:,.0f}" for _, rate in sorted(found.items())),
                f"{table[0] / found[0]:.1f}", f"{max(table.values()) / max(found.values()):.1f}",
            )
            for name, found in sorted(rates.items(), key=lambda item: -max(item[1].values()))
        ],
    )  # fmt: skip
    for name in jpegs.PEERS.keys() - present:
        print(f"- Left out, since it is not installed: {name}")


PARTS = {
    "cutouts": cutouts,
    "workers": in_workers,
    "resume": resumed,
    "filter": filtering,
    "decode": decoding,
    "read": reading,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    parts = parser.parse_args().parts or PARTS
    packages = ["datasets", "torch", "litdata", "webdataset", "grain", "mosaicml-streaming", "simplejpeg", "pillow"]
    print(f"{machine()}; {versions(packages)}")
    for part in parts:
        PARTS[part]()


if __name__ == "__main__":
    main()
