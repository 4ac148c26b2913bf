"""The TAR archives of images: nothing lost but what was in flight, and stock tools read them."""

import gzip
import io
import multiprocessing
import os
import signal
import tarfile
import threading

import pandas as pd
import pytest
from datasets import load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gz_sdss import save_images_to_TAR
from gz_sdss.image_list import COLUMNS, Cutout
from gz_sdss.image_tars import DONE, ImageArchive
from skyshards.errors import BuildError, UsageError
from tests.gz_sdss.conftest import picture

FIRST = 1237648720693755918


def contents(count, start=0):
    return {FIRST + number: picture(8, 8, seed=number) for number in range(start, start + count)}


def filled(folder, images, **options):
    archive = ImageArchive(folder, **options)
    for objid, content in images.items():
        archive.add(objid, content)
    return archive


def test_images_of_another_origin_are_refused(tmp_path):
    images = contents(3)
    filled(tmp_path, dict(list(images.items())[:2]), origin="pictures of cats").close()
    with pytest.raises(UsageError, match="holds pictures of cats, expected pictures of dogs; delete that folder"):
        ImageArchive(tmp_path, origin="pictures of dogs")
    filled(tmp_path, dict(list(images.items())[2:]), origin="pictures of cats").close()
    assert {objid: ImageArchive(tmp_path).get(objid) for objid in images} == images


