"""One shard file: what is in it, where, and which files are not to be trusted."""

import hashlib
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyshards.errors import ShardCorrupted
from skyshards.format import shard as hdf5
from skyshards.format.columns import flatten
from skyshards.pipeline.encode import encode
from tests.toy import SCHEMA, located, row

REPOSITORY = Path(__file__).parents[1]
SPECS = SCHEMA.specs
ATTRIBUTES = {"data_set": "toy", "healpix": "7"}


def rows(count=5):
    return located([encode(row(number), SPECS, f"s{number}") for number in range(count)], 16)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "shard.hdf5"


@pytest.fixture
def shard(path):
    hdf5.write(path, SPECS, rows(), ATTRIBUTES)
    return path


WRITE = """
import sys
from pathlib import Path
from skyshards.format import shard as hdf5
from tests.test_shard import ATTRIBUTES, SPECS, rows
hdf5.write(Path(sys.argv[1]), SPECS, rows(), ATTRIBUTES)
"""


@pytest.mark.slow
def test_the_same_rows_give_the_same_bytes_whenever_and_wherever(shard, tmp_path):
    digest = hashlib.sha256(shard.read_bytes()).hexdigest()
    time.sleep(1.1)  # HDF5 keeps times in seconds, where it keeps any
    hdf5.write(tmp_path / "later", SPECS, rows(), ATTRIBUTES)
    subprocess.run([sys.executable, "-c", WRITE, str(tmp_path / "elsewhere")], cwd=REPOSITORY, check=True)
    for name in ("later", "elsewhere"):
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest


def test_h5py_alone_reads_every_value(shard):
    with h5py.File(shard) as file:
        assert dict(file.attrs) == ATTRIBUTES
        for number in range(5):
            for name, value in flatten(row(number)).items():
                found = file[name.replace(".", "/")][number]
                if SPECS[name].kind == "string":
                    assert np.char.decode(found, "utf-8").tolist() == value
                elif SPECS[name].kind == "bytes":
                    assert found.tobytes() == value
                else:
                    assert found.dtype == SPECS[name].dtype
                    np.testing.assert_array_equal(found, np.asarray(value, SPECS[name].dtype))
        assert [name.decode() for name in file["source"]] == [f"s{number}" for number in range(5)]


def test_columns_say_what_they_are(shard):
    with h5py.File(shard) as file:
        assert dict(file["ra"].attrs) == {"description": "right ascension (ICRS)", "unit": "deg"}
        assert dict(file["votes/mask"].attrs) == {"description": "a mask"}


def test_no_filter_but_deflate(shard):
    """Any HDF5 reader has that one."""
    used = {}

    def note(name, item):
        if isinstance(item, h5py.Dataset):
            plist = item.id.get_create_plist()
            used[name] = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]

    with h5py.File(shard) as file:
        file.visititems(note)
    assert len(used) == len(SPECS)
    assert {name: filters for name, filters in used.items() if filters} == {"votes/mask": [h5py.h5z.FILTER_DEFLATE]}


@settings(max_examples=15)
@given(numbers=st.lists(st.integers(0, 10**5), min_size=1, max_size=12, unique=True))
def test_ranges_point_at_the_very_bytes(tmp_path_factory, numbers):
    path = tmp_path_factory.mktemp("ranges") / "shard.hdf5"
    encoded = located([encode(row(number), SPECS, f"s{number}") for number in numbers], 16)
    ranges = hdf5.write(path, SPECS, encoded, {})
    content = path.read_bytes()
    for index, number in enumerate(numbers):
        found = {
            name: content[start : start + size] for name, (start, size, _) in ((n, r[index]) for n, r in ranges.items())
        }
        assert {name: zlib.crc32(value) for name, value in found.items()} == {n: r[index][2] for n, r in ranges.items()}
        values = flatten(row(number))
        assert zlib.decompress(found["votes.mask"]) == values["votes.mask"].tobytes()
        assert found["noise"] == values["noise"].tobytes()
        assert found["picture"] == values["picture"]
    assert set(ranges) == {"votes.mask", "noise", "picture"}


