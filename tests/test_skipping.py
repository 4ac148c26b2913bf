"""Conditions skip row groups by their statistics, and find the same rows as without."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skyshards.errors import UsageError
from skyshards.format.catalog_statistics import Extent, extent, is_within
from skyshards.read import query, skipping

TYPES = {
    "short": pa.int8(),
    "count": pa.int64(),
    "big": pa.uint64(),
    "x": pa.float32(),
    "y": pa.float64(),
    "half": pa.float16(),
    "flag": pa.bool_(),
    "word": pa.string(),
}
POOLS = {
    "short": [*range(-3, 4), -128, 127],
    "count": [*range(-3, 4), -(2**63), 2**63 - 1, 2**53 + 1],
    "big": [*range(4), 2**63, 2**64 - 1],
    "x": [-1.5, 0.0, 0.5, 3.0, np.nan, np.nan, -np.inf, -0.0, 0.1],
    "y": [-1.5, 0.0, 0.5, 3.0, np.nan, np.nan, np.inf, -0.0, 0.1, float(2**53)],
    "half": [np.float16(value) for value in (0.5, np.nan, 0.1)],  # earlier versions of pyarrow take no others
    "flag": [True, False],
    "word": ["", "a", "ab", "b", "ba", "\U0001f30c"],
}


def random_table(seed):
    """Three row groups of three rows, with few values in each, null among them or not."""
    random = np.random.default_rng(seed)
    columns = {}
    for name, kind in TYPES.items():
        groups = [random.choice(len(POOLS[name]) + 1, 2) for _ in range(3)]
        places = np.concatenate([random.choice(group, 3) for group in groups]).tolist()
        columns[name] = pa.array([[*POOLS[name], None][place] for place in places], kind)
    return pa.table(columns)


def same_groups(**values):
    """Three row groups with the same three values of some columns."""
    table = random_table(0)
    for name, three in values.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(three * 3, TYPES[name]))
    return table


tables = st.integers(0, 2**32).map(random_table)
constants = st.sampled_from(
    ["-2", "0", "1", "3", "0.5", "0.1", "-1.5", "1e999", "127", "True", "False", str(2**63), str(2**64 - 1)]
)
numbers = st.recursive(
    st.sampled_from(["short", "count", "big", "x", "y", "half", "flag"]) | constants,
    lambda inner: (
        st.builds("{}({})".format, st.sampled_from(["-", "+", "abs", "sqrt"]), inner)
        | st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner)
    ),
    max_leaves=3,
)
words = st.sampled_from(["word", "'a'", "''", "'b'", "'ab'", "'\U0001f30c'", r"'a\0'"])
operators = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
comparisons = (
    st.builds("{} {} {}".format, st.sampled_from([*TYPES][:-1]), operators, constants)
    | st.builds("{} {} {}".format, numbers, operators, numbers)
    | st.builds("{} {} {} {} {}".format, numbers, operators, numbers, operators, numbers)
    | st.builds("{} {} {}".format, words, operators, words)
    | st.builds("{} {} ({}, {})".format, numbers, st.sampled_from(["in", "not in"]), constants, constants)
    | st.builds("{} {} ['a', 'bb']".format, words, st.sampled_from(["in", "not in"]))
    | st.sampled_from(
        ["flag", "isnan(x)", "isfinite(y)", "count in ()", "2 ** short > 1", "word > 1", "short & 1 == 1"]
    )
)
conditions = st.recursive(
    comparisons,
    lambda inner: (
        st.builds("not ({})".format, inner)
        | st.builds("~({})".format, inner)
        | st.builds("({}) {} ({})".format, inner, st.sampled_from(["and", "or", "&", "|", "^"]), inner)
    ),
    max_leaves=4,
)


def stored_extents(table, group_rows):
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=group_rows)
    metadata = pq.ParquetFile(file).metadata
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    return {name: [extent(group.column(place)) for group in groups] for place, name in enumerate(table.column_names)}


def looser(found):
    """Bounds as other writers give them, who cut long texts."""
    if not isinstance(found.low, str):
        return found
    return Extent(found.low[:1], found.high[:1] + "\U0010ffff" if found.high else "")


def answers(table, condition):
    """What a condition is for each row without statistics; the error if there is one."""
    try:
        return query.matching(condition, table.column_names, table.__getitem__)
    except UsageError as error:
        return str(error)


@pytest.mark.slow
@settings(max_examples=300)
@given(tables, conditions, st.booleans())
@example(same_groups(x=[np.nan, 2, 2]), "not x > 1", False)
@example(same_groups(x=[np.nan, 2, 2]), "x != 2 or x not in (2, 3)", False)
@example(same_groups(x=[np.float32(0.1)] * 3), "x == 0.1", False)
@example(same_groups(count=[-(2**63), -1, 3]), "-count < -9 or abs(count) < 0", False)
@example(same_groups(count=[2**63 - 1] * 3), "count + 1 < 0", False)
@example(same_groups(short=[100, 127, 127]), "short + short > 200 and short < 200", False)
@example(same_groups(big=[2**63, 2**64 - 1, 2**63]), "big > 9223372036854775807 and big != 3", False)
@example(same_groups(word=["ab", "ab", "ab"]), "word > 'a' and word <= 'ab'", True)
def test_no_row_that_meets_a_condition_is_skipped(table, condition, cuts_texts):
    wanted, extents = answers(table, condition), stored_extents(table, 3)
    if cuts_texts:
        extents["word"] = [looser(each) for each in extents["word"]]
    dtypes = {name: None if name == "word" else np.dtype(kind.to_pandas_dtype()) for name, kind in TYPES.items()}
    may_match = skipping.possible(condition, 3, lambda name: skipping.of_groups(extents[name], dtypes[name]))
    rows = np.repeat(may_match, 3)
    if isinstance(wanted, str):  # what is no condition is none for the rows that are left, either
        assert answers(table.filter(pa.array(rows)), condition) == wanted
    else:
        np.testing.assert_array_equal(wanted & ~rows, False)
        np.testing.assert_array_equal(answers(table.filter(pa.array(rows)), condition), wanted[rows])


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("dec > 4", [0, 0, 1]),
        ("not dec > 4", [1, 1, 1]),  # NaN is not greater than 4
        ("not kind > 3", [1, 1, 0]),
        ("2 <= kind < 4", [0, 1, 0]),
        ("kind in (0, 9)", [1, 0, 0]),
        ("kind not in (0, 1)", [1, 1, 1]),  # of the first, all that is known is that they lie between 0 and 1
        ("kind == 5 or dec < 1", [1, 0, 1]),
        ("abs(dec) < 1 and kind < 3", [1, 0, 0]),
        ("-dec < -4", [0, 0, 1]),
        ("kind + 1 > 5", [1, 1, 1]),  # sums are not understood
        ("name < 'b'", [1, 0, 0]),
        ("name == 3", [1, 1, 1]),  # the evaluation says what is wrong
        ("kind ** -1 > 5", [1, 1, 1]),  # an error, depending on values
        ("kind >", [1, 1, 1]),
        ("unknown > 1 and kind > 9", [1, 1, 1]),
        ("kind > 9", [0, 0, 0]),
        ("added < 9", [0, 0, 1]),  # null in the others
    ],
)
def test_what_is_skipped(condition, wanted):
    table = pa.table(
        {
            "dec": [0.0, 1, 2, 3, 4, 5],
            "kind": [0, 1, 2, 3, 4, 5],
            "name": ["a", "b", "c", "d", "e", "f"],
            "added": pa.array([None] * 4 + [1, 2]),
        }
    )
    dtypes = {"dec": np.dtype(float), "kind": np.dtype(int), "name": None, "added": np.dtype(int)}
    extents = stored_extents(table, 2)
    found = skipping.possible(condition, 3, lambda name: skipping.of_groups(extents[name], dtypes[name]))
    assert found.tolist() == [bool(each) for each in wanted]


def test_statistics_of_another_type_say_nothing():
    found = skipping.of_groups([Extent(-1, 5)], np.dtype(np.uint64))
    assert skipping.possible("x > 7", 1, lambda name: found).tolist() == [True]


@pytest.mark.parametrize("seed", range(20))
def test_values_are_within_their_statistics(seed):
    table = random_table(seed)
    for name, extents in stored_extents(table, 9).items():
        column = table[name].combine_chunks()
        assert is_within(column, extents[0])
        present = [value for value in column.to_pylist() if value is not None and value == value]
        if extents[0].low is not None and len(set(present)) > 1:
            narrower = extents[0]._replace(high=min(present))
            assert not is_within(column, narrower)
    assert not is_within(pa.array([1, None]), Extent(is_empty=True))