def in_tars(folder):
    """What stock `tarfile` reads from all sealed archives."""
    found = {}
    for path in sorted(folder.glob("TAR-*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                found[int(member.name.removesuffix(".jpg"))] = tar.extractfile(member).read()
    return found


@pytest.mark.parametrize(
    "kind",
    [
        dict,
        lambda images: list(images.items()),
        lambda images: ((name, images[name], 0.1, "spiral") for name in images),
    ],
)
def test_save_images_to_TAR(tmp_path, kind):
    images = {"1.jpg": b"one", "2.jpg": b"", "3.jpg": bytes(100_000)}
    save_images_to_TAR(tmp_path / "a.tar", kind(images))
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert {member.name: tar.extractfile(member).read() for member in tar} == images


def test_a_tar_that_cannot_be_written_leaves_the_one_before(tmp_path):
    save_images_to_TAR(tmp_path / "a.tar", {"1.jpg": b"one"})
    before = (tmp_path / "a.tar").read_bytes()
    with pytest.raises(TypeError):
        save_images_to_TAR(tmp_path / "a.tar", {"1.jpg": b"one", "2.jpg": None})
    assert (tmp_path / "a.tar").read_bytes() == before
    assert os.listdir(tmp_path) == ["a.tar"]


def test_archives_are_sealed_when_full_and_listed(tmp_path):
    images = contents(25)
    archive = filled(tmp_path, images, members_per_tar=10)
    assert sorted(path.name for path in tmp_path.glob("TAR*")) == [
        "TAR-000000.tar",
        "TAR-000001.tar",
        "TAR-000002.tar.part",
    ]
    assert len(in_tars(tmp_path)) == 20
    archive.close()
    assert in_tars(tmp_path) == images
    done = pd.read_csv(tmp_path / DONE, dtype=str)
    assert list(done) == list(COLUMNS)
    assert done["objid"].astype("int64").tolist() == list(images)
    assert done["tar"].value_counts().to_dict() == {"TAR-000000.tar": 10, "TAR-000001.tar": 10, "TAR-000002.tar": 5}


def test_the_list_is_not_written_for_each_image(tmp_path):
    archive = filled(tmp_path, contents(10), members_per_tar=10)
    before = (tmp_path / DONE).stat()
    for objid, content in contents(9, 10).items():
        archive.add(objid, content)
    assert (tmp_path / DONE).stat() == before
    archive.close()


def test_gives_back_what_was_added(tmp_path):
    images = contents(25)
    archive = filled(tmp_path, images, members_per_tar=10)
    assert all(archive.get(objid) == content for objid, content in images.items())
    assert archive.get(FIRST - 1) is None
    archive.close()
    with ImageArchive(tmp_path, members_per_tar=10) as again:
        assert len(again) == 25 and all(again.get(objid) == content for objid, content in images.items())


def test_goes_on_filling_the_last_archive(tmp_path):
    for start in range(0, 24, 4):
        filled(tmp_path, contents(4, start), members_per_tar=10).close()
    assert in_tars(tmp_path) == contents(24)
    assert len(list(tmp_path.glob("TAR*"))) == 3


def test_the_same_images_make_the_same_archives(tmp_path):
    filled(tmp_path / "a", contents(13), members_per_tar=10).close()
    for start, count in ((0, 3), (3, 9), (12, 1)):
        filled(tmp_path / "b", contents(count, start), members_per_tar=10).close()
    for path in (tmp_path / "a").glob("TAR*"):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_the_order_of_arrival_does_not_show(tmp_path):
    """Added in any order, by runs that are killed or not: the archives and the list are the same."""
    images = contents(25)

    def add(folder, objids, close=True):
        archive = ImageArchive(folder, members_per_tar=10)
        archive.arrange(images)
        for objid in objids:
            archive.add(objid, images[objid])
        if close:
            archive.close()

    backwards = list(images)[::-1]
    add(tmp_path / "a", images)
    add(tmp_path / "b", backwards)
    for start, close in ((0, False), (7, True), (14, False), (21, True)):  # not closed: killed
        add(tmp_path / "c", backwards[start : start + 7], close)
    expected = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert len(expected) == 4
    for other in ("b", "c"):
        assert {path.name: path.read_bytes() for path in (tmp_path / other).iterdir()} == expected
    assert pd.read_csv(tmp_path / "a" / DONE)["objid"].tolist() == list(images)


@pytest.mark.slow
@settings(max_examples=60)
@given(st.integers(0, 3000))
def test_a_torn_archive_loses_its_torn_member_alone(tmp_path_factory, torn):
    """The file being filled ends anywhere: at a member's end, in its header, content or padding."""
    folder = tmp_path_factory.mktemp("torn")
    images = contents(13)
    filled(folder, images, members_per_tar=10)  # not closed: killed
    part = folder / "TAR-000001.tar.part"
    size = part.stat().st_size
    os.truncate(part, max(0, size - torn))
    with ImageArchive(folder, members_per_tar=10) as archive:
        whole = [objid for objid in images if objid in archive]
        assert whole == list(images)[: len(whole)]
        assert len(whole) >= 10 and (torn or len(whole) == 13)
        assert all(archive.get(objid) == images[objid] for objid in whole)
        for objid in list(images)[len(whole) :]:
            archive.add(objid, images[objid])
    assert in_tars(folder) == images
    assert len(pd.read_csv(folder / DONE)) == 13


def test_a_list_that_is_gone_is_made_again(tmp_path):
    filled(tmp_path, contents(25), members_per_tar=10).close()
    before = pd.read_csv(tmp_path / DONE)
    (tmp_path / DONE).unlink()
    ImageArchive(tmp_path, members_per_tar=10).close()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / DONE), before)


def test_killed_between_the_list_and_the_name(tmp_path):
    """The list names an archive that still has the name of one being filled."""
    filled(tmp_path, contents(10), members_per_tar=10)
    os.replace(tmp_path / "TAR-000000.tar", tmp_path / "TAR-000000.tar.part")
    with ImageArchive(tmp_path, members_per_tar=10) as archive:
        assert len(archive) == 10
    assert in_tars(tmp_path) == contents(10)
    assert len(pd.read_csv(tmp_path / DONE)) == 10


def test_an_archive_that_is_gone_is_not_done(tmp_path):
    filled(tmp_path, contents(20), members_per_tar=10).close()
    (tmp_path / "TAR-000000.tar").unlink()
    archive = ImageArchive(tmp_path, members_per_tar=10)
    assert [objid in archive for objid in contents(20)] == [False] * 10 + [True] * 10


@pytest.mark.parametrize("damage", ["content", "header", "cut"])
def test_a_damaged_image_is_not_given(tmp_path, damage):
    filled(tmp_path, contents(3)).close()
    path = tmp_path / "TAR-000000.tar"
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[:600]
    else:
        data[600 if damage == "content" else 0] ^= 0xFF
    path.write_bytes(data)
    archive = ImageArchive(tmp_path)
    assert archive.get(FIRST) is None
    archive.add(FIRST, contents(1)[FIRST])
    assert archive.get(FIRST) == contents(1)[FIRST]
    archive.close()
    assert ImageArchive(tmp_path).get(FIRST) == contents(1)[FIRST]


