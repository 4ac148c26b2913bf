"""Lists whose length differs from row to row: written once, and the same in every reader."""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass
from pathlib import Path

import datasets
import fsspec
import h5py
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from packaging.version import Version

import skyshards
from skyshards import Column, Padded, Ragged, Schema, pad
from skyshards.errors import ShardCorrupted, SourceError, UsageError
from skyshards.format.columns import flatten
from skyshards.format.manifest import check_ranges
from skyshards.pipeline.build import build
from skyshards.pipeline.encode import encode
from skyshards.pipeline.recipe import Recipe, Source
from skyshards.read.arrow import ToArrow, as_numpy
from skyshards.testing.contract import DATASETS
from tests.contract import Contract, assert_same

SIGNED, UNSIGNED = ["int8", "int16", "int32", "int64"], ["uint8", "uint16", "uint32", "uint64"]
DTYPES = ["bool", *SIGNED, *UNSIGNED, "float16", "float32", "float64"]


def any_length(dtype):
    return datasets.Sequence(datasets.Value(dtype))


SCHEMA = Schema(
    {
        "spectrum": {
            "flux": Column(any_length("float32"), "flux density", "1e-17 erg / (Angstrom s cm2)"),
            "loglam": Column(any_length("float64"), "wavelength"),
            "and_mask": Column(any_length("int32"), "flags"),
            "good": Column(any_length("bool"), "a usable pixel"),
        },
        "lines": Column(datasets.Sequence(datasets.ClassLabel(names=["Ha", "Hb", "OIII"])), "lines that were found"),
    }
)


def spectrum(number: int) -> dict:
    """The row of a number; every fourth has no values."""
    random = np.random.default_rng(number)
    length = 0 if number % 4 == 3 else int(random.integers(1, 4000))
    return {
        "object_id": f"spec-{number:03d}",
        "ra": random.uniform(0, 360) if number % 2 else 10.0,
        "dec": 45.0 + number * 1e-3,
        "spectrum": {
            "flux": random.standard_normal(length, np.float32),
            "loglam": np.linspace(3.5, 4.0, length),
            "and_mask": random.integers(-(2**31), 2**31, length, np.int32),
            "good": random.integers(0, 2, length) > 0,
        },
        "lines": random.integers(-1, 3, number % 3),
    }


@dataclass(frozen=True)
class Spectra(Recipe):
    count: int = 12

    name = "spectra"
    schema = SCHEMA

    @property
    def folder(self) -> Path:
        return Path(__file__).parent / "toy_card"

    def sources(self, fetcher):
        for number in range(self.count):
            yield Source(f"s{number:05d}", info=number)

    def read(self, source, fetched):
        yield spectrum(source.info)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spectra") / "spectra"
    assert build(Spectra(), folder, workers=0).failed == 0
    return folder


@pytest.fixture
def table(folder):
    return skyshards.open(folder)


@pytest.fixture
def expected(table):
    """Row for row, what was written."""
    return [spectrum(int(name[-3:])) for name in table.catalog["object_id"].to_pylist()]


class TestSpectra(Contract):
    """The contract, but for what needs a registered builder of this name."""

    test_registered_load_equals_table = None
    test_configs_read_fewer_columns = None
    test_own_card_is_complete = None  # its card is a stub

    @pytest.fixture
    def recipe(self):
        return Spectra()


def test_a_batch_has_the_values_and_their_lengths(table, expected):
    batch = table[[3, 0, 7, 3]]
    for path, values in flatten(batch).items():
        if path in ("object_id", "ra", "dec", "healpix", "fold", "source"):
            continue
        wanted = [flatten(expected[row])[path] for row in (3, 0, 7, 3)]
        assert isinstance(values, Ragged) and values.values.dtype == SCHEMA.specs[path].dtype
        assert values.lengths.tolist() == [len(value) for value in wanted]
        assert_same(values.values, np.concatenate(wanted), path)
        for found, value in zip(values.rows(), wanted, strict=True):
            assert_same(found, value, path)


def test_no_rows_and_rows_without_values(table, expected):
    nothing = table[[]]["spectrum"]["flux"]
    assert (nothing.values.shape, nothing.lengths.shape) == ((0,), (0,))
    empty = [row for row, wanted in enumerate(expected) if not len(wanted["spectrum"]["flux"])]
    assert len(empty) == 3
    found = table[empty]["spectrum"]["loglam"]
    assert (found.values.shape, found.lengths.tolist()) == ((0,), [0, 0, 0])
    assert table[empty[0]]["spectrum"]["good"].dtype == bool


