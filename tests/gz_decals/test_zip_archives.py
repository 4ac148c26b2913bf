"""Zip archives: read member by member, on disk and by byte ranges, and refused where they would do harm."""

import io
import os
import pickle
import stat
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

import skyshards
from demo_archive import DemoArchive
from demo_archive.serve.faults import Fault
from gz_decals import zip_archives as chunks
from gz_decals.build_parent_sample import GZDecalsRecipe
from gz_decals.find_images import Index, Place, stem
from gz_decals.release import image_chunks
from gz_decals.resample import stored
from gz_decals.zip_archives import Chunk
from skyshards import verify
from skyshards.errors import BuildError, FetchError, SourceError
from skyshards.fetch.client import Fetcher
from skyshards.fetch.ranges import NoRanges, RemoteFile
from skyshards.fetch.zenodo import record_files
from skyshards.large_files import read_member, refusal
from skyshards.pipeline.build import build

ROOT = Path(__file__).parents[2]
NAMES = [f"J0004{number:02d}.00+020924.0" for number in range(12)]


def png(number, size=20):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def member(name="J000/x.png", mode=stat.S_IFREG | 0o644, **attributes):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.file_size = info.compress_size = 100
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


@pytest.fixture
def archive(tmp_path):
    """Two archives and their catalogue."""
    (tmp_path / "chunks").mkdir()
    for part in range(2):
        with zipfile.ZipFile(tmp_path / "chunks" / f"part{part}.zip", "w") as out:
            for number in range(6 * part, 6 * part + 6):
                out.writestr(f"J000/{NAMES[number]}.png", png(number))
            out.writestr("notes.txt", "not an image")
    (tmp_path / "rings.csv").write_text("\n".join(["id_str,ring", *(f"{name},1" for name in NAMES)]))
    return tmp_path


@pytest.mark.parametrize(
    ("info", "why"),
    [
        (member("../x.png"), "leave"),
        (member("/etc/x.png"), "leave"),
        (member("a/../../x.png"), "leave"),
        (member("C:/x.png"), "leave"),
        (member("a\\..\\x.png"), "leave"),
        (member(mode=stat.S_IFLNK | 0o777), "no regular file"),
        (member(mode=stat.S_IFIFO | 0o644), "no regular file"),
        (member(flag_bits=1), "encrypted"),
        (member(file_size=1 << 40), "bytes long"),
        (member(file_size=60_000_000, compress_size=1000), "would inflate"),
    ],
)
def test_refuses_what_would_do_harm(info, why):
    assert why in refusal(info)


def test_takes_ordinary_members():
    assert refusal(member()) is None
    assert refusal(member(mode=0)) is None  # made on a system that has no modes


def test_bomb_is_not_inflated(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("x.png", bytes(50_000_000))
    with zipfile.ZipFile(path) as archive, pytest.raises(SourceError, match="would inflate"):
        read_member(archive, archive.infolist()[0])
    # A directory that lies about the length: no more than it says is inflated, and the CRC gives it away.
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x01\x02")
    content[place + 24 : place + 28] = struct.pack("<I", 1000)
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive, pytest.raises(SourceError, match="damaged"):
        read_member(archive, archive.infolist()[0])


def test_damaged_member_is_one_failed_source(archive):
    path = archive / "chunks" / "part0.zip"
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 50] ^= 0xFF
    path.write_bytes(content)
    folder = archive / "built"
    recipe = GZDecalsRecipe(archive / "rings.csv", folder, local_data_path=archive / "chunks")
    assert build(recipe, folder, workers=1).failed == 1
    assert "is damaged" in (folder / "failures.csv").read_text()
    assert len(skyshards.open(folder)) == 11


def test_refused_member_is_one_failed_source(archive):
    with zipfile.ZipFile(archive / "chunks" / "part2.zip", "w") as out:
        out.writestr("../../J000412.00+020924.0.png", png(0))
    with open(archive / "rings.csv", "a") as table:
        table.write("\nJ000412.00+020924.0,0")
    folder = archive / "built"
    recipe = GZDecalsRecipe(archive / "rings.csv", folder, local_data_path=archive / "chunks")
    assert build(recipe, folder, workers=1).failed == 1
    assert "leave the archive's folder" in (folder / "failures.csv").read_text()
    assert not list(archive.parent.rglob("J000412*"))


def test_local_archives_are_left_alone(archive):
    folder = archive / "built"
    recipe = GZDecalsRecipe(archive / "rings.csv", folder, local_data_path=archive / "chunks")
    assert build(recipe, folder, workers=1).rows == 12
    recipe.close()
    assert sorted(os.listdir(archive / "chunks")) == ["part0.zip", "part1.zip"]
    for row in skyshards.open(folder, decode=False):
        assert row["image"] == png(NAMES.index(str(row["iauname"])))


