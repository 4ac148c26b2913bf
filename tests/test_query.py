"""What is asked of a table: conditions as text or as Arrow's expressions, names, cones."""

import datetime
import io
import traceback

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from astropy import units
from astropy.coordinates import SkyCoord

import skyshards
from skyshards.errors import UsageError
from skyshards.format.columns import flatten
from skyshards.pipeline.build import build
from skyshards.read import query
from tests.toy import Toy

ROWS = 40


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("query") / "toy"
    build(Toy(ROWS), folder, workers=1)
    return skyshards.open(folder)


@pytest.fixture(scope="module")
def values(table):
    return flatten(table.columns(["object_id", "ra", "dec", "flux", "count", "barred", "label", "votes", "source"])[:])


VOTES = {
    "bar": pa.array([3, 1, 0, 7], pa.int16()),
    "all": pa.array([4, 4, 0, 7], pa.int16()),
    "p": pa.array([0.9, float("nan"), 0.1, 0.9], pa.float32()),
    "id": pa.array([2**60, 2**60 + 1, 5, 6], pa.int64()),
    "has-arms_no": pa.array([True, True, False, False]),
    "kind": pa.array(["disk", "sph", "disk", "'`ring`'"]),
    "small": pa.array([100, 120, 1, 1], pa.int8()),
}


def ask(condition):
    columns = {name: pa.chunked_array([values]) for name, values in VOTES.items()}
    return query.matching(condition, list(columns), columns.__getitem__).tolist()


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("bar > 0.5 * all", [1, 0, 0, 1]),
        ("bar / all > 0.5", [1, 0, 0, 1]),  # 0 / 0 is NaN
        ("bar / (all - 4) > 1", [1, 1, 0, 1]),  # 3 / 0 is infinite
        (pc.field("bar") / (pc.field("all") + 1) > 0.55, [1, 0, 0, 1]),
        (pc.divide(pc.field("bar"), 2) == 1.5, [1, 0, 0, 0]),
        ("bar // 2 == 1 and bar % 2 == 1", [1, 0, 0, 0]),
        ("p >= 0.9", [1, 0, 0, 1]),
        ("p > 0.8 or isnan(p)", [1, 1, 0, 1]),
        ("not p > 0.8", [0, 1, 1, 0]),
        (f"id == {2**60 + 1}", [0, 1, 0, 0]),
        (pc.field("id") == 2**60 + 1, [0, 1, 0, 0]),
        ("`has-arms_no` & (bar > 2)", [1, 0, 0, 0]),
        ("`has-arms_no` + (bar > 2) >= 2", [1, 0, 0, 0]),
        ("~`has-arms_no`", [0, 0, 1, 1]),
        ("kind == 'disk'", [1, 0, 1, 0]),
        ("kind in ('sph', 'irr')", [0, 1, 0, 0]),
        ("bar not in [1, 3]", [0, 0, 1, 1]),
        ("1 <= bar < 7", [1, 1, 0, 0]),
        ("small + small > 200 and -small < -100 and abs(-small) > 1", [0, 1, 0, 0]),
        ("2 ** bar == 8", [1, 0, 0, 0]),
        ("bar & 1 != 0", [1, 1, 0, 1]),
    ],
    ids=str,
)
def test_conditions(condition, wanted):
    assert ask(condition) == [bool(value) for value in wanted]


def of_any_type():
    """Columns as a catalogue from elsewhere has them, each with a null, with what is asked of it."""
    day = datetime.datetime(2020, 1, 1)
    yield pa.array([day, None, day.replace(year=2021)], pa.timestamp("ms")), "value >= value", [1, 0, 1]
    yield pa.array([day.date(), None, day.date()], pa.date32()), "value == value", [1, 0, 1]
    yield pa.array([1, None, 3], pa.decimal128(9, 2)), "value > 2", [0, 0, 1]
    yield pa.array([1, None, 3]).dictionary_encode(), "value > 2", [0, 0, 1]
    yield pa.array([True, None, False]).dictionary_encode(), "value", [1, 0, 0]
    yield pa.array(["a", None, "b"]).dictionary_encode(), "value == 'b'", [0, 0, 1]
    yield pa.array(["a", None, "b"], pa.large_string()), "value == 'b'", [0, 0, 1]
    yield pa.array(["a", None, "b"], pa.large_string()).dictionary_encode(), "value != 'b'", [1, 0, 0]
    yield pa.array([b"a", None, b"b"], pa.binary()), "value == value", [1, 0, 1]
    yield pa.array([1, None, 3], pa.uint8()), "value > 2", [0, 0, 1]
    yield pa.array(np.array([1, 0, 3], np.float16), mask=np.array([False, True, False])), "value > 2", [0, 0, 1]
    yield pa.nulls(3), "value > 2", [0, 0, 0]