def test_equal_images_and_parts_of_one_another_are_told_apart(path, monkeypatch):
    """A search for an image's bytes must not end in another image that contains them."""
    monkeypatch.setattr("skyshards.format.kinds.image.decode_image", lambda content: np.zeros((1, 1), "u1"))
    images = [b"abcabc", b"abc", b"bc", b"abcabc", b"c"]
    encoded = located([encode(row(n) | {"picture": image}, SPECS, f"s{n}") for n, image in enumerate(images)], 16)
    ranges = hdf5.write(path, SPECS, encoded, {})
    content = path.read_bytes()
    assert [content[start : start + size] for start, size, _ in ranges["picture"]] == images


def test_rows_come_back_as_they_were(shard):
    with hdf5.open_safely(shard) as file:
        for found, wanted in zip(hdf5.read_rows(file, SPECS), rows(), strict=True):
            assert (found.order, found.sizes) == (wanted.order, wanted.sizes)
            assert found.payload() == wanted.payload()
            # As text, since NaN is not equal to itself.
            assert str(sorted(found.light().items())) == str(sorted(wanted.light().items()))


@pytest.mark.parametrize("name", ["a", "é" * 40, "日本 \U0001f30c", "with, comma 'and' \"quotes\"\n", " blanks "])
def test_text_of_any_kind(path, name):
    encoded = located([encode(row(n) | {"object_id": text}, SPECS, "") for n, text in enumerate([name, "b"])], 16)
    hdf5.write(path, SPECS, encoded, {})
    with hdf5.open_safely(path) as file:
        assert hdf5.read_light(file, SPECS["object_id"]).tolist() == [name, "b"]
        assert hdf5.read_light(file, SPECS["source"]).tolist() == ["", ""]


def test_what_the_disk_did_not_keep_is_found_at_once(path, monkeypatch):
    """A byte that changes between writing and reading back."""
    real = hdf5._verified_ranges

    def spoil(path, specs, encoded):
        content = path.read_bytes()
        noise = row(0)["noise"].tobytes()
        assert content.count(noise) == 1
        path.write_bytes(content.replace(noise, bytes(len(noise))))
        return real(path, specs, encoded)

    monkeypatch.setattr(hdf5, "_verified_ranges", spoil)
    with pytest.raises(ShardCorrupted, match="row 0 of column 'noise' was not written correctly"):
        hdf5.write(path, SPECS, rows(), {})


def test_an_image_that_the_disk_did_not_keep_is_found_too(path, monkeypatch):
    monkeypatch.setattr("skyshards.format.kinds.image.decode_image", lambda content: np.zeros((1, 1), "u1"))
    real, image = hdf5._verified_ranges, b"an image file of its own"

    def spoil(path, specs, encoded):
        path.write_bytes(path.read_bytes().replace(image, bytes(len(image))))
        return real(path, specs, encoded)

    monkeypatch.setattr(hdf5, "_verified_ranges", spoil)
    with pytest.raises(ShardCorrupted, match="row 0 of column 'picture'"):
        hdf5.write(path, SPECS, located([encode(row(0) | {"picture": image}, SPECS, "")], 16), {})


WRITE_WITH_LITTLE_ROOM = """
import errno, resource, sys
from pathlib import Path
from skyshards.format import shard as hdf5
from tests.test_shard import ATTRIBUTES, SPECS, rows
path, encoded = Path(sys.argv[1]), rows()
hdf5.write(path, SPECS, encoded, ATTRIBUTES)
for room in range(0, path.stat().st_size, 1000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    try:
        hdf5.write(path, SPECS, encoded, ATTRIBUTES)
    except OSError as error:
        assert (error.errno, error.filename) == (errno.EFBIG, str(path)), error
    else:
        sys.exit(f"written to {room} bytes")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
hdf5.write(path, SPECS, encoded, ATTRIBUTES)
"""