def test_h5py_alone_reads_the_lists(folder):
    for path in folder.rglob("*.hdf5"):
        with h5py.File(path) as file:
            for row, name in enumerate(file["object_id"].asstr()):
                wanted = spectrum(int(name[-3:]))
                for column, value in wanted["spectrum"].items():
                    assert file["spectrum"][column].dtype.metadata["vlen"] == value.dtype
                    assert_same(file["spectrum"][column][row], value, column)
                assert_same(file["lines"][row], wanted["lines"])


def test_rows_that_are_added_join_those_that_are_there(tmp_path):
    build(Spectra(5), tmp_path / "grown", workers=0)
    build(Spectra(12), tmp_path / "grown", workers=0)
    build(Spectra(12), tmp_path / "whole", workers=0)
    for path in (tmp_path / "whole").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "grown" / path.relative_to(tmp_path / "whole")).read_bytes()


def test_padded_lists(table, expected):
    batch = table[:]
    padded = pad(batch)
    longest = max(len(row["spectrum"]["flux"]) for row in expected)
    assert padded["ra"] is batch["ra"]
    for row, wanted in enumerate(expected):
        values, mask = padded["spectrum"]["flux"]
        flux = wanted["spectrum"]["flux"]
        assert (values.shape, values.dtype, mask.dtype) == ((12, longest), np.float32, bool)
        assert_same(values[row, : len(flux)], flux)
        assert not values[row, len(flux) :].any()
        assert mask[row].tolist() == [True] * len(flux) + [False] * (longest - len(flux))


@settings(max_examples=40)
@given(lists=st.lists(st.lists(st.integers(0, 99), max_size=6), max_size=5), length=st.none() | st.integers(0, 8))
def test_padding_is_what_a_loop_would_do(lists, length):
    batch = Ragged(np.array([value for each in lists for value in each], np.int16), np.array([*map(len, lists)], int))
    width = max(map(len, lists), default=0) if length is None else length
    values, mask = pad(batch, length, fill=-1)
    assert values.shape == mask.shape == (len(lists), width)
    for row, each in enumerate(lists):
        assert values[row].tolist() == (each + [-1] * width)[:width]
        assert mask[row].tolist() == ([True] * len(each) + [False] * width)[:width]


def test_what_cannot_be_padded():
    with pytest.raises(UsageError, match="expected a column of lists, or a batch with one, found ndarray"):
        pad(np.zeros(3))
    with pytest.raises(UsageError, match="length: expected 0 or more, found -1"):
        pad(Ragged(np.zeros(1), np.ones(1, int)), -1)


def test_a_data_loader_pads(table, expected):
    torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
    spectra = table.select_columns(["spectrum"])
    loader = torch.utils.data.DataLoader(spectra, sampler=[[0, 3], [5, 2]], batch_size=None)
    for rows, batch in zip([[0, 3], [5, 2]], loader, strict=True):
        values, mask = pad(batch)["spectrum"]["flux"]
        assert (values.dtype, mask.dtype) == (torch.float32, torch.bool)
        assert_same(values[mask].numpy(), np.concatenate([expected[row]["spectrum"]["flux"] for row in rows]))
    one_by_one = torch.utils.data.DataLoader(spectra, batch_size=2, collate_fn=list)
    assert_same(next(iter(one_by_one))[1]["spectrum"]["flux"], expected[1]["spectrum"]["flux"])


def test_a_left_join_has_empty_lists_where_nothing_matches(table, expected):
    few = table.select([4, 1])
    both = skyshards.join(table, few, names=("all", "few"), on="object_id", how="left")
    found = both[:]["few"]["spectrum"]["flux"]
    for row, values in enumerate(found.rows()):
        assert_same(values, expected[row]["spectrum"]["flux"] if row in (1, 4) else np.empty(0))


