"""`skyshards crossmatch`: any two catalogues, into a file that other programs read."""

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import Table
from click.testing import CliRunner

import skyshards
from skyshards.cli.main import main
from skyshards.matching import hats_catalogue, open_catalogue
from skyshards.matching.hats_catalogue import _read_partition
from tests.sky_folder import build_sky
from tests.test_crossmatch import moved, small_parts, sphere


@pytest.fixture(scope="module")
def sky():
    """Positions of two catalogues, and the pairs that astropy finds."""
    a = sphere(60, 7)
    b = moved(*a, np.random.default_rng(8).uniform(0, 2, 60), 9)
    nearest, apart, _ = SkyCoord(*a, unit="deg").match_to_catalog_sky(SkyCoord(*b, unit="deg"))
    near = apart.arcsec <= 1
    return a, b, {(f"a-{row}", f"b-{nearest[row]}") for row in np.flatnonzero(near)}


@pytest.fixture(scope="module")
def folder(sky, tmp_path_factory):
    return build_sky(tmp_path_factory.mktemp("crossmatch") / "a", *sky[0])


def names(letter, count=60):
    return np.array([f"{letter}-{number}" for number in range(count)])


def run(*arguments):
    outcome = CliRunner().invoke(main, ["crossmatch", *map(str, arguments)])
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit), outcome.exception
    return outcome


def found(path):
    table = pq.read_table(path)
    return set(zip(table["id_a"].to_pylist(), table["id_b"].to_pylist(), strict=True))


def write_fits(path, ra, dec):
    Table({"iauname": names("b"), "ra": ra, "dec": dec}).write(path)


def write_votable(path, ra, dec):
    Table({"iauname": names("b"), "RA": ra * units.deg, "Dec": dec * units.deg}).write(path, format="votable")


def write_csv(path, ra, dec):
    pd.DataFrame({"iauname": names("b", len(ra)), "ra": ra, "dec": dec}).to_csv(path, index=False)


def write_sexagesimal(path, ra, dec):
    where = SkyCoord(ra, dec, unit="deg")
    texts = {"ra": where.ra.to_string("hour", sep=":", precision=6), "dec": where.dec.to_string(sep=":", precision=6)}
    pd.DataFrame({"iauname": names("b")} | texts).to_csv(path, index=False)


def write_parquet(path, ra, dec):
    pq.write_table(pa.table({"iauname": names("b"), "ra": ra, "dec": dec}), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("b.fits", write_fits),
        ("b.vot", write_votable),
        ("b.csv", write_csv),
        ("sexagesimal.csv", write_sexagesimal),
        ("b.parquet", write_parquet),
    ],
)
def test_takes_a_file_of_any_kind(folder, sky, tmp_path, name, write):
    write(tmp_path / name, *sky[1])
    outcome = run(folder, tmp_path / name, "-o", tmp_path / "pairs.parquet")
    assert outcome.exit_code == 0, outcome.output
    assert f'{len(sky[2])} pairs within 1" of 60 rows of {folder}' in outcome.stdout
    assert found(tmp_path / "pairs.parquet") == sky[2]


READERS = {
    "pairs.parquet": lambda path: Table.read(path),
    "pairs.fits": lambda path: Table.read(path),
    "pairs.vot": lambda path: Table.read(path),
    "pairs.csv": lambda path: Table.read(path, format="ascii.csv"),
}


@pytest.mark.parametrize("name", READERS)
def test_writes_what_other_programs_read(folder, sky, tmp_path, name):
    write_fits(tmp_path / "b.fits", *sky[1])
    assert run(folder, tmp_path / "b.fits", "--out", tmp_path / name).exit_code == 0
    table = READERS[name](tmp_path / name)
    assert table.colnames == ["id_a", "id_b", "row_a", "row_b", "separation"]
    assert {(str(a), str(b)) for a, b in table["id_a", "id_b"].iterrows()} == sky[2]
    catalog = skyshards.open(folder).catalog
    assert [str(one) for one in table["id_a"]] == catalog["object_id"].take(table["row_a"].tolist()).to_pylist()
    assert [str(one) for one in table["id_b"]] == names("b")[np.asarray(table["row_b"])].tolist()
    if name != "pairs.csv":
        assert table["separation"].unit == units.arcsec and "angle" in table["separation"].description


def test_names_of_columns_and_of_rows(folder, sky, tmp_path):
    ra, dec = sky[1]
    pd.DataFrame({"source_id": names("b"), "RAJ2000": ra, "DEJ2000": dec}).to_csv(tmp_path / "b.csv", index=False)
    options = ["--position-b", "RAJ2000,DEJ2000", "--id_b", "source_id"]
    assert run(folder, tmp_path / "b.csv", "-o", tmp_path / "pairs.parquet", *options).exit_code == 0
    assert found(tmp_path / "pairs.parquet") == sky[2]
    options = ["--position_a", "RAJ2000,DEJ2000", "--id_a", "source_id"]
    assert run(tmp_path / "b.csv", folder, "-o", tmp_path / "back.parquet", *options).exit_code == 0
    assert found(tmp_path / "back.parquet") == {(b, a) for a, b in sky[2]}