@pytest.mark.slow
def test_a_disk_without_room_is_an_error_of_the_system_wherever_it_ends(path):
    """And the process lives on; HDF5 by itself would end it sooner or later."""
    subprocess.run([sys.executable, "-c", WRITE_WITH_LITTLE_ROOM, str(path)], cwd=REPOSITORY, check=True)
    hdf5.open_safely(path).close()


@pytest.mark.parametrize("change", [lambda payload: payload[:-1], lambda payload: payload + b"x", lambda payload: b""])
def test_a_payload_of_another_length_is_refused(path, change):
    """As from a spool that was cut short: the picture, which may have any length, would be stored without its end."""
    first, *others = rows()
    changed = replace(first, content=change(first.payload()))
    with pytest.raises(ShardCorrupted, match=f"row {first.object_id!r} of source 's0': expected {first.nbytes} bytes"):
        hdf5.write(path, SPECS, [changed, *others], {})


@pytest.fixture
def secret(tmp_path):
    """A file that a shard must not be able to show."""
    path = tmp_path / "secret"
    with h5py.File(path, "w") as file:
        file["data"] = np.arange(100.0)
    return path


def external_link(file, secret):
    file["ra"] = h5py.ExternalLink(str(secret), "data")


def external_link_in_a_group(file, secret):
    file["votes/mask"] = h5py.ExternalLink(str(secret), "data")


def soft_link(file, secret):
    file["dec"] = np.arange(3.0)
    file["ra"] = h5py.SoftLink("/dec")


def external_storage(file, secret):
    file.create_dataset("ra", (100,), "f8", external=[(str(secret), 0, 800)])


def virtual_data(file, secret):
    layout = h5py.VirtualLayout((100,), "f8")
    layout[:] = h5py.VirtualSource(str(secret), "data", (100,))
    file.create_virtual_dataset("ra", layout)


def group_in_itself(file, secret):
    file.create_group("votes")["again"] = file["/"]


def bomb_of_groups(file, secret):
    """Of 2**60 paths: none would live to see their end."""
    inner = file.create_group("end")
    for level in range(60):
        outer = file.create_group(f"level {level}")
        outer["a"] = outer["b"] = inner
        inner = outer


def data_with_two_names(file, secret):
    file["ra"] = np.arange(3.0)
    file["dec"] = file["ra"]


def named_type(file, secret):
    file["ra"] = np.dtype("f8")


@pytest.mark.parametrize(
    "attack",
    [
        external_link,
        external_link_in_a_group,
        soft_link,
        external_storage,
        virtual_data,
        group_in_itself,
        bomb_of_groups,
        data_with_two_names,
        named_type,
    ],
)
def test_a_shard_that_points_elsewhere_is_refused(path, secret, attack):
    with h5py.File(path, "w") as file:
        attack(file, secret)
    with pytest.raises(ShardCorrupted, match=str(path)) as caught:
        hdf5.open_safely(path).close()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, 2000, -1])
def test_a_shard_cut_short_is_named(shard, kept):
    shard.write_bytes(shard.read_bytes()[:kept])
    with pytest.raises(ShardCorrupted, match=f"{shard}: not a whole HDF5 file .*build again"):
        hdf5.open_safely(shard)


@pytest.mark.parametrize("content", [b"<html>", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(5000)])
def test_a_file_of_something_else_is_named(path, content):
    path.write_bytes(content)
    with pytest.raises(ShardCorrupted, match=f"{path}: not a whole HDF5 file"):
        hdf5.open_safely(path)


def test_a_missing_file_is_named(path):
    with pytest.raises(ShardCorrupted, match=str(path)):
        hdf5.open_safely(path)


@pytest.mark.parametrize("place", [708, 1332, 1386, 2001])
def test_damage_in_the_tree_of_groups_is_named(shard, place):
    """Places where a wrong byte lets HDF5 open the file, but not list what is in it."""
    content = bytearray(shard.read_bytes())
    content[place] ^= 0xFF
    shard.write_bytes(content)
    try:
        hdf5.open_safely(shard).close()
    except ShardCorrupted as error:
        assert str(shard) in str(error)