@pytest.mark.parametrize(
    ("values", "condition", "wanted"), [pytest.param(*case, id=str(case[0].type)) for case in of_any_type()]
)
def test_conditions_on_columns_of_any_type(values, condition, wanted):
    for chunks in ([values], [values.slice(0, 1), values.slice(1)], [values.slice(0, 0)]):
        column = pa.chunked_array(chunks)
        found = query.matching(condition, ["value"], {"value": column}.__getitem__)
        assert found.tolist() == [bool(value) for value in wanted][: len(column)]


def test_lists_are_no_values_of_a_condition():
    column = pa.chunked_array([pa.array([[1, 2], None, [3]])])
    with pytest.raises(UsageError, match="is not a condition"):
        query.matching("value > 2", ["value"], {"value": column}.__getitem__)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("bar > ", "is not a condition"),
        ("bar = 3", "is not a condition .*; write == for equality"),
        ("bar > 1 & all > 1", "is not a condition .*needs brackets"),
        ("bar + 1", "expected a condition on columns"),
        ("1 > 0", "expected a condition on columns"),
        ("kind > 3", "is not a condition"),
        ("kind * 2 == 3", "is not a condition"),
        ("bar and all", "join comparisons"),
        ("kind[0] == 'd'", "has no elements"),
        ("__import__('os').system('true')", "is not understood"),
        ("kind.__class__ == 3", None),
        ("(lambda: bar > 3)()", "is not understood"),
        ("[bar for bar in all] == bar", "is not understood"),
        ("open('/etc/passwd') == bar", "is not understood"),
        ("bar > 1 & `has-arms_no`", "join two comparisons, or two integers"),
        ("9 ** 9 ** 9 ** 9 ** 9 > bar", "is not a condition"),  # and at once
        (f"{10**40} > bar", "is not understood"),
        ("bar is all", "is not understood"),
        (f"{2**63} in (-2, True)", "is not a condition"),
        ("(" * 500 + "bar" + ")" * 500, "is not a condition"),
        (pc.field("bar") + 1, "expected a condition"),
        (pc.field("kind") > 3, "kind"),
        (pc.field("bar") / pc.field("all") > 0.5, "divide by zero; exclude those rows first"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_condition(condition, message):
    with pytest.raises((UsageError, KeyError), match=message):
        ask(condition)


@pytest.mark.parametrize("condition", ["bra > 3", pc.field("bra") > 3, "bra.inner == 3"], ids=str)
def test_unknown_columns_are_named_as_by_columns(table, condition):
    with pytest.raises(KeyError, match="no column 'bra(.inner)?'.*; available: object_id, ra, dec"):
        table.where(condition)


@pytest.mark.parametrize(
    "condition", [np.ones(ROWS, bool), [True] * ROWS, None, 3], ids=lambda value: type(value).__name__
)
def test_masks_are_not_conditions(table, condition):
    with pytest.raises(TypeError, match=r"expected text .*found .*`table.select`"):
        table.where(condition)


def test_where_by_text_on_a_built_dataset(table, values):
    bar = values["votes.fraction"][:, 0]
    found = table.where("votes.fraction[0] > 0.5 and count > 0 and flux == flux and _split == 'train'")
    wanted = np.flatnonzero((bar > 0.5) & (values["count"] > 0) & ~np.isnan(values["flux"]))
    assert len(wanted) > 0 and found[:]["object_id"].tolist() == values["object_id"][wanted].tolist()
    with pytest.raises(UsageError, match="has 2 values a row; choose one"):
        table.where("votes.fraction > 0.5")
    with pytest.raises(KeyError, match="no column 'picture'"):
        table.where("picture == 3")


@pytest.mark.parametrize("text", [True, False])
def test_a_chained_where_judges_only_the_rows_that_are_left(table, values, text):
    if text:
        found = table.where("barred").where("1 / (barred * 2 - 1) > 0")
    else:
        positive = pc.scalar(1) / (pc.field("count") - int(values["count"].min())) > 0
        found = table.where(pc.field("count") > 0).where(positive)
        with pytest.raises(UsageError, match="divide by zero"):
            table.where(positive)
    assert len(found) == (values["barred"] if text else values["count"] > 0).sum()
    assert len(table.select([]).where("count > 0")) == 0 == len(table.select([]).where(pc.field("count") > 0))


def test_find_gives_rows_in_the_order_of_their_names(table, values):
    ids = values["object_id"]
    assert table.find(ids[7])[0]["object_id"] == ids[7] and len(table.find(ids[7])) == 1
    for wanted in (
        ids[[9, 2, 2]],
        list(ids[[9, 2, 2]]),
        pa.array(ids[[9, 2, 2]].tolist()),
        ids[[9, 2, 2]].astype(object),
    ):
        assert table.find(wanted)[:]["object_id"].tolist() == ids[[9, 2, 2]].tolist()
    assert table.find([])[:]["object_id"].tolist() == []
    assert table.find([str(ids[3]).encode()])[0]["object_id"] == ids[3]


def test_find_by_another_column(table, values):
    assert table.find(["s00007", "s00003"], by="source")[:]["source"].tolist() == ["s00007", "s00003"]
    counts = values["count"][[4, 1]]
    assert table.find(counts, by="count")[:]["count"].tolist() == counts.tolist()
    assert table.find(str(counts[0]), by="count")[0]["count"] == counts[0]
    spirals = table.find([1, 0], by="label")[:]["label"]
    assert spirals.tolist() == sorted(values["label"].tolist(), reverse=True), "all rows of a name"


def test_find_names_what_is_absent(table):
    with pytest.raises(KeyError, match="no row has object_id 'here', 'there'; searched 40 rows"):
        table.find(["here", "galaxy-003-é", "there"])
    with pytest.raises(KeyError, match="and 90 more"):
        table.find([f"x{number}" for number in range(100)])
    with pytest.raises(KeyError, match="no column 'iauname'; available: object_id"):
        table.find("x", by="iauname")
    with pytest.raises(UsageError, match="expected values of int16, found 'x'"):
        table.find("x", by="count")
    with pytest.raises(UsageError, match="expected values of int16"):
        table.find([1.5], by="count")
    with pytest.raises(UsageError, match="one value a row"):
        table.find("bar", by="votes.names")
    with pytest.raises(KeyError, match="no row"):
        table.select([3]).find("galaxy-003-é") if table[3]["object_id"] != "galaxy-003-é" else table.find("-")


def test_cones_of_quantities_and_coordinates(table):
    ra, dec = float(table[5]["ra"]), float(table[5]["dec"])
    wanted = table.cone(ra, dec, 30.0).catalog["object_id"]
    centre = SkyCoord(ra, dec, unit="deg")
    for cone in (
        (ra * units.deg, np.radians(dec) * units.rad, 1800 * units.arcmin),
        (centre, 30.0),
        (centre, 30 * units.deg),
        (centre.galactic, 30.0),
    ):
        assert table.cone(*cone).catalog["object_id"] == wanted and len(wanted) > 0
    assert table.cone(centre, radius=30.0).catalog["object_id"] == wanted


@pytest.mark.parametrize(
    ("cone", "message"),
    [
        ((10.0, 20.0), "found no radius"),
        ((SkyCoord([1, 2], [3, 4], unit="deg"), 3.0), "one cone"),
        ((10.0, 20.0, 3 * units.km), "radius: expected an angle, found 3.0 km"),
        (("10:00:00", 20.0, 1.0), "as numbers"),
        ((10.0, 95.0, 1.0), "dec from -90 to 90"),
        ((10.0, float("nan"), 1.0), "dec from -90 to 90"),
        ((10.0, 5.0, -1.0), "at least 0"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_cone(table, cone, message):
    with pytest.raises(UsageError, match=message):
        table.cone(*cone)


def test_errors_of_a_batch_begin_with_their_own_cause(table):
    with pytest.raises(IndexError) as caught:
        table[[0, 400]]
    text = io.StringIO()
    traceback.print_exception(caught.value, file=text)
    assert "cannot be interpreted as an integer" not in text.getvalue() and caught.value.__context__ is None