def test_by_name_needs_no_positions(folder, tmp_path):
    pd.DataFrame({"galaxy": ["a-3", "nobody", "a-5", "a-3"]}).to_csv(tmp_path / "b.csv", index=False)
    assert run(folder, tmp_path / "b.csv", "-o", tmp_path / "p.parquet", "--on", "object_id,galaxy").exit_code == 0
    pairs = pq.read_table(tmp_path / "p.parquet")
    assert sorted(zip(pairs["id_a"].to_pylist(), pairs["row_b"].to_pylist(), strict=True)) == [
        ("a-3", 0), ("a-3", 3), ("a-5", 2)]  # fmt: skip


def test_all_pairs(folder, sky, tmp_path):
    a, _, _ = sky
    write_csv(tmp_path / "b.csv", *(np.tile(values[:30], 2) for values in a))
    for match, count in (("nearest", 30), ("all", 60)):
        assert run(folder, tmp_path / "b.csv", "-o", tmp_path / "p.parquet", "--match", match).exit_code == 0
        assert len(pq.read_table(tmp_path / "p.parquet")) == count


def test_says_what_is_wrong(folder, tmp_path):
    (tmp_path / "b.csv").write_text("name,x\nb,1\n")
    (tmp_path / "odd.csv").write_text("ra,dec\n1,north\n")
    (tmp_path / "empty").mkdir()
    for arguments, words in [
        ((folder, tmp_path / "b.csv"), r"no columns ra and dec among name, x; name them with --position_b"),
        ((folder, tmp_path / "b.csv", "--position-b", "y,x"), "no columns y and x among name, x; name them with --pos"),
        (
            (folder, tmp_path / "b.csv", "--position_b", "x"),
            "--position_b: expected two columns, such as RAJ2000,DEJ20",
        ),
        ((folder, tmp_path / "b.csv", "--on", "name"), f"{folder}: no column 'name'; available: object_id, ra"),
        ((folder, tmp_path / "odd.csv"), "odd.csv: column dec: expected numbers or sexagesimal angles"),
        ((folder, tmp_path / "nothing"), "nothing: there is no such file or folder"),
        ((folder, tmp_path / "empty"), "empty: not a built dataset"),
        ((folder, folder, "-o", tmp_path / "pairs.txt"), "-o: expected a name that ends in .parquet, .csv, .fits"),
        ((folder, folder, "--radius-arcsec", "-2", "-o", tmp_path / "p.csv"), "--radius-arcsec: expected 0 to 648000"),
        ((folder, folder, "--radius-arcsec", "wide"), "Invalid value for --radius-arcsec: "),
        ((folder, folder, "--on", "a,b,c", "-o", tmp_path / "p.csv"), "--on: expected a column, or one of A and one"),
    ]:
        outcome = run(*arguments)
        assert outcome.exit_code in (1, 2) and words in outcome.stderr and len(outcome.stderr.splitlines()) == 1, (
            outcome.stderr
        )
    assert not (tmp_path / "p.csv").exists()


@pytest.fixture(scope="module")
def hats(sky, tmp_path_factory):
    """A HATS collection, as LSDB writes it, with columns of other names."""
    lsdb = pytest.importorskip("lsdb", reason="the extra `lsdb` is not installed")
    ra, dec = sky[1]
    frame = pd.DataFrame({"RAJ2000": ra, "DEJ2000": dec, "source_id": names("b"), "mag": ra})
    columns = {"ra_column": "RAJ2000", "dec_column": "DEJ2000"}
    catalog = lsdb.from_dataframe(frame, lowest_order=1, highest_order=2, catalog_name="b", **columns)
    path = tmp_path_factory.mktemp("hats") / "collection"
    catalog.write_catalog(path, catalog_name="b")
    return path


@pytest.mark.parametrize("below", ["", "b"])  # the collection, and the catalogue in it
def test_takes_a_hats_catalogue(folder, sky, hats, tmp_path, below):
    outcome = run(folder, hats / below, "--id_b", "source_id", "-o", tmp_path / "p.parquet")
    assert outcome.exit_code == 0, outcome.output
    assert found(tmp_path / "p.parquet") == sky[2]
    assert pq.read_schema(tmp_path / "p.parquet").names == ["id_a", "id_b", "row_a", "separation"]
    assert run(hats / below, folder, "--id-a", "source_id", "-o", tmp_path / "back.parquet").exit_code == 0
    assert found(tmp_path / "back.parquet") == {(b, a) for a, b in sky[2]}


