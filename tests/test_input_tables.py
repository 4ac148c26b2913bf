"""Catalogues in any file: the same table is read as the same, all cells count, and damage is said."""

import bz2
import csv
import gzip
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import MaskedColumn, Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skyshards.errors import BuildError
from skyshards.input_tables.positions import degrees
from skyshards.input_tables.table_file import open_table

GAPS = ("", "nan", "NaN", "None", "--", "\\N", "null", " ")
VALUES = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint64": st.integers(2**63, 2**64 - 1),
    "double": st.floats(allow_nan=False, width=64),
    "bool": st.booleans(),
    "string": st.from_regex(r"[A-Z][a-z]{1,6}[0-9]", fullmatch=True),
}


@st.composite
def tables(draw):
    """Columns by name, each with its kind and values, of which any may be None (but not all are)."""
    rows, columns = draw(st.integers(1, 12)), {}
    for number in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(list(VALUES)))
        values = draw(st.lists(st.none() | VALUES[kind], min_size=rows, max_size=rows))
        values[draw(st.integers(0, rows - 1))] = draw(VALUES[kind])
        if kind == "double" and not any(value is not None and value % 1 for value in values):
            values[values.index(next(value for value in values if value is not None))] = 0.5
        columns[f"c{number}"] = kind, values
    return columns


def as_csv(columns, random):
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(columns)
    for row in zip(*(values for _, values in columns.values()), strict=True):
        cells = [random.choice(GAPS) if value is None else repr(value) for value in row]
        writer.writerow([cell.strip("'") for cell in cells])
    return file.getvalue().encode()


def as_arrow(columns):
    types = {
        "int64": pa.int64(),
        "uint64": pa.uint64(),
        "double": pa.float64(),
        "bool": pa.bool_(),
        "string": pa.string(),
    }
    return pa.table({name: pa.array(values, types[kind]) for name, (kind, values) in columns.items()})


def as_astropy(columns):
    table = Table()
    for name, (kind, values) in columns.items():
        fill = {"string": "x", "double": 0.0, "bool": False}.get(kind, 2**63 if kind == "uint64" else 0)
        whole = [fill if value is None else value for value in values]
        dtype = {"double": "f8", "string": "U8", "bool": "?"}.get(kind, kind)
        mask = [value is None for value in values]
        table[name] = MaskedColumn(whole, dtype=dtype, mask=mask) if any(mask) else np.array(whole, dtype)
    return table


def write(columns, path, random):
    suffix = path.name.partition(".")[2]
    if suffix == "parquet":
        pq.write_table(as_arrow(columns), path, row_group_size=random.choice([1, 3, 100]))
    elif suffix == "text.parquet":
        text = {name: [None if v is None else str(v) for v in values] for name, (_, values) in columns.items()}
        pq.write_table(pa.table({name: pa.array(values, pa.string()) for name, values in text.items()}), path)
    elif suffix.startswith("csv"):
        content = as_csv(columns, random)
        path.write_bytes({"csv.gz": gzip.compress, "csv.bz2": bz2.compress}.get(suffix, bytes)(content))
    else:
        formats = {"ecsv": "ascii.ecsv", "fits": "fits", "vot": "votable"}
        as_astropy(columns).write(path, format=formats[suffix], overwrite=True)


def read(path):
    table = open_table(path)
    columns = table.look()
    parts = list(table.batches(columns))
    return {
        column.name: (column, pa.chunked_array([part[number] for part in parts], column.type or pa.null()).to_pylist())
        for number, column in enumerate(columns)
    }


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "csv.bz2", "parquet", "text.parquet", "ecsv", "fits", "vot"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns=tables(), random=st.randoms(use_true_random=False))
def test_a_table_is_read_back_from_every_format(tmp_path, suffix, columns, random):
    if suffix in ("fits", "vot"):  # neither has a truth value that is missing, and VOTable no integers beyond 2**63
        columns = {n: c for n, c in columns.items() if c[0] != "bool" or None not in c[1]}
        columns = {n: c for n, c in columns.items() if c[0] != "uint64"} or {"c": ("int64", [1])}
    write(columns, tmp_path / f"t.{suffix}", random)
    found = read(tmp_path / f"t.{suffix}")
    assert list(found) == list(columns)
    for name, (kind, values) in columns.items():
        column, cells = found[name]
        assert str(column.type) == kind
        if kind == "double":
            np.testing.assert_array_equal([np.nan if v is None else v for v in cells], np.array(values, float))
        else:
            assert cells == values
            assert column.gaps == (None in values) or kind == "string"