def test_what_is_no_archive_is_said(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"PK nonsense")
    with pytest.raises(FetchError, match="not a whole zip archive"):
        Chunk(None, tmp_path / "x.zip").members(Fetcher())


# From a server.


@pytest.fixture
def chunk(demo, tmp_path):
    return image_chunks(demo.decals_url, Fetcher(), tmp_path / "downloads", keep=False)[0]


def test_lists_members_without_fetching_the_archive(demo, chunk):
    members = chunk.members(Fetcher())
    assert len(members) >= 2 and chunk.by_range and not chunk.path.exists()
    whole = requests.get(chunk.url, timeout=60).content
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert [info.filename for info in archive.infolist()] == [info.filename for info in members]
        assert chunk.read(members[1], Fetcher()) == archive.read(members[1].filename)
    assert not chunk.path.exists()


def test_fetches_the_archive_when_much_of_it_is_wanted(chunk):
    members = chunk.members(Fetcher())
    chunk.settle(1)
    assert chunk.by_range
    chunk.settle(sum(info.compress_size for info in members))
    assert not chunk.by_range
    chunk.read(members[0], Fetcher())
    assert chunk.path.exists()
    chunk.remove()
    assert not chunk.path.exists()


def test_workers_read_members_where_they_are(archive):
    """Without the archive's directory, and with the same checks."""
    path = archive / "chunks" / "part0.zip"
    chunk = Chunk(None, path)
    first, second, *_ = chunk.members(Fetcher())
    content = bytearray(path.read_bytes())
    content[second.header_offset + 200] ^= 0xFF
    path.write_bytes(content)
    found = [pickle.loads(pickle.dumps(chunk.read(each, Fetcher()))) for each in (first, second)]
    assert found[0].content() == png(0)
    with pytest.raises(SourceError, match="is damaged"):
        found[1].content()
    chunk.remove()


def test_server_without_ranges(chunk, monkeypatch):
    def refuse(self, url, fetcher):
        raise NoRanges("none")

    monkeypatch.setattr(RemoteFile, "__init__", refuse)
    assert chunk.members(Fetcher()) and chunk.path.exists() and not chunk.by_range


def test_remote_file_reads_as_a_file(demo, chunk):
    content = requests.get(chunk.url, timeout=60).content
    remote = io.BufferedReader(RemoteFile(chunk.url, Fetcher()), 1000)
    random = np.random.default_rng(0)
    for start, length in random.integers(0, len(content), (10, 2)):
        remote.seek(start)
        assert remote.read(length) == content[start : start + length]
    remote.seek(-5, io.SEEK_END)
    assert remote.read() == content[-5:] and remote.read(1) == b""


def test_ranges_that_break_off_or_are_refused(tmp_path):
    with DemoArchive(galaxies=8) as archive:
        (chunk, *_) = image_chunks(archive.decals_url, Fetcher(), tmp_path, keep=False)
        members = chunk.members(Fetcher())
        archive.add_fault(Fault("part1.zip", "403"))
        with pytest.raises(FetchError, match="403"):
            chunk.read(members[0], Fetcher())
        archive.add_fault(Fault("part1.zip", "503", retry_after=0))
        archive.add_fault(Fault("part1.zip", "truncate"))
        assert chunk.read(members[0], Fetcher(backoff=0)).startswith(b"\x89PNG")


def test_what_is_no_record_is_said(demo, tmp_path):
    with pytest.raises(BuildError, match=r"expected the JSON of a Zenodo record .*an HTML page \(Index of"):
        image_chunks(demo.sas_url, Fetcher(), tmp_path, keep=False)
    with pytest.raises(BuildError, match="out of reach"):
        image_chunks(demo.zenodo_url + "/api/records/1", Fetcher(), tmp_path, keep=False)
    candels = demo.zenodo_url + "/api/records/2604740"
    with pytest.raises(BuildError, match="no .zip archive"):
        image_chunks(candels, Fetcher(), tmp_path, keep=False)


@pytest.fixture(scope="module")
def crowd():
    """An archive of its own, with enough galaxies for archives that are done with before the end."""
    with DemoArchive(galaxies=48) as archive:
        yield archive


def recipe_from(archive, tmp_path, **options):
    url = record_files(archive.decals_url, Fetcher())["example_ring_catalog_basic.csv"].url
    (tmp_path / "rings.csv").write_bytes(requests.get(url, timeout=60).content)
    return GZDecalsRecipe(tmp_path / "rings.csv", tmp_path / "built", archive_url=archive.decals_url, **options)


