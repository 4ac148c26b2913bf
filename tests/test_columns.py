"""The columns of a dataset: their declaration, and what follows from it."""

import dataclasses
import math
import pickle

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyshards.format.columns import flatten, nest, select
from skyshards.format.kinds.base import LARGE_BYTES
from skyshards.format.schema import Column, Schema
from tests.toy import SCHEMA

NAMES = st.text("abcxyz_", min_size=1, max_size=4)
TREES = st.dictionaries(
    NAMES,
    st.recursive(st.integers(), lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=4)),
    max_size=5,
)


def one(feature, **options):
    """The spec of a single column."""
    return Schema({"x": Column(feature, "a column", **options)}).specs["x"]


@settings(max_examples=40)
@given(TREES)
def test_nest_undoes_flatten(tree):
    assert nest(flatten(tree)) == tree


@settings(max_examples=40)
@given(TREES)
def test_flat_names_lead_to_the_values(tree):
    for path, value in flatten(tree).items():
        found = tree
        for name in path.split("."):
            found = found[name]
        assert found == value


@given(st.lists(NAMES, unique=True, min_size=1), st.data())
def test_selected_columns_keep_their_own_order(names, data):
    asked = data.draw(st.lists(st.sampled_from(names)))
    assert select(names, asked) == tuple(name for name in names if name in asked)


def test_a_group_stands_for_its_columns():
    columns = ("a", "group.b", "group.inner.c", "grouping")
    assert select(columns, ["group"]) == ("group.b", "group.inner.c")
    assert select(columns, ["grouping", "group.inner"]) == ("group.inner.c", "grouping")
    assert select(columns, []) == ()


@pytest.mark.parametrize("name", ["grou", "group.", "b", "", "group.inner.c.d"])
def test_an_unknown_column_is_named_with_those_there_are(name):
    with pytest.raises(KeyError, match=f"no column '{name}'.*; available: a, group.b, group.inner.c"):
        select(("a", "group.b", "group.inner.c"), ["a", name])


@pytest.mark.parametrize(
    ("name", "similar"), [("gz_bar_vote", "gz_bar_votes"), ("array", "masks.array"), ("Masks.aray", "masks.array")]
)
def test_similar_columns_come_first(name, similar):
    with pytest.raises(KeyError, match=rf"no column '{name}' \(similar: {similar}\); available: ra, "):
        select(("ra", "gz_bar_votes", "masks.array"), [name])


def test_a_string_is_no_list_of_names():
    """Else its letters would be, and some of them may even be columns."""
    with pytest.raises(TypeError, match=r"expected a list of column names, found the string 'ba'; write \['ba'\]"):
        select(("a", "b", "ba"), "ba")


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int16", "int64", "uint64", "float16", "float32", "float64"]
)
def test_numbers(dtype):
    scalar = one(datasets.Value(dtype), unit="mag")
    assert (scalar.kind, scalar.dtype, scalar.shape, scalar.unit) == ("number", dtype, (), "mag")
    assert scalar.scalar and not scalar.heavy and scalar.nbytes == np.dtype(dtype).itemsize
    listed = one(datasets.Sequence(datasets.Value(dtype), length=3))
    assert (listed.kind, listed.dtype, listed.shape, listed.scalar) == ("number", dtype, (3,), False)
    cube = one(datasets.Array3D((2, 3, 4), dtype))
    assert (cube.kind, cube.dtype, cube.shape, cube.heavy) == ("number", dtype, (2, 3, 4), True)


def test_text_labels_and_images():
    assert dataclasses.astuple(one(datasets.Value("string")))[1:4] == ("string", "str", ())
    assert dataclasses.astuple(one(datasets.Sequence(datasets.Value("string"), length=2)))[1:4] == (
        "string",
        "str",
        (2,),
    )
    assert dataclasses.astuple(one(datasets.ClassLabel(names=["a", "b"])))[1:4] == ("number", "int64", ())
    image = one(datasets.Image())
    assert image.kind == "bytes" and image.heavy and not image.scalar


@given(st.lists(st.integers(1, 40), min_size=2, max_size=2), st.sampled_from(["uint8", "float32", "float64"]))
def test_heavy_is_what_takes_more_than_the_bound(shape, dtype):
    array, listed = (
        one(datasets.Array2D(shape, dtype)),
        one(datasets.Sequence(datasets.Value(dtype), math.prod(shape))),
    )
    assert array.nbytes == listed.nbytes == math.prod(shape) * np.dtype(dtype).itemsize
    assert listed.heavy == (listed.nbytes > LARGE_BYTES)
    assert array.heavy, "the catalogue has no columns of two dimensions"


def test_a_list_of_text_without_a_length_is_refused():
    with pytest.raises(TypeError, match="column 'x': expected one of these features: .*; found "):
        one(datasets.Sequence(datasets.Value("string")))


def test_every_config_has_its_columns():
    assert SCHEMA.config_names == ("default", "flags", "catalog")
    assert SCHEMA.config_columns("default") == tuple(SCHEMA.specs)
    assert SCHEMA.config_columns("flags") == ("object_id", "barred", "label")
    assert SCHEMA.config_columns("catalog") == (
        "object_id", "ra", "dec", "healpix", "fold", "flux", "count", "barred", "label", "source",
    )  # fmt: skip


def test_features_of_a_selection_keep_nesting_and_order():
    features = SCHEMA.features_of(["votes.mask", "object_id"])
    assert list(features) == ["object_id", "votes"] and list(features["votes"]) == ["mask"]
    assert SCHEMA.features_of(SCHEMA.specs) == SCHEMA.features
    assert list(flatten(SCHEMA.features)) == list(SCHEMA.specs)


def test_specs_are_small_to_send_to_a_worker():
    assert pickle.loads(pickle.dumps(SCHEMA.specs)) == SCHEMA.specs
    assert len(pickle.dumps(SCHEMA.specs)) < 10_000
