"""The archive is fetched whole, unpacked safely, and read with every fault named."""

import io
import shutil
import tarfile

import numpy as np
import pandas as pd
import pytest

from candels_blend import download as downloads
from candels_blend.download import ARCHIVE, download, unpack
from candels_blend.stamp_archive import CATALOGUE, FILES, IMAGES, SEGMENTATION, read_archive
from candels_blend.stamps import prepare
from demo_archive import DemoArchive, Fault
from skyshards.errors import BuildError, FetchError


@pytest.fixture
def folder(datapath, tmp_path):
    """A copy of the archive that a test may spoil."""
    return shutil.copytree(datapath, tmp_path / "data")


def rewrite(path, change):
    array = np.load(path)
    np.save(path, change(array))


def test_reads_what_is_there(archive, datapath):
    assert (archive.images == np.load(datapath / IMAGES)).all()
    assert (archive.segmentation == np.load(datapath / SEGMENTATION)).all()
    assert archive.segmentation.dtype == np.int16 and archive.images.dtype == np.float32
    assert archive.rows.tolist() == list(range(40)) and not archive.left_out


def test_real_form(shared_data, tmp_path):
    unpack(shared_data / "candels" / ARCHIVE, tmp_path)
    archive = read_archive(tmp_path)
    assert len(archive.rows) == 300 and not archive.left_out
    assert (archive.segmentation[:, 64, 64] == archive.catalogue["segval"]).all()


@pytest.mark.parametrize("name", FILES)
def test_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(BuildError, match=f"{name} not found; fetch the archive with"):
        read_archive(folder)


@pytest.mark.parametrize("name", [IMAGES, SEGMENTATION])
@pytest.mark.parametrize("length", [0, 3, 100, 50_000])
def test_truncated_array(folder, name, length):
    (folder / name).write_bytes((folder / name).read_bytes()[:length])
    with pytest.raises(BuildError, match=f"{name}: not a whole .npy file"):
        read_archive(folder)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (IMAGES, lambda array: array[:, :64]),
        (IMAGES, lambda array: array.astype(np.int16)),
        (IMAGES, lambda array: array[0]),
        (SEGMENTATION, lambda array: array.astype(np.float32)),
        (SEGMENTATION, lambda array: array[..., None]),
    ],
)
def test_array_of_another_form(folder, name, change):
    rewrite(folder / name, change)
    with pytest.raises(BuildError, match=rf"{name}: expected .* values of shape \(n, 128, 128\), found"):
        read_archive(folder)


def test_pickled_array_is_not_opened(folder):
    np.save(folder / IMAGES, np.array([print], object), allow_pickle=True)
    with pytest.raises(BuildError, match="not a whole .npy file"):
        read_archive(folder)


@pytest.mark.parametrize("name", [IMAGES, SEGMENTATION])
def test_arrays_and_catalogue_of_different_length(folder, name):
    rewrite(folder / name, lambda array: array[:-1])
    with pytest.raises(BuildError, match=f"expected as many stamps as catalogue rows, found .*39 in {name}"):
        read_archive(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found no line that names its columns; fetch"),
        ("ID,RA\n1,2\n", "expected the columns ID, RA, DEC, .*galtype, found no DEC"),
        ("ID,RA,ID,mag,radius,z,galtype\n", "found 2 ID"),
        ("ID,RA,DEC,mag,radius,z,galtype\n1,2,3,bright,5,6,disk\n", "others in column mag"),
        ("ID,RA,DEC,mag,radius,z,galtype\nx,2,3,4,5,6,disk\n", "others in column ID"),
        ("\0" * 99, "found no"),
    ],
)
def test_bad_catalogue(folder, text, message):
    (folder / CATALOGUE).write_text(text)
    with pytest.raises(BuildError, match=message):
        read_archive(folder)


def test_unusable_stamps_are_left_out_counted_and_named(folder):
    images, segmentation = np.load(folder / IMAGES), np.load(folder / SEGMENTATION)
    catalogue = pd.read_csv(folder / CATALOGUE)
    images[3, 5, 5], images[7, 64, 64], images[8, 0, 0] = np.nan, np.inf, 1e30
    segmentation[11, 64, 64] = 0
    catalogue.loc[12, "radius"], catalogue.loc[13, "DEC"] = np.nan, 91
    np.save(folder / IMAGES, images)
    np.save(folder / SEGMENTATION, segmentation)
    catalogue.to_csv(folder / CATALOGUE, index=False)
    archive = read_archive(folder)
    ids = catalogue["ID"]
    assert set(archive.rows) == set(range(40)) - {3, 7, 8, 11, 12, 13}
    assert list(archive.left_out.values()) == [[ids[3], ids[7], ids[8]], [ids[11]], [ids[12], ids[13]]]
    complaints = list(archive.complaints())
    assert (
        complaints[0] == f"3 of 40 stamps left out (pixels that are NaN or infinite): ID {ids[3]}, {ids[7]}, {ids[8]}"
    )
    assert np.isfinite(prepare(archive).images).all()


def packed(path, *members):
    """A .tar.gz file of (TarInfo or name, content)."""
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            member = tarfile.TarInfo(member) if isinstance(member, str) else member
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def link(name, target, kind=tarfile.SYMTYPE):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


WHOLE = [(name, b"content of " + name.encode()) for name in FILES]