def column_of(path, *cells):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([["x", "y"], *([cell, 1] for cell in cells)])
    return read(path)["x"]


@pytest.mark.slow
@pytest.mark.parametrize("first", ["", "1", "0.5", "true"])
@pytest.mark.parametrize(("last", "kind"), [("2.5", "double"), ("7", "int64"), ("false", "bool"), ("bar", "string")])
def test_the_last_of_many_rows_counts(tmp_path, first, last, kind, monkeypatch):
    """Types are not guessed from the first block."""
    column, cells = column_of(tmp_path / "t.csv", *[first] * 60_000, *["0"] * 10 * (first not in ("", "true")), last)
    kinds = {("1", "double"), ("0.5", "double"), ("1", "int64"), ("", kind), ("true", "bool")}
    if (first, kind) in kinds:
        assert str(column.type) == kind
    elif (first, kind) == ("0.5", "int64"):
        assert str(column.type) == "double"
    else:
        assert str(column.type) == "string" and column.note.split()[0] in (repr(last), repr(first))
    assert len(cells) >= 60_001 and column.gaps == (first == "")


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize(
    ("cells", "kind"), [(["1", "2"], "int64"), (["0.5", "2"], "double"), (["True", "false"], "bool")]
)
def test_one_cell_without_a_value_does_not_change_the_kind(tmp_path, gap, cells, kind):
    column, found = column_of(tmp_path / "t.csv", *cells, gap)
    assert str(column.type) == kind and column.gaps and found[2] is None
    assert found[:2] == [{"True": True, "false": False}.get(cell) if kind == "bool" else float(cell) for cell in cells]


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1,000", "-12,345,678", "5"], "int64", [1000, -12345678, 5]),
        (["1,000.5", "2"], "double", [1000.5, 2]),
        (["1,00", "2"], "string", ["1,00", "2"]),
        (["0,125", "2"], "string", ["0,125", "2"]),
        (["+5", " 7 "], "int64", [5, 7]),
        (["1e3", "inf"], "double", [1000, np.inf]),
        (["9" * 20, "1"], "string", ["9" * 20, "1"]),
        (["9" * 20, "0.5"], "double", [1e20, 0.5]),
        ([str(2**63), "1"], "uint64", [2**63, 1]),
        ([str(2**63), "-1"], "string", [str(2**63), "-1"]),
        (["true", "1"], "string", ["true", "1"]),
    ],
)
def test_how_numbers_may_be_written(tmp_path, cells, kind, values):
    column, found = column_of(tmp_path / "t.csv", *cells)
    assert (str(column.type), found) == (kind, values)


@pytest.mark.parametrize(
    "kind", [pa.decimal128(30, 3), pa.decimal128(30, 0), pa.decimal256(50, 0), pa.float32(), pa.int8()]
)
def test_every_type_of_numbers_of_parquet_is_read(tmp_path, kind):
    pq.write_table(pa.table({"x": pa.array([1, None, 3]).cast(kind)}), tmp_path / "t.parquet")
    column, found = read(tmp_path / "t.parquet")["x"]
    whole = pa.types.is_integer(kind) or getattr(kind, "scale", 1) == 0
    assert column.type == (pa.int64() if whole else pa.float32() if kind == pa.float32() else pa.float64())
    assert [v if v is not None and v == v else None for v in found] == [1, None, 3]