@pytest.mark.slow
def test_archives_go_one_by_one(crowd, tmp_path, monkeypatch):
    """When an archive is fetched, none is there."""
    there = []
    fetch = Fetcher.download

    def noting(self, url, path, *args, **kwargs):
        there.append(len(list(path.parent.glob("*.zip"))))
        return fetch(self, url, path, *args, **kwargs)

    monkeypatch.setattr(Fetcher, "download", noting)
    recipe = recipe_from(crowd, tmp_path)
    summary = build(recipe, tmp_path / "built", workers=2, connections=1)
    assert summary.failed == 0 and summary.rows == 48
    assert len(there) == 4 and max(there) == 0
    recipe.close()
    assert not list((tmp_path / "built").rglob("*.zip"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of Dask
def test_workers_of_a_cluster_fetch_a_few_archives_at_once(crowd, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    from skyshards.cluster import connected
    from skyshards.fetch.in_workers import FetcherInWorkers

    others, far = [], FetcherInWorkers.download

    def noting(self, url, path, *args, **kwargs):
        others.append(len(list(path.parent.glob("*.zip.downloaded"))) - 1)
        return far(self, url, path, *args, **kwargs)

    (tmp_path / "here").mkdir()
    (tmp_path / "far").mkdir()
    here, there = (recipe_from(crowd, tmp_path / name) for name in ("here", "far"))
    assert build(here, here.output_dir, workers=0).failed == 0
    here.close()
    monkeypatch.setattr("gz_decals.find_images.AT_ONCE", 2)
    monkeypatch.setattr(FetcherInWorkers, "download", noting)
    monkeypatch.setattr("skyshards.fetch.resume.download", lambda *_: pytest.fail("downloaded here"))
    with connected("local", 2) as executor:
        assert build(there, there.output_dir, executor=executor).failed == 0
    there.close()
    assert len(others) == 4 and max(others) == 1
    found = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (here.output_dir, there.output_dir)
    ]
    assert found[0] == found[1] and not any(path.suffix == ".zip" for path in found[1])


@pytest.mark.slow
def test_goes_on_after_kill_9(crowd, tmp_path):
    """Killed while archives come and go, the same command ends with what an undisturbed one gives, and nothing else."""
    folder = tmp_path / "built"
    command = [sys.executable, str(ROOT / "build_parent_sample.py"), "gz_decals", "--archive_url", crowd.decals_url]
    command += ["-o", str(folder), "--workers", "1", "--connections", "2"]
    for _ in range(3):
        before = sum(request.path.endswith(".zip/content") for request in crowd.requests)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            ends = time.monotonic() + 60
            # Six requests for parts of archives list them; what comes after fetches one.
            while time.monotonic() < ends and process.poll() is None:
                if sum(request.path.endswith(".zip/content") for request in crowd.requests) > before + 9:
                    break
                time.sleep(0.01)
            process.kill()
    assert subprocess.run(command, capture_output=True, timeout=120).returncode == 0
    assert len(skyshards.open(folder)) == 48
    assert list(verify.problems(folder)) == []
    assert not (folder / "downloads").exists() and not (folder / ".build").exists()


@pytest.mark.slow
def test_keep_archives(crowd, tmp_path):
    recipe = recipe_from(crowd, tmp_path, keep_archives=True)
    assert build(recipe, tmp_path / "built", workers=2).failed == 0
    recipe.close()
    downloads = tmp_path / "built" / "downloads"
    kept = {path for path in downloads.rglob("*") if path.is_file()}
    assert len([path for path in kept if path.suffix == ".zip"]) == 4
    next((tmp_path / "built").rglob("*.hdf5")).unlink()  # so that a later build, which keeps nothing, reads some again
    again = recipe_from(crowd, tmp_path)
    assert build(again, tmp_path / "built", workers=2).failed == 0
    again.close()
    assert {path for path in downloads.rglob("*") if path.is_file()} == kept


def test_a_second_build_fetches_no_archive(crowd, tmp_path):
    recipe = recipe_from(crowd, tmp_path)
    build(recipe, tmp_path / "built", workers=2)
    recipe.close()
    before = len(crowd.requests)
    again = recipe_from(crowd, tmp_path)
    assert build(again, tmp_path / "built", workers=2).added == 0
    again.close()
    asked = [request for request in crowd.requests[before:] if request.path.endswith(".zip/content")]
    assert asked and all("Range" in request.headers for request in asked)


def test_the_same_shards_by_ranges_and_from_archives(crowd, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    build(recipe_from(crowd, tmp_path / "a"), tmp_path / "a" / "built", workers=2)
    monkeypatch.setattr(chunks, "FEW", 2.0)
    build(recipe_from(crowd, tmp_path / "b"), tmp_path / "b" / "built", workers=1, connections=3)
    shards = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.hdf5"))
    assert shards
    for shard in shards:
        assert (tmp_path / "a" / shard).read_bytes() == (tmp_path / "b" / shard).read_bytes()


def test_says_which_archive_cannot_be_listed(tmp_path):
    with DemoArchive(galaxies=8) as archive:
        archive.add_fault(Fault("part1.zip", "404", times=None))
        recipe = recipe_from(archive, tmp_path)
        with pytest.raises(BuildError, match="part1.zip cannot be listed"):
            build(recipe, tmp_path / "built", workers=1)
        recipe.close()
    assert not list(tmp_path.rglob("*.hdf5"))


def test_goes_on_after_an_archive_could_not_be_fetched(tmp_path, monkeypatch):
    """Its images fail together, after one attempt; the next run fetches it, and no other."""
    with DemoArchive(galaxies=12) as archive:
        recipe = recipe_from(archive, tmp_path)
        asked = []
        fetch = Fetcher.download

        def failing(self, url, path, *args, **kwargs):
            asked.append(path.name)
            if path.name.endswith("part2.zip"):
                raise FetchError(f"{url}: gone")
            return fetch(self, url, path, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(Fetcher, "download", failing)
            assert build(recipe, tmp_path / "built", workers=1).failed == 3
        recipe.close()
        assert len(asked) == 4
        again = recipe_from(archive, tmp_path)
        summary = build(again, tmp_path / "built", workers=1)
        again.close()
        assert (summary.failed, summary.added, summary.rows) == (0, 3, 12)


def test_truncated_and_changed_downloads_are_not_accepted(tmp_path):
    with DemoArchive(galaxies=8) as archive:
        archive.add_fault(Fault("part1.zip", "truncate"))
        archive.add_fault(Fault("part1.zip", "bad_checksum"))
        (chunk, *_) = image_chunks(archive.decals_url, Fetcher(), tmp_path, keep=False)
        Fetcher(backoff=0).download(chunk.url, chunk.path, chunk.file.checksum)
        assert chunk.path.read_bytes() == requests.get(chunk.url, timeout=60).content


# Images, once they are fetched.


def test_index_finds_by_path_then_by_stem():
    places = [Place(name, name) for name in ("a/x.png", "b/x.png", "b/y.jpg", "c/J000411.19+020924.0.png")]
    index = Index(places)
    assert index.find("b/x.png").name == "b/x.png"
    assert index.find("data/b/x.png").name == "b/x.png"
    assert index.find("elsewhere/x.jpg").name == "a/x.png"
    assert index.find("y").name == "b/y.jpg"
    assert index.find("J000411.19+020924.0").name == "c/J000411.19+020924.0.png"
    assert index.find("J000411.19+020924") is None


@pytest.mark.parametrize(("name", "found"), [("a/J1.2+3.4.PNG", "J1.2+3.4"), ("J1.2+3.4", "J1.2+3.4"), ("x.jpeg", "x")])
def test_stem_keeps_the_points_of_names(name, found):
    assert stem(name) == found


def test_resampling_is_lossless_and_once():
    content = png(0, 64)
    small, growth = stored(content, 16)
    with Image.open(io.BytesIO(content)) as picture, Image.open(io.BytesIO(small)) as found:
        assert found.format == "PNG" and growth == 4.0
        wanted = picture.resize((16, 16), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))
    assert stored(content, 64) == (content, 1.0)


def test_resampling_does_not_alias():
    """Stripes one pixel wide are grey from afar."""
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    file = io.BytesIO()
    Image.fromarray(stripes).save(file, "PNG")
    small, _ = stored(file.getvalue(), 16)
    inner = np.asarray(Image.open(io.BytesIO(small)))[:, 2:-2]
    assert np.abs(inner.astype(int) - 127).max() < 5


def test_what_is_no_image_is_refused():
    whole = png(0)
    damaged = bytearray(whole)
    damaged[whole.index(b"IDAT") + 20] ^= 1
    for content in (b"", b"GIF89a", whole[: len(whole) // 2], bytes(damaged)):
        with pytest.raises(SourceError, match="not a whole PNG or JPEG"):
            stored(content)
    file = io.BytesIO()
    Image.new("L", (9000, 1)).save(file, "PNG")
    with pytest.raises(SourceError, match="at most 8192"):
        stored(file.getvalue())
    file = io.BytesIO()
    Image.new("RGB", (20, 10)).save(file, "PNG")
    with pytest.raises(SourceError, match="square"):
        stored(file.getvalue(), 8)
