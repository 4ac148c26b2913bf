"""NumPy batches to Arrow, without a copy, and back, in memory of their own: nothing changes on the way."""

import sys

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyshards.pipeline.build import build
from skyshards.read.arrow import ToArrow, as_numpy
from tests.contract import assert_same
from tests.environments.python import run
from tests.toy import SCHEMA, Toy, row
from tests.versions import stock_reads_hdf5

FEATURES = SCHEMA.features


def batch(count):
    """Rows 0 to `count` as a table gives them with `decode=False`, but for the columns that a build fills in."""
    rows = [row(number) for number in range(count)]

    def stack(name, inner):
        if isinstance(inner, dict):
            return {key: stack_all([r[name][key] for r in rows], feature) for key, feature in inner.items()}
        return stack_all([r[name] for r in rows], inner)

    def stack_all(values, feature):
        if isinstance(feature, datasets.Image):
            stacked = np.empty(count, object)
            stacked[:] = values
            return stacked
        leaf = getattr(feature, "feature", feature)
        text = getattr(leaf, "dtype", None) == "string"
        return np.array(values, str if text else {"ClassLabel": "int64"}.get(type(leaf).__name__, leaf.dtype))

    filled = {
        "healpix": np.arange(count),
        "fold": np.zeros(count, np.int8),
        "source": np.array([f"s{number}" for number in range(count)]),
    }
    return {name: filled[name] if name in filled else stack(name, feature) for name, feature in FEATURES.items()}


@settings(max_examples=20)
@given(count=st.integers(1, 9))
def test_there_and_back(count):
    values = batch(count)
    table = ToArrow(FEATURES)(values)
    assert table.schema == FEATURES.arrow_schema
    found = as_numpy(table)
    assert_same(found, values)
    assert (
        found["votes"]["mask"].dtype == np.uint8
        and found["flux"].dtype == np.float32
        and found["count"].dtype == np.int16
    )


def test_datasets_reads_it_as_its_own():
    values = batch(6)
    data_set = datasets.Dataset(ToArrow(FEATURES)(values))
    assert data_set.features == FEATURES
    for number, found in enumerate(data_set.with_format("numpy")):
        assert_same(found["votes"]["mask"], values["votes"]["mask"][number])
        assert found["object_id"] == values["object_id"][number]


def test_arrow_shares_memory_with_a_batch_but_not_with_what_is_made_of_it():
    noise = np.random.default_rng(0).standard_normal((4, 12, 12)).astype(np.float32)
    features = datasets.Features({"noise": datasets.Array2D((12, 12), "float32")})
    there = ToArrow(features)({"noise": noise})
    assert np.shares_memory(noise, there["noise"].chunk(0).storage.flatten().flatten().to_numpy())
    for form in (there, there.to_batches()[0]):
        assert not np.shares_memory(noise, as_numpy(form)["noise"])


WRITE = """
import sys
import torch
from datasets import load_dataset
from skyshards import as_numpy
from skyshards.format.columns import flatten

rows = load_dataset(sys.argv[1], split="train", cache_dir=sys.argv[2]).remove_columns("picture")
before = [str(row) for row in rows]
for part in (rows, rows.select([2, 1]), rows.select(range(1, 3))):
    for values in flatten(as_numpy(part.with_format("arrow")[:])).values():
        if values.dtype.kind not in "OU":
            torch.from_numpy(values).zero_()
assert [str(row) for row in rows] == before
print("unharmed")
"""


@pytest.mark.slow
@stock_reads_hdf5
def test_arrays_of_a_memory_mapped_dataset_can_be_written_to(tmp_path):
    """In a process of its own, which writing to a mapped file would end."""
    pytest.importorskip("torch", reason="the extra `torch` is not installed")
    build(Toy(6), tmp_path / "toy", workers=1)
    assert run(sys.executable, "-c", WRITE, tmp_path / "toy", tmp_path / "cache").endswith("unharmed\n")


@settings(max_examples=30)
@given(start=st.integers(0, 8), length=st.integers(0, 8), pieces=st.integers(1, 3))
def test_slices_and_pieces(start, length, pieces):
    values = batch(8)
    table = pa.concat_tables([ToArrow(FEATURES)(values)] * pieces).slice(start, length)
    wanted = {
        name: {key: np.concatenate([part] * pieces)[start : start + length] for key, part in value.items()}
        if isinstance(value, dict)
        else np.concatenate([value] * pieces)[start : start + length]
        for name, value in values.items()
    }
    assert_same(as_numpy(table), wanted)


def test_nulls_are_refused():
    with pytest.raises(ValueError, match="column 'flux' has 1 nulls"):
        as_numpy(pa.table({"flux": [1.0, None]}))


def test_lists_of_any_length_are_ragged():
    values, lengths = as_numpy(pa.table({"bytes": [[1], [2, 3]]}))["bytes"]
    assert (values.tolist(), lengths.tolist()) == ([1, 2, 3], [1, 2])


def test_lists_of_text_and_lists_of_lists_are_refused():
    for lists in ([["a"], ["b", "c"]], [[[1]], [[2], [3]]]):
        with pytest.raises(ValueError, match="column 'x' has lists of .*, which no array can hold"):
            as_numpy(pa.table({"x": lists}))
