"""`Blends` is a random-access source: a pure function of (seed, i), for any loader."""

import copy
import importlib.util
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candels_blend import Blends
from candels_blend.draw import draw_sample
from candels_blend.sample import Sample
from candels_blend.targets import MASKS, METHODS, flux
from skyshards.errors import BuildError, UsageError


@pytest.fixture(scope="module")
def blends(datapath):
    return Blends(datapath, seed=5, length=300, method="bogg_masks")


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].dtype == values.dtype and np.array_equal(found[name], values), name


def test_row(blends, archive):
    row = blends[7]
    g1, g2, dy, dx = draw_sample(archive, Sample(5), 300)["train"][7].item()
    catalogue = archive.catalogue
    assert row["galaxy_id"].tolist() == catalogue["ID"].iloc[[g1, g2]].tolist()
    assert row["galtype"].tolist() == catalogue["galtype"].iloc[[g1, g2]].tolist()
    for name in ("mag", "radius", "z"):
        assert row[name].dtype == np.float64
        assert row[name].tolist() == catalogue[name].iloc[[g1, g2]].tolist()
    assert row["flux"].tolist() == flux(catalogue["mag"].iloc[[g1, g2]], 25.96).tolist()
    assert row["shift"].tolist() == [dy, dx] and row["shift"].dtype == np.int16
    assert row["distance"] == pytest.approx(np.hypot(dy, dx))
    assert (row["ra"], row["dec"]) == (catalogue["RA"][g1], catalogue["DEC"][g1])
    assert row["object_id"] == "s5-train-000007"
    assert row["image"].shape == (128, 128) and row["masks"].shape == (2, 128, 128)
    assert (row["bogg_masks"] == MASKS["bogg_masks"](row["masks"])).all()


@settings(max_examples=25)
@given(st.lists(st.integers(-300, 299), max_size=12))
def test_batch_is_its_rows(blends, numbers):
    batch = blends[numbers]
    for k, number in enumerate(numbers):
        assert_same({name: values[k] for name, values in batch.items() if name != "source"}, strip(blends[number]))


def strip(row):
    return {name: value for name, value in row.items() if name != "source"}


def test_kinds_of_index(blends):
    expected = blends[[10, 12, 14]]
    mask = np.zeros(300, bool)
    mask[[10, 12, 14]] = True
    for key in (slice(10, 16, 2), np.array([10, 12, 14], np.uint8), (10, 12, 14), slice(-290, -284, 2), mask):
        assert_same(blends[key], expected)
    assert len(blends[[]]["image"]) == 0
    assert_same(blends[np.int32(-1)], blends[299])


@pytest.mark.parametrize(
    ("key", "error"),
    [
        (300, IndexError),
        (-301, IndexError),
        ([0, 300], IndexError),
        ([0.5], TypeError),
        ("image", TypeError),
        ([[1]], TypeError),
    ],
)
def test_bad_index(blends, key, error):
    with pytest.raises(error):
        blends[key]


def test_endless(datapath, blends):
    endless = Blends(datapath, seed=5, method="bogg_masks")
    assert_same(endless[250], blends[250])
    assert len(endless[5000:5003]["image"]) == 3
    assert_same(next(islice(endless, 3, None)), blends[3])
    with pytest.raises(TypeError, match="endless"):
        len(endless)
    for key in (-1, [-1], slice(5, None), slice(None, None, -1), slice(0, -1)):
        with pytest.raises(IndexError):
            endless[key]


def test_methods_differ_in_their_target_alone(datapath, blends):
    expected = blends[:5]
    for method in METHODS:
        batch = Blends(datapath, seed=5, length=300, method=method)[:5]
        for name in set(expected) - {"bogg_masks"}:
            assert np.array_equal(batch[name], expected[name])
    assert (Blends(datapath, seed=5, method="single_images")[:5]["galaxies"].sum(axis=1) == expected["image"]).all()


def test_columns(blends):
    narrow = blends.columns(["flux", "image"])
    assert narrow.column_names == ["image", "flux"]
    expected = blends[4]
    assert_same(narrow[4], {name: expected[name] for name in ("image", "flux")})
    with pytest.raises(KeyError, match="no column 'imag'"):
        blends.columns(["imag"])
    assert list(blends[0]) == list(blends.column_names)