def test_what_cannot_be_read_says_what_it_is(tmp_path):
    table = pa.table({
        "list": [[1.0]], "time": pa.array([0], pa.timestamp("s")), "nothing": pa.nulls(1), "word": ["bar"],
        "category": pa.array(["1"]).dictionary_encode(),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "t.parquet")
    notes = {name: (column.type, column.note) for name, (column, _) in read(tmp_path / "t.parquet").items()}
    assert notes["list"] == (None, "values of type list<element: double>")
    assert notes["time"][0] is None and "timestamp" in notes["time"][1]
    assert notes["nothing"] == (None, "empty") and notes["word"] == (pa.string(), "'bar' in row 1")
    assert notes["category"] == (pa.int64(), "")


def test_columns_are_known_by_their_place(tmp_path):
    """A name may stand twice, be empty, or be the beginning of another with a point in it."""
    (tmp_path / "t.csv").write_text(",a,a,a.b,a/b\n0,1,2,3,4\n")
    arrays = [pa.array([number]) for number in range(5)]
    pq.write_table(pa.Table.from_arrays(arrays, names=["", "a", "a", "a.b", "a/b"]), tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        table = open_table(tmp_path / name)
        assert table.names == ("", "a", "a", "a.b", "a/b")
        for places in ([2], [1, 3], [3, 2, 1, 0], range(5)):
            assert [values.to_pylist() for _, values in table.read(places)] == [[place] for place in places]


@pytest.mark.parametrize("above", ["#Table1\n", "#Table1\r\n", "# a\n# b\n\n", "\ufeff", "\ufeff#Table1\n"])
def test_lines_above_the_header(tmp_path, above):
    end = "\r\n" if "\r" in above else "\n"
    (tmp_path / "t.csv").write_text(f"{above}ra,dec{end}1,2{end}3,4{end}", newline="", encoding="utf-8")
    found = read(tmp_path / "t.csv")
    assert {name: cells for name, (_, cells) in found.items()} == {"ra": [1, 3], "dec": [2, 4]}


def test_a_header_may_be_a_comment(tmp_path):
    (tmp_path / "t.csv").write_text("# made for you\n#ra,dec\n1,2\n")
    assert list(read(tmp_path / "t.csv")) == ["ra", "dec"]


def test_a_table_without_rows(tmp_path):
    (tmp_path / "t.csv").write_text("ra,dec\n")
    assert [column.note for column, _ in read(tmp_path / "t.csv").values()] == ["empty", "empty"]


def test_gzip_of_several_members(tmp_path):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"ra,dec\n1,2\n") + gzip.compress(b"3,4\n"))
    assert read(tmp_path / "t.csv.gz")["ra"][1] == [1, 3]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "no line that names its columns"),
        ("t.csv", b"#Table1\n", "no line that names its columns"),
        ("t.csv", b"<!DOCTYPE html><html>", "found an HTML page"),
        ("t.csv", b"a,b\n1,2\n1\n", "t.csv: cannot be read as a table .*Expected 2 columns, got 1"),
        ("t.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 999, mtime=0)[:-9], "t.csv.gz: cannot be read"),
        ("t.parquet", b"a,b\n", "expected a table of Parquet"),
        ("t.parquet", b"PAR1broken", "t.parquet: cannot be read"),
        ("t.fits", b"SIMPLE  = broken", "t.fits: cannot be read"),
        ("t.fits", b"a,b\n", "expected a table of FITS"),
        ("t.vot", b"<?xml version='1.0'?><VOTABLE>", "t.vot: cannot be read"),
        ("t.ecsv", b"# %ECSV 1.0\n# ---\nbroken", "t.ecsv: cannot be read"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BuildError, match=message):
        read(tmp_path / name)


def test_right_ascensions_are_wrapped():
    found = degrees(pa.array([-180.0, -0.5, 0.0, 359.5, 360.0, None, -181.0, 400.0]), "ra")
    np.testing.assert_array_equal(found, [180, 359.5, 0, 359.5, 360, np.nan, -181, 400])
    np.testing.assert_array_equal(degrees(pa.array([-5.0, 5.0]), "dec"), [-5, 5])


@pytest.mark.parametrize("text", ["10:30:00", "10 30 00", "10h30m00s"])
def test_sexagesimal_positions(text):
    np.testing.assert_allclose(degrees(pa.array([text, None]), "ra"), [157.5, np.nan])
    np.testing.assert_allclose(degrees(pa.array([None, "-01:30:36"]), "dec"), [np.nan, -1.51])


@pytest.mark.parametrize("bad", ["10.5", "here", "25:61:00:00"])
def test_an_angle_that_is_none_is_named(bad):
    with pytest.raises(ValueError, match=r"angles.*" + bad.split(":")[0]):
        degrees(pa.array(["10:30:00", bad]), "ra")
