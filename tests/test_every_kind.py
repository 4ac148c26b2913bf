"""Columns of all kinds, nested in any way, with any values: the same in every reader."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import skyshards
from skyshards import Column, Ragged, Recipe, Schema, Source, verify
from skyshards.format.columns import flatten
from skyshards.pipeline.build import build
from skyshards.pipeline.encode import complete
from skyshards.read.arrow import as_numpy
from skyshards.testing.contract import stock_reads_hdf5
from tests.format_reader import assert_reads
from tests.test_text import TEXT

DTYPES = ["bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))]
DTYPES += ["float16", "float32", "float64"]
NAMES = ["elliptical", "spiral", "bar"]


@dataclass(frozen=True)
class Drawn(Recipe):
    columns: dict
    rows: tuple

    name = "drawn"

    @property
    def schema(self):
        return Schema(self.columns)

    @property
    def folder(self) -> Path:
        return Path(__file__).parent / "toy_card"

    def sources(self, fetcher):
        yield Source("all")

    def read(self, source, fetched):
        for number, row in enumerate(self.rows):
            yield {"object_id": f"{number:03d}", "ra": 10.0, "dec": number * 1e-6, **row}


def missing_of(dtype: str) -> Any:
    """A value for missing ones; None where there can be none."""
    return None if dtype == "bool" else math.nan if dtype.startswith("float") else 7


def optional(values: st.SearchStrategy, missing: Any) -> st.SearchStrategy:
    return values if missing is None else st.none() | values


@st.composite
def leaves(draw) -> tuple[Column, st.SearchStrategy]:
    """A column, and a strategy of its values."""
    kind = draw(st.sampled_from(["number", "label", "list", "array", "text", "texts", "image", "ragged", "labels"]))
    dtype = draw(st.sampled_from(DTYPES))
    has_missing = draw(st.booleans())
    missing = missing_of(dtype) if has_missing else None
    if kind == "number":
        values = arrays.from_dtype(np.dtype(dtype), allow_subnormal=False)
        return Column(datasets.Value(dtype), "a number", missing=missing), optional(values, missing)
    if kind == "label":
        missing = -1 if has_missing else None
        values = st.sampled_from([*NAMES, 0, 1, 2])
        return Column(datasets.ClassLabel(names=NAMES), "a label", missing=missing), optional(values, missing)
    if kind in ("list", "array"):
        shape = draw(
            arrays.array_shapes(min_dims=1 if kind == "list" else 2, max_dims=1 if kind == "list" else 4, max_side=4)
        )
        value = datasets.Value(dtype)
        one = datasets.Sequence(value, length=shape[0])
        feature = one if kind == "list" else getattr(datasets, f"Array{len(shape)}D")(shape, dtype)
        column = Column(feature, "an array", deflate=draw(st.booleans()), missing=missing)
        return column, optional(arrays.arrays(dtype, shape), missing)
    if kind in ("text", "texts"):
        missing = draw(st.sampled_from(["", "none"])) if has_missing else None
        if kind == "text":
            return Column(datasets.Value("string"), "text", missing=missing), optional(TEXT, missing)
        feature = datasets.Sequence(datasets.Value("string"), length=2)
        return Column(feature, "texts", missing=missing), optional(st.lists(TEXT, min_size=2, max_size=2), missing)
    if kind == "image":
        return Column(datasets.Image(), "a picture"), arrays.arrays("uint8", (3, 4, 3))
    missing = [] if has_missing else None
    if kind == "ragged":
        feature, values = datasets.Sequence(datasets.Value(dtype)), arrays.arrays(dtype, st.integers(0, 9))
    else:
        feature, values = datasets.Sequence(datasets.ClassLabel(names=NAMES)), st.lists(st.integers(-1, 2), max_size=5)
    return Column(feature, "a list", missing=missing), optional(values, missing)


def aligned() -> tuple[Column, st.SearchStrategy]:
    """Lists of equal length, as the Multimodal Universe declares them."""
    feature = datasets.Sequence({"flux": datasets.Value("float32"), "mask": datasets.Value("bool")})
    lists = st.integers(0, 9).flatmap(
        lambda length: st.fixed_dictionaries(
            {"flux": arrays.arrays("float32", length), "mask": arrays.arrays("bool", length)}
        )
    )
    return Column(feature, "a spectrum"), lists


def group(members: st.SearchStrategy) -> st.SearchStrategy:
    named = st.dictionaries(st.sampled_from("abcdef"), members, min_size=1, max_size=3)
    return named.map(
        lambda drawn: (
            {name: column for name, (column, _) in drawn.items()},
            st.fixed_dictionaries({name: values for name, (_, values) in drawn.items()}),
        )
    )


COLUMNS = group(st.recursive(leaves() | st.just(aligned()), group, max_leaves=6))


@st.composite
def recipes(draw) -> Drawn:
    columns, values = draw(COLUMNS)
    rows = draw(st.lists(values, min_size=1, max_size=4))
    return Drawn({"object_id": Column(datasets.Value("string"), "name"), **columns}, tuple(rows))


def assert_same(found: Any, wanted: Any, path: str) -> None:
    """Compare a value as read with the one in the row."""
    np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted), err_msg=path)


@stock_reads_hdf5
@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(recipe=recipes())
def test_every_reader_gives_what_was_written(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "drawn"
    summary = build(recipe, folder, workers=0)
    assert (summary.rows, summary.failed) == (len(recipe.rows), 0)
    specs = recipe.schema.specs
    wanted = []
    for row in recipe.read(None, None):
        values = complete(row, specs)
        for path, spec in specs.items():
            if spec.classes and path in values:
                labels = [NAMES.index(one) if one in NAMES else int(one) for one in np.ravel(values[path]).tolist()]
                values[path] = labels if spec.kind == "ragged" or spec.shape else labels[0]
            if spec.kind == "bytes":
                values[path] = values[path].tolist()
        wanted.append(values)

    table = skyshards.open(folder)
    whole = flatten(table[:])
    for number, values in enumerate(wanted):
        one = flatten(table[number])
        for path, value in values.items():
            assert_same(one[path], value, path)
            batch = whole[path].rows() if isinstance(whole[path], Ragged) else whole[path]
            assert_same(batch[number], value, path)
            assert specs[path].dtype in ("str", str(np.asarray(one[path]).dtype))

    for name in ("skyshards", str(folder)):
        options = {"data_dir": str(folder)} if name == "skyshards" else {}
        rows = datasets.load_dataset(name, split="train", streaming=True, **options)
        for values, found in zip(wanted, rows, strict=True):
            for path, value in values.items():
                if specs[path].kind != "bytes":
                    assert_same(
                        np.array(flatten(found)[path], None if specs[path].dtype == "str" else specs[path].dtype),
                        value,
                        path,
                    )
    arrow = datasets.load_dataset("skyshards", data_dir=str(folder), split="train", streaming=True)
    pictures = {path for path, spec in specs.items() if spec.kind == "bytes"}
    batch = flatten(as_numpy(next(iter(arrow.with_format("arrow").iter(len(wanted))))))
    for path in wanted[0].keys() - pictures:
        values = batch[path].rows() if isinstance(batch[path], Ragged) else batch[path]
        for found, row in zip(values, wanted, strict=True):
            assert_same(found, row[path], path)

    with h5py.File(next(folder.rglob("*.hdf5"))) as file:
        for path in wanted[0].keys() - pictures:
            stored = file[path.replace(".", "/")]
            stored = stored.asstr() if specs[path].dtype == "str" else stored
            for number, row in enumerate(wanted):
                assert_same(stored[number], row[path], path)

    for path, spec in specs.items():
        if path in wanted[0] and spec.scalar:
            nulls = table.catalog[path].is_null().to_pylist()
            fill = spec.missing
            for is_null, row in zip(nulls, wanted, strict=True):
                is_fill = np.isnan(row[path]) if fill == "nan" and spec.dtype != "str" else row[path] == fill
                assert is_null == bool(fill is not None and is_fill), path
    assert list(verify.problems(folder)) == []


@pytest.mark.slow
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(recipe=recipes())
def test_the_reader_of_the_document_gives_it_too(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "drawn"
    assert build(recipe, folder, workers=0).failed == 0
    assert_reads(folder, tmp_path_factory.mktemp("reader"))
