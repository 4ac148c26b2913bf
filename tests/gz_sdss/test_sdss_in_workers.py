"""Cutouts that the workers of a Dask cluster fetch: the same bytes as without, by one budget, whoever is killed."""

import contextlib
import re
import threading

import pytest

from demo_archive import DemoArchive
from demo_archive.serve.faults import Fault
from gz_sdss.build_parent_sample import GZSDSSRecipe
from gz_sdss.sia import Service
from skyshards.cluster import connected
from skyshards.fetch.rate import RateLimit
from skyshards.pipeline.build import build
from tests.machines import Machine, Machines

pytest.importorskip("distributed", reason="the extra `dask` is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # of Dask
]


@pytest.fixture(scope="module")
def cluster():
    with connected("local", 2) as executor:
        yield executor


def recipe_for(archive, folder, source="hips2fits", **options):
    if source != "hips2fits":
        version = int(source[-1])
        url = archive.sia_url if version == 1 else archive.sia2_url
        options |= {"sia": Service("demo", url, version), "format": "fits"}
    urls = {"tap_url": archive.tap_url, "hips2fits_urls": (archive.hips2fits_url,)}
    return GZSDSSRecipe(folder, **{"rate": 0.0} | urls | options)


def build_with(recipe, **options):
    with contextlib.closing(recipe):
        return build(recipe, recipe.output_dir, **options)


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def cutouts(archive):
    return sum("hips2fits" in request.path for request in archive.requests)


@pytest.mark.parametrize("source", ["hips2fits", "sia1", "sia2"])
def test_the_same_bytes(source, tmp_path, cluster, monkeypatch):
    with DemoArchive(galaxies=20) as archive:
        assert build_with(recipe_for(archive, tmp_path / "here", source), workers=0).failed == 0
        monkeypatch.setattr("gz_sdss.galaxy_images.source_of", lambda *_: pytest.fail("fetched here"))
        monkeypatch.setattr("gz_sdss.galaxy_images.GalaxyImages.address", lambda *_: "http://x")
        assert build_with(recipe_for(archive, tmp_path / "far", source), executor=cluster).failed == 0
        assert archive.errors == []
    here, far = files(tmp_path / "here"), files(tmp_path / "far")
    assert any(name.endswith(".tar") for name in here) and far == here


@pytest.mark.parametrize("source", ["hips2fits", "sia2"])
def test_one_rate_for_all_workers(source, tmp_path, cluster, monkeypatch):
    """Each request, also SIA's queries and retries, takes a turn in this process; a `Retry-After` holds all."""
    turns, holds = [], []
    wait, hold = RateLimit.wait, RateLimit.hold
    monkeypatch.setattr(RateLimit, "wait", lambda self: (turns.append((self, threading.current_thread())), wait(self)))
    monkeypatch.setattr(RateLimit, "hold", lambda self, seconds: (holds.append(seconds), hold(self, seconds)))
    of_images = "hips2fits|/sia"
    with DemoArchive(galaxies=12, faults=[Fault(of_images, "503", 2, retry_after=0.3)]) as archive:
        assert build_with(recipe_for(archive, tmp_path, source, rate=50.0), executor=cluster).failed == 0
        asked = [request.time for request in archive.requests if re.search(of_images, request.path)]
    given = [limit for limit, thread in turns if thread.name == "skyshards-give"]
    assert len(given) == len(asked) and holds == [0.3, 0.3]
    assert len({id(limit) for limit in given}) == 1 and given[0]._interval == 1 / 50
    assert max(asked) - min(asked) >= 0.3


@pytest.mark.parametrize("victim", ["worker", "client", "scheduler"])
def test_kill_9(victim, tmp_path):
    """Images that arrived are in the TARs, and are not asked for again."""
    machines = Machines(tmp_path, [Machine("127.0.0.1")] * 3)
    with DemoArchive(galaxies=60, faults=[Fault("hips2fits", "slow", None, delay=0.1)]) as archive:
        whole, out = tmp_path / "whole", tmp_path / "out"
        rows = build_with(recipe_for(archive, whole), workers=0).rows
        before = cutouts(archive)
        try:
            recipe = recipe_for(archive, out)
            machines.build_despite_a_kill(recipe, out, victim, lambda: cutouts(archive) - before > rows // 3)
        finally:
            machines.stop()
        assert cutouts(archive) - before <= rows + 4, "only what was in flight is fetched again"
    assert files(out) == files(whole)