def test_arrow_and_back(table):
    features = SCHEMA.features_of(["spectrum.flux", "spectrum.good", "lines"])
    batch = table.select_columns(["spectrum.flux", "spectrum.good", "lines"])[:]
    arrow = ToArrow(features)(batch)
    assert arrow["lines"].to_pylist() == [lists.tolist() for lists in batch["lines"].rows()]
    back = as_numpy(pa.concat_tables([arrow.slice(0, 5), arrow.slice(5)]))
    for path, values in flatten(batch).items():
        assert_same(flatten(back)[path].values, values.values, path)
        assert flatten(back)[path].lengths.tolist() == values.lengths.tolist()


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (1.5, "float 1.5"),
        ([[1.0, 2.0]], r"shape \(1, 2\)"),
        ("flux", "str 'flux'"),
        (None, "None"),
        (["a"], "<U1"),
        ([1e300], "1e"),
        (np.ma.masked_array([1.0, 2.0], [False, True]), "masked"),
    ],
)
def test_what_is_no_list_is_refused(value, found):
    row = spectrum(1)
    row["spectrum"]["flux"] = value
    with pytest.raises(SourceError, match=rf"column 'spectrum.flux': expected .*found .*{found}"):
        encode(row, SCHEMA.specs, "s")


def test_labels_are_checked():
    row = spectrum(1) | {"lines": [0, 3]}
    with pytest.raises(SourceError, match=r"column 'lines': expected a label from 0 to 2 \(-1: none\), found 3"):
        encode(row, SCHEMA.specs, "s")


def test_damaged_lists_are_named(folder, tmp_path):
    table = skyshards.open(folder)
    row = next(row for row in range(len(table)) if len(table[row]["spectrum"]["flux"]))
    copy = tmp_path / "damaged"
    for path in folder.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(folder)).write_bytes(path.read_bytes())
    flux = table[row]["spectrum"]["flux"].tobytes()
    for path in copy.rglob("*.hdf5"):
        content = path.read_bytes()
        if flux in content:
            path.write_bytes(content.replace(flux, flux[:-1] + bytes([flux[-1] ^ 1])))
    with pytest.raises(ShardCorrupted, match=re.escape("of column 'spectrum.flux' is damaged")):
        skyshards.open(copy)[row]


def test_a_catalogue_whose_sizes_make_no_lists_is_refused(folder):
    spec = SCHEMA.specs["spectrum.flux"]
    with pytest.raises(ValueError, match="values of column 'spectrum.flux' are not whole numbers of float32"):
        check_ranges(spec, np.array([0]), np.array([6]), np.array([100]))


@dataclass(frozen=True)
class One(Recipe):
    """One row with the lists that a test draws."""

    lists: dict

    name = "spectra"

    @property
    def schema(self):
        lists = {name: Column(any_length(str(values.dtype)), "values") for name, values in self.lists.items()}
        return Schema({"lists": lists})

    @property
    def folder(self) -> Path:
        return Path(__file__).parent / "toy_card"

    def sources(self, fetcher):
        yield Source("s")

    def read(self, source, fetched):
        yield {"object_id": "x", "ra": 1.0, "dec": 2.0, "lists": self.lists}


def values_of(dtype):
    return arrays.arrays(dtype, st.integers(0, 20))


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(lists=st.fixed_dictionaries({dtype: values_of(dtype) for dtype in DTYPES}))
def test_every_dtype_is_the_same_in_every_reader(tmp_path_factory, lists):
    folder = tmp_path_factory.mktemp("one") / "spectra"
    assert build(One(lists), folder, workers=0).failed == 0
    assert_same(skyshards.open(folder)[0]["lists"], lists)
    built = datasets.load_dataset("skyshards", data_dir=str(folder), split="train", streaming=True)
    arrow = next(iter(built.with_format("arrow").iter(1)))
    assert_same({name: ragged.values for name, ragged in as_numpy(arrow)["lists"].items()}, lists)
    with h5py.File(next(folder.rglob("*.hdf5"))) as file:
        assert_same({name: file["lists"][name][0] for name in lists}, lists)
    if Version("4.4") <= DATASETS:  # stock datasets reads HDF5
        stock = datasets.load_dataset(str(folder), split="train", streaming=True)
        found = next(iter(stock))["lists"]
        assert_same({name: np.array(found[name], values.dtype) for name, values in lists.items()}, lists)


def test_a_column_says_how_long_its_lists_are(table):
    assert "spectrum.flux: list of float32 (1e-17 erg / (Angstrom s cm2))" in repr(table)