def test_files_are_found_wherever_they_lie_in_the_archive(tmp_path):
    nested = [(f"./blender/data/{name}", content) for name, content in WHOLE] + [("README.txt", b"hello")]
    unpack(packed(tmp_path / "a.tar.gz", *nested), tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == dict(WHOLE)


@pytest.mark.parametrize(
    "member",
    [
        ("../candels_img.npy", b"x"),
        ("/etc/candels_img.npy", b"x"),
        ("a/../../candels_cat.csv", b"x"),
        (link("candels_img.npy", "/etc/passwd"), b""),
        (link("candels_img.npy", "candels_seg.npy", tarfile.LNKTYPE), b""),
        (link("candels_img.npy", "", tarfile.FIFOTYPE), b""),
        (link("candels_img.npy", "", tarfile.CHRTYPE), b""),
        ("other/candels_img.npy", b"x"),
    ],
)
def test_malicious_member_is_refused(tmp_path, member):
    inside = tmp_path / "deep" / "inside"
    with pytest.raises(BuildError, match="refused"):
        unpack(packed(tmp_path / "a.tar.gz", *WHOLE, member), inside)
    assert not [path for path in tmp_path.rglob("candels_*") if path.parent != inside]
    assert not list(inside.iterdir())


def test_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "MAX_UNPACKED", 1 << 20)
    bomb = packed(tmp_path / "a.tar.gz", ("padding", bytes(2 << 20)), *WHOLE)
    with pytest.raises(BuildError, match="unpacks to more than 1048576 bytes .*refused"):
        unpack(bomb, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7, 0.999])
def test_truncated_archive(tarball, tmp_path, share):
    content = tarball.read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BuildError, match="not a whole .tar.gz file|found no"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_corrupt_archive(tarball, tmp_path):
    content = bytearray(tarball.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 1000] = bytes(1000)
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(BuildError, match="not a whole .tar.gz file"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_archive_of_something_else(tmp_path):
    with pytest.raises(BuildError, match="expected candels_img.npy, .* found no candels_seg.npy, candels_cat.csv"):
        unpack(packed(tmp_path / "a.tar.gz", WHOLE[0]), tmp_path / "out")


@pytest.fixture(scope="module")
def zenodo():
    with DemoArchive(galaxies=1, stamps=12) as archive:
        yield archive


def test_download_from_the_record(zenodo, tmp_path):
    download(tmp_path, zenodo.zenodo_url)
    assert len(read_archive(tmp_path).rows) == 12
    assert (tmp_path / ARCHIVE).is_file() and not list(tmp_path.glob("*.part"))


def test_delete_removes_the_archive_and_nothing_else(zenodo, tmp_path):
    download(tmp_path, zenodo.zenodo_url, delete=True)
    assert not (tmp_path / ARCHIVE).exists() and len(read_archive(tmp_path).rows) == 12


def test_files_that_are_there_are_not_fetched_again(zenodo, tmp_path):
    download(tmp_path, zenodo.zenodo_url)
    before = len(zenodo.requests)
    download(tmp_path, zenodo.zenodo_url)
    assert len(zenodo.requests) == before


def test_download_goes_on_where_it_stopped(zenodo, tmp_path):
    download(tmp_path / "whole", zenodo.zenodo_url)
    content = (tmp_path / "whole" / ARCHIVE).read_bytes()
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / f"{ARCHIVE}.part").write_bytes(content[: len(content) // 2])
    download(tmp_path / "again", zenodo.zenodo_url)
    assert zenodo.requests[-1].headers["Range"] == f"bytes={len(content) // 2}-"
    assert (tmp_path / "again" / ARCHIVE).read_bytes() == content


@pytest.mark.parametrize("rest", [b"start of another file", None])
def test_part_of_another_file_is_dropped(zenodo, tmp_path, rest):
    (tmp_path / f"{ARCHIVE}.part").write_bytes(rest or bytes(50 << 20))
    download(tmp_path, zenodo.zenodo_url)
    assert len(read_archive(tmp_path).rows) == 12


def test_body_that_breaks_off_is_taken_up_again(tmp_path):
    with DemoArchive(galaxies=1, stamps=12, faults=[Fault(f"GET .*{ARCHIVE}", "truncate", times=2)]) as archive:
        download(tmp_path, archive.zenodo_url)
        ranges = [request.headers.get("Range") for request in archive.requests if ARCHIVE in request.path]
    assert ranges[0] is None and all(ranges[1:]) and len(ranges) == 3
    assert len(read_archive(tmp_path).rows) == 12


@pytest.mark.slow
def test_body_that_never_arrives_whole(tmp_path):
    fault = Fault(f"GET .*{ARCHIVE}", "bad_checksum", times=None)
    with (
        DemoArchive(galaxies=1, stamps=12, faults=[fault]) as archive,
        pytest.raises(FetchError, match="wrong checksum"),
    ):
        download(tmp_path, archive.zenodo_url)
    assert not any((tmp_path / name).exists() for name in (*FILES, ARCHIVE))


def test_record_without_the_file(zenodo, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "ARCHIVE", "other.tar.gz")
    with pytest.raises(FetchError, match=f"expected a file other.tar.gz, found {ARCHIVE}"):
        download(tmp_path, zenodo.zenodo_url)


def test_page_that_is_no_record(zenodo, tmp_path):
    with pytest.raises(FetchError, match="404"):
        download(tmp_path, zenodo.url + "/nothing")


def test_full_disk(zenodo, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads.shutil, "copyfileobj", full)
    with pytest.raises(BuildError, match="the disk is full; free some space and run the same command again"):
        download(tmp_path, zenodo.zenodo_url)
    assert {path.name for path in tmp_path.iterdir()} == {ARCHIVE, f".{ARCHIVE}.lock"}