@pytest.mark.parametrize(
    "content", [b"garbage", gzip.compress(b"objid,tar,sha256\nx,y,z\n", mtime=0), gzip.compress(b"a\n1\n", mtime=0)]
)
def test_a_broken_list_is_named(tmp_path, content):
    (tmp_path / DONE).write_bytes(content)
    with pytest.raises(BuildError, match=DONE):
        ImageArchive(tmp_path)


def test_a_full_disk_loses_one_image(tmp_path, monkeypatch):
    archive = filled(tmp_path, contents(3))
    pwrite = os.pwrite

    def full(file, data, start):
        if len(data) > 100:
            return pwrite(file, data[:100], start)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        archive.add(FIRST + 3, picture())
    monkeypatch.undo()
    for objid, content in contents(2, 3).items():
        archive.add(objid, content)
    archive.close()
    assert in_tars(tmp_path) == contents(5)


def test_threads_share_it(tmp_path):
    images = contents(60)
    archive = ImageArchive(tmp_path, members_per_tar=7)

    def work(number):
        for objid in list(images)[number::4]:
            archive.add(objid, images[objid])
            assert archive.get(objid) == images[objid]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    archive.close()
    assert in_tars(tmp_path) == images


def _fill_until_killed(folder, said):
    archive = ImageArchive(folder, members_per_tar=7)
    for objid, content in contents(10_000).items():
        archive.add(objid, content)
        said.send(objid)


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 50])
def test_kill_9_loses_nothing_that_was_added(tmp_path, count):
    context = multiprocessing.get_context("spawn")
    said, saying = context.Pipe(duplex=False)
    process = context.Process(target=_fill_until_killed, args=(tmp_path, saying))
    process.start()
    saying.close()
    added = [said.recv() for _ in range(count)]
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with pytest.raises(EOFError):
        while True:
            added.append(said.recv())
    said.close()
    archive = ImageArchive(tmp_path, members_per_tar=7)
    assert all(archive.get(objid) == picture(8, 8, seed=objid - FIRST) for objid in added)
    archive.close()
    assert set(in_tars(tmp_path)) >= set(added)


def test_stock_webdataset_loads_them(tmp_path):
    images = {objid: picture(seed=objid % 1000) for objid in list(contents(12))}
    filled(tmp_path, images, members_per_tar=5).close()
    rows = load_dataset("webdataset", data_files=str(tmp_path / "TAR-*.tar"), split="train", streaming=True)
    found = {int(row["__key__"]): row["jpg"] for row in rows}
    assert set(found) == set(images)
    with Image.open(io.BytesIO(images[FIRST])) as image:
        assert found[FIRST].tobytes() == image.tobytes()


LABELS = {objid: number % 2 for number, objid in enumerate(contents(13))}
SHOWN = Cutout(180.0, -1.5, 0.004, 'https://example.org/cutout?POS=180,-1.5&x="1"')


def labelled(folder, images, labels=LABELS, **options):
    archive = ImageArchive(folder, members_per_tar=10, **options)
    archive.arrange(images, labels)
    for objid, content in images.items():
        archive.add(objid, content, SHOWN)
    return archive


def labels_in_tars(folder):
    rows = load_dataset("webdataset", data_files=f"{folder}/TAR-*.tar", split="train", streaming=True)
    return {int(row["__key__"]): row["cls"] for row in rows}


def test_labels_are_beside_the_images(tmp_path):
    images = contents(13)
    labelled(tmp_path, images).close()
    assert labels_in_tars(tmp_path) == LABELS
    with tarfile.open(tmp_path / "TAR-000000.tar") as tar:
        names = tar.getnames()
    assert names == [f"{objid}{suffix}" for objid in list(images)[:10] for suffix in (".jpg", ".cls")]
    again = ImageArchive(tmp_path, members_per_tar=10)
    assert {objid: again.get(objid) for objid in images} == images
    assert pd.read_csv(tmp_path / DONE, index_col="objid")["label"].to_dict() == LABELS