def test_test_split_shares_neither_galaxies_nor_noise(datapath):
    train, test = (Blends(datapath, seed=5, split=split, n_blends=200) for split in ("train", "test"))
    assert (len(train), len(test)) == (160, 40)
    assert not set(train[:]["galaxy_id"].ravel()) & set(test[:]["galaxy_id"].ravel())
    noise = [blends[:40]["image"][:, :8].reshape(40, -1) for blends in (train, test)]
    correlations = [np.corrcoef(one, other)[0, 1] for one, other in zip(*noise, strict=True)]
    assert max(np.abs(correlations)) < 0.3


@pytest.mark.parametrize("length", [1, 7, 40])
def test_test_split_of_a_length_is_that_of_the_smallest_sample(datapath, archive, length):
    n_blends = next(n for n in range(1000) if Sample(5).split_blends(n)["test"] == length)
    found, expected = (
        Blends(datapath, seed=5, split="test", length=length),
        draw_sample(archive, Sample(5), n_blends)["test"],
    )
    assert len(found) == length
    assert [tuple(shift) for shift in found[:]["shift"]] == [(dy, dx) for _, _, dy, dx in expected.tolist()]
    assert_same(found[0], Blends(datapath, seed=5, split="test", n_blends=n_blends)[0])


def test_endless_test_split(datapath):
    endless = Blends(datapath, seed=5, split="test")
    train = Blends(datapath, seed=5)
    assert not set(train[:100]["galaxy_id"].ravel()) & set(endless[:100]["galaxy_id"].ravel())


def test_pickles_and_copies(blends):
    narrow = blends.columns(["image", "shift"])
    for other in (pickle.loads(pickle.dumps(narrow)), copy.copy(narrow), copy.deepcopy(narrow)):
        assert len(other) == 300
        assert_same(other[200], narrow[200])
    assert len(pickle.dumps(blends)) < 2000


def test_threads_get_what_one_gets(datapath, blends):
    expected = blends[:64]
    fresh = Blends(datapath, seed=5, length=300, method="bogg_masks")
    with ThreadPoolExecutor(8) as threads:
        for k, row in enumerate(threads.map(fresh.__getitem__, range(64))):
            assert_same(strip(row), strip({name: values[k] for name, values in expected.items()}))


@pytest.mark.parametrize("workers", [0, 2])
def test_torch_data_loader(blends, workers):
    torch = pytest.importorskip("torch")
    source = blends.columns(["image", "bogg_masks", "flux"])
    sampler = torch.utils.data.BatchSampler(torch.utils.data.RandomSampler(source), 64, drop_last=False)
    order = list(sampler)
    loader = torch.utils.data.DataLoader(source, sampler=order, batch_size=None, num_workers=workers)
    for numbers, batch in zip(order, loader, strict=True):
        assert torch.equal(batch["image"], torch.from_numpy(source[numbers]["image"]))
    one_by_one = next(iter(torch.utils.data.DataLoader(source, batch_size=4)))
    assert torch.equal(one_by_one["bogg_masks"], torch.from_numpy(source[:4]["bogg_masks"]))


def test_endless_blends_need_a_sampler_in_torch(datapath, blends):
    torch = pytest.importorskip("torch")
    source = Blends(datapath, seed=5, method="bogg_masks").columns(["image"])
    with pytest.raises(TypeError, match="endless; give length"):
        next(iter(torch.utils.data.DataLoader(source, batch_size=4)))
    for sampler in (range(8, 16), count(8)):
        loader = torch.utils.data.DataLoader(source, batch_size=4, sampler=sampler)
        for start, batch in zip((8, 12), loader, strict=False):
            assert np.array_equal(batch["image"], blends[start : start + 4]["image"])


def test_torch_collates_all_columns(blends):
    torch = pytest.importorskip("torch")
    batch, expected = next(iter(torch.utils.data.DataLoader(blends, batch_size=4))), blends[:4]
    assert list(batch) == list(expected)
    assert torch.equal(batch["image"], torch.from_numpy(expected["image"]))
    assert batch["object_id"] == expected["object_id"].tolist()
    assert [list(types) for types in zip(*batch["galtype"], strict=True)] == expected["galtype"].tolist()


def test_endless_blends_need_a_sampler_in_grain(datapath, blends):
    grain = pytest.importorskip("grain")
    source = Blends(datapath, seed=5, method="bogg_masks").columns(["image"])
    with pytest.raises(TypeError, match="endless; give length"):
        grain.MapDataset.source(source).batch(4)[0]
    sampler = grain.samplers.IndexSampler(num_records=100, shuffle=False, num_epochs=1)
    loader = grain.DataLoader(data_source=source, sampler=sampler, operations=[grain.transforms.Batch(4)])
    assert np.array_equal(next(iter(loader))["image"], blends[:4]["image"])


