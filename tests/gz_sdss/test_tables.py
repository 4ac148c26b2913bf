"""Tables: numbers out of text, 64-bit identifiers that stay exact, positions in either notation."""

import gzip
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

import gz_sdss
from gz_sdss import safe_to_numeric
from gz_sdss.cuts import Cuts
from gz_sdss.tables import IDENTIFIERS, NEEDED, read_table, write_csv
from skyshards.errors import BuildError

BEYOND_FLOAT = 587727178986356823


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({name: rng.uniform(0, 20, 30) for name in NEEDED})
    for number, name in enumerate(IDENTIFIERS):
        table[name] = pd.array(BEYOND_FLOAT + 2 * np.arange(30) + number, dtype="Int64")
    table.loc[3, "specobjid"] = pd.NA
    table.loc[4, "modelMag_u"] = np.nan
    return table


MISSING = [None, "", " ", "nan", "NaN", "NAN", "-nan", " nan "]


@pytest.mark.slow
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), st.lists(st.sampled_from(MISSING)))
def test_integers_in_text_stay_exact(numbers, gaps):
    text = [str(number) for number in numbers] + gaps
    found = safe_to_numeric(pd.Series(text, dtype=object))
    assert pd.api.types.is_integer_dtype(found)
    assert found[: len(numbers)].tolist() == numbers
    assert found.isna().sum() == len(gaps)


@given(st.lists(st.floats(), min_size=1))
def test_floats_in_text_become_the_same_floats(numbers):
    found = safe_to_numeric(pd.Series([repr(number) for number in numbers] + ["0.5"], dtype=object))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found[:-1], numbers)


@pytest.mark.parametrize(
    "values",
    [
        ["1", "two"],
        ["nan", "two"],
        [True, False],
        ["99999999999999999999"],
        ["99999999999999999999", "nan"],
        pd.to_datetime(["2020-01-01"]),
        ["10:00:00"],
        [[1], [2]],
    ],
)
def test_what_is_not_all_numbers_is_left_as_it_is(values):
    col = pd.Series(values)
    assert safe_to_numeric(col) is col


