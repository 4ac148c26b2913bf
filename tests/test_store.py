"""Folders whose large values are stored as they are: chosen by column, plain HDF5, the same values."""

import re
import threading
import time

import fsspec
import h5py
import numpy as np
import pytest

import skyshards
from skyshards.errors import ShardCorrupted, UsageError
from skyshards.format import catalog, storage
from skyshards.format.shard import PAGE
from skyshards.pipeline.build import build
from skyshards.progress import size
from skyshards.read import batches
from skyshards.read.store import LocalStore
from skyshards.verify import describe, problems
from tests.starry import Starry, row
from tests.toy_folder import assert_whole
from tests.versions import stock_reads_hdf5


def built(folder, store, **options):
    assert build(Starry(), folder, workers=0, store=store, **options).failed == 0
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return built(tmp_path_factory.mktemp("small") / "starry", "small")


@pytest.fixture(scope="module")
def fast(tmp_path_factory):
    return built(tmp_path_factory.mktemp("fast") / "starry", "fast")


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        same(found[name], value) if isinstance(value, dict) else np.testing.assert_array_equal(found[name], value)


def test_values_are_those_of_the_recipe(fast):
    assert_whole(fast)
    table = skyshards.open(fast)
    for number in range(8):
        found = table.find([row(number)["object_id"]])[0]
        same({name: found[name] for name in row(number)}, row(number))


@pytest.mark.parametrize("threads", [2, batches.COPYING + 4])
def test_few_threads_copy_values_and_all_are_read(fast, monkeypatch, threads):
    copying, most, real = set(), [], LocalStore.fill

    def fill(store, *args):
        copying.add(threading.get_ident())
        most.append(len(copying))
        time.sleep(0.01)
        yield from real(store, *args)
        copying.remove(threading.get_ident())

    monkeypatch.setattr(LocalStore, "fill", fill)
    columns, rows = ["image", "masks", "count"], list(range(8)) * 8
    table = skyshards.open(fast, threads=threads).select_columns(columns)
    expected = skyshards.open(fast, threads=1).select_columns(columns)[rows]
    for found in (table[rows], next(table.batches([rows]))):
        same(found, expected)
    assert 1 < max(most) <= batches.COPYING


def test_columns_that_deflate_shrinks_most_stay_deflated(fast):
    manifest = catalog.open_folder(fast)[1]
    assert manifest.inflated == ("image",)
    assert manifest.options["store"] == "fast"
    assert [path for path, spec in manifest.specs.items() if spec.heavy and spec.deflate] == ["masks.stars", "flux"]


@pytest.mark.parametrize(("shrunk", "inflated"), [(99, ("masks.stars",)), (101, ())])
def test_masks_that_deflate_shrinks_100_fold_stay_deflated(small, shrunk, inflated):
    manifest = catalog.open_folder(small)[1]
    nbytes = {"image": 1, "masks.stars": 10 * manifest.specs["masks.stars"].nbytes // shrunk, "flux": 10**6}
    assert storage.in_fast_store(manifest, 10, nbytes).inflated == inflated


def test_any_hdf5_reader_opens_them(fast):
    table = skyshards.open(fast)
    for path in sorted(fast.rglob("*.hdf5")):
        with h5py.File(path) as file:
            assert (file["image"].compression, file["masks/stars"].compression) == (None, "gzip")
            assert file["image"].chunks == (1, 150, 150, 3)
            for number, name in enumerate(file["object_id"].asstr()):
                np.testing.assert_array_equal(file["image"][number], table.find([name])[0]["image"])


def test_large_values_start_with_a_page(fast):
    rows = catalog.open_folder(fast)[0]
    assert not (rows["_start:image"].to_numpy() % PAGE).any()


def test_a_dry_run_tells_the_disk_of_uncompressed_rows(fast, tmp_path):
    image, masks = (catalog.open_folder(fast)[1].specs[path].nbytes for path in ("image", "masks.stars"))
    for folder, store, nbytes in ((tmp_path, "small", None), (tmp_path, "fast", image + masks), (fast, "fast", image)):
        found = build(Starry(9), folder, workers=0, store=store, dry_run=True).plan
        assert re.findall(r"\(uncompressed, up to (.*) a row\)", found) == ([size(nbytes)] if nbytes else [])


def test_the_store_is_no_matter_of_order(fast, tmp_path):
    built(tmp_path / "starry", "fast", limit=3)
    assert files(built(tmp_path / "starry", "fast")) == files(fast)


@pytest.mark.parametrize("was, now", [("small", "fast"), ("fast", "small")])
def test_another_store_is_refused(request, was, now):
    with pytest.raises(UsageError) as caught:
        built(request.getfixturevalue(was), now)
    assert f"with `store` {was}, now {now}; give `store` {was}, or convert it: skyshards repack" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_other_store_exists(tmp_path):
    with pytest.raises(UsageError, match="store: expected small or fast, found 'huge'"):
        built(tmp_path / "starry", "huge")


def test_info_tells_the_store_and_its_disk(small, fast):
    found = re.search(r"\nstore: small; image deflated, (.*) \(uncompressed 540 kB\); masks", describe(small))
    words = f"store: fast; image uncompressed, 540 kB (deflated about {found[1]}); masks.stars deflated, "
    assert words in describe(fast)
    assert re.search(r"; flux as given, [\d.]+ k?B\n", describe(fast))


def test_damage_is_found(fast, tmp_path):
    folder = built(tmp_path / "starry", "fast")
    rows = catalog.open_folder(folder)[0]
    path, start = folder / rows["_shard"][0].as_py(), rows["_start:image"][0].as_py()
    content = bytearray(path.read_bytes())
    content[start + 1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ShardCorrupted, match=r"row 0 of column 'image' is damaged"):
        skyshards.open(folder)[0]
    assert any("sha256 differs" in problem for problem in problems(folder))
    describe(folder)


def test_they_are_read_at_urls(fast):
    fsspec.filesystem("memory").put(str(fast), "/starry", recursive=True)
    table, remote = skyshards.open(fast), skyshards.open("memory://starry")
    same(remote[[5, 0, 3]], table[[5, 0, 3]])
    assert "store: fast; image uncompressed, 540 kB; masks" in describe("memory://starry")


@pytest.mark.slow
@stock_reads_hdf5
def test_stock_datasets_opens_them(fast):
    import datasets

    stream = datasets.load_dataset(str(fast), split="train", streaming=True).with_format("numpy")
    found = {one["object_id"]: one for one in stream}
    for number in range(8):
        expected = row(number)
        np.testing.assert_array_equal(found[expected["object_id"]]["image"], expected["image"])