def test_readme_renders_blends(datapath, tmp_path, monkeypatch):
    """Its blocks of Python on `Blends`, from first to last, in one namespace."""
    (tmp_path / "path/to/unpacked").mkdir(parents=True)
    (tmp_path / "path/to/unpacked/archive").symlink_to(datapath)
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "candels_blend" / "README.md").read_text(encoding="utf-8")
    blocks = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "Blends(" in block]
    names = {}
    for block in blocks:
        if "torch" not in block or importlib.util.find_spec("torch"):
            exec(compile(block, "README.md", "exec"), names)
    assert names["batch"]["ogg_masks"].shape == (64, 128, 128, 3)
    if "loader" in names:
        assert np.array_equal(next(iter(names["loader"]))["image"], names["batch"]["image"])


def test_grain(blends):
    grain = pytest.importorskip("grain")
    source = blends.columns(["image", "flux"])
    data_set = grain.MapDataset.source(source).shuffle(seed=3).batch(10)
    batches = list(data_set.to_iter_dataset(grain.ReadOptions(num_threads=4)))
    assert sum(len(batch["image"]) for batch in batches) == 300
    assert np.sort(np.concatenate([batch["flux"] for batch in batches]), axis=None) == pytest.approx(
        np.sort(source[:]["flux"], axis=None)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 2.5}, "length: expected an integer of at least 0, found 2.5"),
        ({"length": "a"}, "length: expected"),
        ({"length": float("nan")}, "length: expected"),
        ({"n_blends": 2.5}, "n_blends: expected"),
        ({"n_blends": -3}, "n_blends: expected"),
        ({"seed": "a"}, "seed: expected an integer from 0"),
        ({"rad_diff": float("nan")}, "rad_diff: expected"),
        ({"split": "valid"}, "expected train or test"),
        ({"method": "masks"}, "expected one of gg_masks"),
        ({"mag_max": 3}, "no option mag_max; beside its own, Blends takes seed, mag_low"),
        ({"length": -1}, "at least 0"),
        ({"n_blends": 10, "length": 9}, "10 blends have 8 train ones, found 9"),
        ({"split": "test", "test_ratio": 0, "length": 3}, "leaves no test split"),
        ({"n_galaxies": 6}, "n_galaxies: expected an integer from 2 to 5, found 6"),
        ({"masked": "no"}, "masked: expected True or False, found 'no'"),
        ({"cut": "mag <"}, "cut: 'mag <' is not a condition"),
    ],
)
def test_options_that_make_no_sense(datapath, options, message):
    with pytest.raises(UsageError, match=message):
        Blends(datapath, **options)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_draw_that_fails_does_so_at_each_access(datapath, split):
    """In the test split, it is the train pairs that cannot be drawn, which the test pairs depend on."""
    blends = Blends(datapath, split=split, n_blends=50, rad_diff=0.01)
    for number in (0, 0, 5, 0):
        with pytest.raises(BuildError, match="no shift found for 10000 pairs of train galaxies in a row"):
            blends[number]


@pytest.mark.parametrize(("one", "other"), [({"length": 4}, {"length": 8}), ({"n_blends": 20}, {"n_blends": 40})])
def test_test_blends_alone_depend_on_how_many_train_blends_go_before_them(datapath, one, other):
    for split, same in (("train", True), ("test", False)):
        first, second = (Blends(datapath, split=split, **place)[:4] for place in (one, other))
        assert np.array_equal(first["image"], second["image"]) == same
        assert np.array_equal(first["shift"], second["shift"]) == same


def test_cuts_that_leave_too_little(datapath, tmp_path):
    with pytest.raises(BuildError, match="leaves 0 of 40 galaxies"):
        Blends(datapath, mag_high=1)
    with pytest.raises(BuildError, match="no two of the 32 train galaxies"):
        Blends(datapath, mag_diff=0)
    with pytest.raises(BuildError, match="not found; fetch the archive"):
        Blends(tmp_path)


def test_archive_that_changes_is_read_again(datapath, tmp_path):
    import shutil

    folder = shutil.copytree(datapath, tmp_path / "data")
    first = Blends(folder, length=5).columns(["image"])[0]["image"]
    images = np.load(folder / "candels_img.npy")
    np.save(folder / "candels_img.npy", images + np.float32(10))
    assert (Blends(folder, length=5).columns(["image"])[0]["image"] - first).mean() > 5


def test_device_without_torch(datapath, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "candels_blend.device", raising=False)
    with pytest.raises(UsageError, match="needs PyTorch; install it, or leave out `device`"):
        Blends(datapath, device="cuda")