@pytest.mark.parametrize("without", ["nothing", "the list", "the seal"])
def test_what_an_image_shows_is_kept(tmp_path, without):
    images = contents(13)
    archive = labelled(tmp_path, images)
    if without != "the seal":  # as after a kill
        archive.close()
    if without == "the list":
        (tmp_path / DONE).unlink()
    found = ImageArchive(tmp_path, members_per_tar=10)
    assert {objid: found.get(objid) for objid in images} == images
    kept = [objid for objid in images if found.cutout(objid) == SHOWN]
    assert len(kept) == {"nothing": 13, "the list": 0, "the seal": 13}[without]
    found.close()
    assert labels_in_tars(tmp_path).keys() == images.keys()


@pytest.mark.parametrize("used", [True, False])
def test_other_labels_are_written_where_images_are_used(tmp_path, used):
    images = contents(13)
    labelled(tmp_path, images).close()
    other = {objid: 1 - label for objid, label in LABELS.items()}
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with ImageArchive(tmp_path, members_per_tar=10) as archive:
        archive.arrange(images, other)
        for objid in images if used else ():
            archive.get(objid)
    assert labels_in_tars(tmp_path) == (other if used else LABELS)
    assert used or before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again = ImageArchive(tmp_path, members_per_tar=10)
    assert all(again.get(objid) == content and again.cutout(objid) == SHOWN for objid, content in images.items())


def test_labels_stay_where_a_galaxy_is_no_more_in_the_sample(tmp_path):
    images = contents(13)
    labelled(tmp_path, images).close()
    fewer = dict(list(images.items())[::2])
    with ImageArchive(tmp_path, members_per_tar=10) as archive:
        archive.arrange(fewer, dict.fromkeys(fewer, 5))
        for objid in fewer:
            archive.get(objid)
    assert labels_in_tars(tmp_path) == LABELS | dict.fromkeys(fewer, 5)


def test_a_folder_of_an_earlier_version_gets_labels(tmp_path):
    images = contents(13)
    filled(tmp_path, images, members_per_tar=10).close()
    table = pd.read_csv(tmp_path / DONE, dtype=str)[["objid", "tar", "sha256"]]
    table.to_csv(tmp_path / DONE, index=False)
    with ImageArchive(tmp_path, members_per_tar=10) as archive:
        archive.arrange(images, LABELS)
        assert {objid: archive.get(objid) for objid in images} == images
        assert archive.cutout(FIRST) is None
    assert labels_in_tars(tmp_path) == LABELS


def test_another_dataset_s_images_are_only_read(tmp_path):
    images = contents(13)
    labelled(tmp_path, images)
    (tmp_path / "TAR-000007.tar.part").touch()
    (tmp_path / DONE).unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with ImageArchive(tmp_path, members_per_tar=10, read_only=True) as archive:
        assert {objid: archive.get(objid) for objid in images} == images
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"ra": 1}'])
def test_a_damaged_member_is_named(tmp_path, body):
    archive = ImageArchive(tmp_path)
    for objid, content in contents(3).items():
        archive.add(objid, content, SHOWN)
    path = tmp_path / "TAR-000000.tar.part"
    text = SHOWN.to_json()
    path.write_bytes(path.read_bytes().replace(text, body.ljust(len(text))))
    with pytest.raises(BuildError, match=r"TAR-000000.tar.part: .*; delete it to download its images again"):
        ImageArchive(tmp_path)


def test_a_cutout_is_the_same_within_a_hundredth_of_a_pixel():
    pixel = 0.004 / 64
    assert SHOWN.is_of(180.0, -1.5, 0.004, 64) and Cutout(0.0, 0.0, 1.0, "").is_of(360.0, 0.0, 1.0, 64)
    assert SHOWN.is_of(180.0 + 0.009 * pixel, -1.5, 0.004, 64)
    for ra, dec, fov in ((0.02, 0, 0), (0, 0.02, 0), (0, 0, 0.02)):
        assert not SHOWN.is_of(180.0 + ra * pixel, -1.5 + dec * pixel, 0.004 + fov * pixel, 64)
    assert Cutout.from_json(SHOWN.to_json()) == SHOWN
