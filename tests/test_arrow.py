"""NumPy batches to Arrow and back: nothing changes on the way, and nothing large is copied."""

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyshards.read.arrow import as_numpy, to_arrow
from tests.contract import assert_same
from tests.toy import SCHEMA, row

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

    filled = {"healpix": np.arange(count), "source": np.array([f"s{number}" for number in range(count)])}
    return {name: filled[name] if name in filled else stack(name, feature) for name, feature in FEATURES.items()}


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 9))
def test_there_and_back(count):
    values = batch(count)
    table = to_arrow(values, FEATURES)
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
    data_set = datasets.Dataset(to_arrow(values, FEATURES))
    assert data_set.features == FEATURES
    for number, found in enumerate(data_set.with_format("numpy")):
        assert_same(found["votes"]["mask"], values["votes"]["mask"][number])
        assert found["object_id"] == values["object_id"][number]


def test_arrays_share_memory():
    noise = np.random.default_rng(0).standard_normal((4, 12, 12)).astype(np.float32)
    features = datasets.Features({"noise": datasets.Array2D((12, 12), "float32")})
    there = to_arrow({"noise": noise}, features)
    back = as_numpy(there)["noise"]
    assert np.shares_memory(noise, back)


@settings(max_examples=30, deadline=None)
@given(start=st.integers(0, 8), length=st.integers(0, 8), pieces=st.integers(1, 3))
def test_slices_and_pieces(start, length, pieces):
    values = batch(8)
    table = pa.concat_tables([to_arrow(values, FEATURES)] * pieces).slice(start, length)
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


def test_lists_of_several_lengths_are_refused():
    with pytest.raises(ValueError, match="column 'bytes' has lists of 1 to 2 values"):
        as_numpy(pa.table({"bytes": [[1], [2, 3]]}))