def test_hats_partitions_far_from_all_others_are_not_read(sky, hats, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        hats_catalogue, "_read_partition", lambda where, pixel, names: read.append(pixel) or one_of(where, pixel, names)
    )
    one_of = _read_partition
    ra, dec = (values[:1] for values in sky[1])
    write_csv(tmp_path / "one.csv", ra, dec)
    assert run(tmp_path / "one.csv", hats, "--id_b", "source_id", "-o", tmp_path / "p.parquet").exit_code == 0
    assert found(tmp_path / "p.parquet") == {("b-0", "b-0")}
    assert len(read) == 1
    options = ["--id_b", "source_id", "--radius_arcsec", 3e5, "-o", tmp_path / "p.parquet"]
    assert f"and 60 of {hats}" in run(tmp_path / "one.csv", hats, *options).output


def test_hats_without_names_says_so(folder, hats):
    outcome = run(folder, hats)
    assert outcome.exit_code == 2 and "no identifier column found; choose one with --id_b" in outcome.stderr


def test_takes_hats_and_folders_at_a_url(folder, sky, hats, tmp_path):
    pytest.importorskip("aiohttp", reason="the extra `remote` is not installed")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    for place, letter, options in ((hats, "b", ["--id_b", "source_id"]), (folder, "a", [])):
        handler = functools.partial(Quiet, directory=place)
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            url = f"http://127.0.0.1:{server.server_port}"
            outcome = run(folder, url, *options, "-o", tmp_path / "p.parquet")
            server.shutdown()
            thread.join(10)
        assert outcome.exit_code == 0, outcome.output
        assert found(tmp_path / "p.parquet") == (sky[2] if letter == "b" else {(name, name) for name in names("a")})


def in_row_groups(path, ra, dec, letter, rows):
    table = pa.table({"iauname": names(letter, len(ra)), "ra": ra, "dec": dec})
    pq.write_table(table, path, row_group_size=rows)


@pytest.mark.parametrize("match", ["nearest", "all"])
@pytest.mark.parametrize("radius", [2.0, 100_000.0])
def test_parts_make_no_difference(tmp_path, monkeypatch, match, radius):
    """Row groups, runs and zones of any size give the same bytes; poles and right ascension 0 are in other parts."""
    ra, dec = (
        np.append(values, more) for values, more in zip(sphere(60, 3), ([0, 5, 359.9999], [90, -90, 1]), strict=True)
    )
    near = moved(ra, dec, 1.0, 4)
    options = ["--match", match, "--radius_arcsec", radius]
    for name, rows in (("whole", 100), ("parts", 7)):
        if name == "parts":
            small_parts(monkeypatch)
            monkeypatch.setattr(open_catalogue, "PART_ROWS", 7)
        in_row_groups(tmp_path / "a.parquet", ra, dec, "a", rows)
        in_row_groups(tmp_path / "b.parquet", *near, "b", rows)
        outcome = run(tmp_path / "a.parquet", tmp_path / "b.parquet", *options, "-o", tmp_path / f"{name}.parquet")
        assert outcome.exit_code == 0, outcome.output
    assert (tmp_path / "parts.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    pairs = pq.read_table(tmp_path / "parts.parquet")
    a, b = SkyCoord(ra, dec, unit="deg"), SkyCoord(*near, unit="deg")
    if match == "nearest":
        nearest, apart, _ = a.match_to_catalog_sky(b)
        wanted = [(row, nearest[row]) for row in np.flatnonzero(apart.arcsec <= radius)]
    else:
        wanted = sorted(zip(*b.search_around_sky(a, radius * units.arcsec)[:2], strict=True))
    assert list(zip(pairs["row_a"].to_pylist(), pairs["row_b"].to_pylist(), strict=True)) == wanted
    assert pairs["id_b"].to_pylist() == [f"b-{row}" for _, row in wanted]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.parquet",
        "b.parquet",
        "parts.parquet",
        "whole.parquet",
    ]


def test_no_pairs(tmp_path):
    write_csv(tmp_path / "a.csv", np.array([1.0]), np.array([1.0]))
    for name, dec in (("b.csv", 3.0), ("nowhere.csv", np.nan)):
        write_csv(tmp_path / name, np.array([1.0]), np.array([dec]))
        for out in ("p.parquet", "p.csv", "p.fits"):
            assert run(tmp_path / "a.csv", tmp_path / name, "-o", tmp_path / out).exit_code == 0
        assert pq.read_table(tmp_path / "p.parquet").column_names == ["id_a", "id_b", "row_a", "row_b", "separation"]
        assert len(pq.read_table(tmp_path / "p.parquet")) == 0