def test_folders_at_a_url(folder, expected):
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/ragged", recursive=True)
    try:
        batch = skyshards.open("memory://ragged")[:]["spectrum"]["flux"]
        for found, wanted in zip(batch.rows(), expected, strict=True):
            assert_same(found, wanted["spectrum"]["flux"])
    finally:
        memory.rm("/ragged", recursive=True)


@pytest.mark.slow
def test_an_export_has_them_as_lists(folder, expected, tmp_path):
    pytest.importorskip("hats", reason="the extra `hats` is not installed")
    from hats.io.validation import is_valid_catalog

    from skyshards.export.run import export

    export(folder, tmp_path / "out", workers=0)
    assert is_valid_catalog(tmp_path / "out", strict=True)
    found = datasets.load_dataset(str(tmp_path / "out"), split="train", streaming=True)
    assert found.features["spectrum"]["flux"] == any_length("float32")
    wanted = {row["object_id"]: row for row in expected}
    names = []
    for row in found:
        names.append(row["object_id"])
        for path, values in flatten(row).items():
            if path.startswith(("spectrum", "lines")):
                assert_same(np.array(values), np.array(flatten(wanted[row["object_id"]])[path].tolist()), path)
    assert sorted(names) == sorted(wanted)


@pytest.mark.parametrize(("length", "fill"), [(None, 0), (None, 7), (0, 0), (100, 1), (4000, -1)])
def test_lists_read_into_dense_arrays_are_those_that_are_padded(table, length, fill):
    dense = table.with_padding(length, fill)
    for rows in ([3, 0, 7, 3], slice(None), [], [3]):
        wanted = flatten(pad(table[rows], length, fill))
        for path, found in flatten(dense[rows]).items():
            if isinstance(found, Padded):
                assert found.values.dtype == wanted[path].values.dtype
                assert_same(found.values, wanted[path].values, path)
                assert_same(found.mask, wanted[path].mask, path)
            else:
                assert_same(found, wanted[path], path)
    for found, wanted in zip(dense.batches([[1, 2], [5]]), table.batches([[1, 2], [5]]), strict=True):
        assert_same(found["spectrum"]["flux"].values, pad(wanted, length, fill)["spectrum"]["flux"].values)


def test_lists_are_read_into_the_memory_of_the_caller(table):
    given = []

    def empty(shape, dtype):
        given.append(np.empty(shape, dtype))
        return given[-1]

    for source in (table, table.with_padding()):
        (batch,) = source.select_columns(["spectrum"]).batches([[1, 2]], empty=empty)
        lists = [each for each in flatten(batch).values() if isinstance(each, (Ragged, Padded))]
        assert lists and all(any(part is array for array in given) for each in lists for part in each)


def test_padding_stays_with_a_selection_and_a_pickle(table):
    dense = pickle.loads(pickle.dumps(table.with_padding(50).select([2, 1]).select_columns(["spectrum"])))
    values, mask = dense[0]["spectrum"]["flux"]
    assert (values.shape, mask.shape) == ((50,), (50,))
    assert_same(values, table[2]["spectrum"]["flux"][:50])
    with pytest.raises(UsageError, match="length: expected 0 or more, found -1"):
        table.with_padding(-1)


def test_a_padded_left_join_has_no_values_where_nothing_matches(table):
    few = table.select([4, 1])
    both = skyshards.join(table, few, names=("all", "few"), on="object_id", how="left").with_padding(fill=9)
    values, mask = both[:]["few"]["spectrum"]["flux"]
    wanted, there = pad(table[:]["spectrum"]["flux"], values.shape[1], fill=9)
    for row in range(len(table)):
        assert_same(mask[row], there[row] & (row in (1, 4)))
        assert_same(values[row], wanted[row] if row in (1, 4) else np.full(values.shape[1], 9, np.float32))


def test_a_data_loader_collates_padded_rows(table):
    torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
    loader = torch.utils.data.DataLoader(table.select_columns(["spectrum"]).with_padding(), batch_size=3)
    for start, batch in zip(range(0, 12, 3), loader, strict=True):
        values, mask = batch["spectrum"]["flux"]
        wanted = pad(table[start : start + 3]["spectrum"]["flux"])
        assert_same(values.numpy(), wanted.values)
        assert_same(mask.numpy(), wanted.mask)