def test_csv_keeps_every_value(table, tmp_path):
    write_csv(table, tmp_path / "t.csv.gz")
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv.gz"), table)
    text = gzip.decompress((tmp_path / "t.csv.gz").read_bytes()).decode()
    assert str(BEYOND_FLOAT) in text


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".vot"])
def test_reads_what_others_write(table, tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    whole = table.fillna({"specobjid": 0}).astype({name: "int64" for name in IDENTIFIERS})
    upper = whole.rename(columns=str.upper)
    if suffix == ".csv":
        upper.to_csv(path, index=False)
    elif suffix == ".parquet":
        upper.to_parquet(path)
    else:
        Table.from_pandas(upper).write(path, format="votable")
    pd.testing.assert_frame_equal(read_table(path), whole.astype({name: "Int64" for name in IDENTIFIERS}))


@pytest.mark.parametrize("suffix", ["csv", "ecsv", "fits"])
def test_formats_of_archives(table, tmp_path, suffix):
    whole = table.fillna({"specobjid": 0}).astype({name: "int64" for name in IDENTIFIERS})
    path = tmp_path / f"t.{suffix}"
    if suffix == "csv":
        path.write_text("#Table1\n" + whole.to_csv(index=False))
    else:
        Table.from_pandas(whole).write(path, format={"ecsv": "ascii.ecsv"}.get(suffix, suffix))
    pd.testing.assert_frame_equal(read_table(path), whole.astype({name: "Int64" for name in IDENTIFIERS}))


def test_the_csv_of_skyserver(cases):
    found = read_table(cases / "tables" / "skyserver.csv")
    assert found["dr7objid"].tolist() == [587727178986356823, 587727178986356824, 587727178986356825]
    assert found["p_cs_debiased"].tolist() == [0.9, 0.9000000000000001, 0.9000000000000001]
    assert Cuts().mask(found).all()


@pytest.mark.parametrize("gap", ["\\N", "None", "--", "", "NaN"])
def test_one_cell_without_a_value_is_missing(table, tmp_path, gap):
    text = table.fillna({"specobjid": 0, "modelMag_u": 1.5}).astype(object)
    text.loc[7, ["petroR50_r", "specobjid"]] = gap
    text.loc[8, "petroR90_r"] = "1,000"
    text.to_csv(tmp_path / "t.csv", index=False)
    found = read_table(tmp_path / "t.csv")
    assert np.isnan(found["petroR50_r"][7]) and found["petroR90_r"][8] == 1000 and found["specobjid"][7] is pd.NA
    assert found["objid"].equals(table["objid"]) and found["petroR50_r"].isna().sum() == 1


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_right_ascensions_are_wrapped_before_anything_is_fetched(table, tmp_path, suffix):
    wrapped = table.assign(ra=np.linspace(-180, 179, 30))
    write_csv(wrapped, tmp_path / "t.csv.gz") if suffix == "csv" else wrapped.to_parquet(tmp_path / "t.parquet")
    found = read_table(next(tmp_path.iterdir()))["ra"]
    np.testing.assert_allclose(found, np.linspace(-180, 179, 30) % 360)


def test_sexagesimal_positions(table, tmp_path):
    text = table.astype({"ra": object, "dec": object})
    text["ra"], text["dec"] = "10:30:00.0", "-01:30:36.0"
    write_csv(text, tmp_path / "t.csv.gz")
    found = read_table(tmp_path / "t.csv.gz")
    np.testing.assert_allclose(found["ra"], 157.5)
    np.testing.assert_allclose(found["dec"], -1.51)


def test_text_of_a_votable_is_read_as_numbers(table, tmp_path):
    text = table.astype(object).where(table.notna(), "nan").astype(str)
    Table.from_pandas(text).write(tmp_path / "t.vot", format="votable")
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.vot"), table)


def test_a_sexagesimal_position_may_be_missing(table, tmp_path):
    table.assign(ra=["10:30:00.0"] * 29 + ["nan"]).to_parquet(tmp_path / "t.parquet")
    found = read_table(tmp_path / "t.parquet")["ra"]
    np.testing.assert_allclose(found, [157.5] * 29 + [np.nan])


def with_two_positions(table, path, name, plain, renamed):
    """Save a table as a join of two gives it: a second position under a name that the server made up."""
    other = {name.replace("ra", column): (table[column] + 1).astype(renamed) for column in ("ra", "dec")}
    table = table.astype({"ra": plain, "dec": plain} | dict.fromkeys(IDENTIFIERS, "int64")).assign(**other)
    table.to_parquet(path) if path.suffix == ".parquet" else Table.from_pandas(table).write(path, format="votable")


@pytest.mark.parametrize("suffix", [".parquet", ".vot"])
@pytest.mark.parametrize("name", ["ra_", "ra_1", "ra2"])
@pytest.mark.parametrize(("plain", "renamed"), [("float32", "float64"), ("float64", "float32")])
def test_of_two_positions_those_of_float64_are_taken(table, tmp_path, suffix, name, plain, renamed):
    table = table.fillna({"specobjid": 0})
    with_two_positions(table, tmp_path / f"t{suffix}", name, plain, renamed)
    found = read_table(tmp_path / f"t{suffix}")
    for column in ("ra", "dec"):
        assert (found[column] == table[column] + (renamed == "float64")).all()


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_refuses_two_positions_of_one_kind(table, tmp_path, kind):
    with_two_positions(table.fillna({"specobjid": 0}), tmp_path / "t.parquet", "ra_", kind, kind)
    with pytest.raises(
        BuildError, match="expected one column ra of float64, found ra, ra_; remove or rename all but the right one"
    ):
        read_table(tmp_path / "t.parquet")


def test_refuses_two_positions_in_text_which_says_nothing_of_their_kinds(table, tmp_path):
    table.assign(ra_=table["ra"]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(
        BuildError, match="expected one column ra of float64, found ra, ra_; remove or rename all but the right one"
    ):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize("kinds", [("float32", "float64"), ("float64", "float32")])
def test_a_name_may_stand_in_a_votable_twice(table, tmp_path, kinds):
    path = tmp_path / "t.vot"
    with_two_positions(table.fillna({"specobjid": 0}), path, "ra_", *kinds)
    path.write_text(path.read_text().replace('"ra_"', '"ra"').replace('"dec_"', '"dec"'))
    assert (read_table(path)["ra"] == table["ra"] + kinds.index("float64")).all()


def test_refuses_identifiers_that_were_floats(table, tmp_path):
    table.assign(objid=table["objid"].astype(float)).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(BuildError, match="column objid: expected 64-bit integers"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop": "petroR90_r"}, "lacks the columns petroR90_r"),
        ({"twice": "objid"}, "expected one column objid, found OBJID, objID"),
        ({"text": [None, "nan", "bright"]}, "column modelMag_g: expected numbers, found 'bright'"),
        ({"text": ["nan", "9" * 20, "1"]}, "column modelMag_g: expected numbers, found .* beyond 64 bits"),
        ({"identifier": ["nan", "1.5", "1"]}, "column objid: expected 64-bit integers"),
    ],
)
def test_says_which_column_is_wrong(table, tmp_path, change, message):
    if "drop" in change:
        table = table.drop(columns=change["drop"])
    elif "twice" in change:
        table = table.rename(columns={"objid": "OBJID"}).assign(objID=1)
    else:
        column, values = ("modelMag_g", change["text"]) if "text" in change else ("objid", change["identifier"])
        table = table.assign(**{column: values * 10})
    table.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(BuildError, match=message):
        read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize("name", ["t.csv.gz", "t.parquet", "t.vot", "t.csv"])
@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08\x00broken", b"\x00\xff" * 50])
def test_a_broken_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BuildError, match=name):
        read_table(tmp_path / name)


def test_card_lists_the_columns_that_a_catalogue_needs():
    card = (Path(gz_sdss.__file__).parent / "README.md").read_text(encoding="utf-8")
    section = card.partition("**Other catalogues.**")[2].partition("**Further columns.**")[0]
    in_u = {re.sub(r"^((?:modelMag|extinction)\w*_)[griz]$", r"\1u", name) for name in NEEDED}
    assert in_u <= set(re.findall(r"`(\w+)`", section))
