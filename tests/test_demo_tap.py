"""The demo archive's TAP service: its answers beside those of a real server, and what a client makes of them."""

import json
import math
import time
import warnings
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import pyvo
import requests
from astropy.coordinates import SkyCoord

from demo_archive import DemoArchive, Fault

# pyvo reads answers as streams, and leaves their connections to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("pyvo_leftovers"),
]

JOIN = "FROM BestDR9.ZooSpec AS z JOIN BestDR7.PhotoObj AS p ON p.objid = z.dr7objid"


@pytest.fixture(scope="module")
def archive():
    with DemoArchive(galaxies=60) as archive:
        yield archive
        assert archive.errors == []


@pytest.fixture(scope="module")
def service(archive):
    return pyvo.dal.TAPService(archive.tap_url)


def ask(archive, query, **parameters):
    given = {"REQUEST": "doQuery", "LANG": "ADQL", "QUERY": query, **parameters}
    return requests.post(archive.tap_url + "/sync", data=given)


def outline(document):
    """What a VOTable consists of: its elements in order, the QUERY_STATUS ones with their values."""
    for element in ElementTree.fromstring(document).iter():
        tag = element.tag.rpartition("}")[2]
        if tag != "INFO":
            yield tag
        elif element.get("name") == "QUERY_STATUS":
            yield f"QUERY_STATUS={element.get('value')}"


@pytest.mark.parametrize("recorded", ["ok", "overflow", "error"])
def test_answers_have_the_outline_of_recorded_ones(archive, shared_data, recorded):
    theirs = list(outline((shared_data / "vo" / "dachs" / f"tap_sync_{recorded}.vot").read_bytes()))
    columns = "specobjid, objid, ra, dec, p_el, p_cs, nvote" if recorded != "error" else "nope"
    query = f"SELECT {columns} FROM BestDR9.ZooSpec"
    answer = ask(archive, query, **({"MAXREC": "1"} if recorded == "overflow" else {}))
    ours = list(outline(answer.content))
    # Descriptions of the whole document, and a NULL value for the last column, an integer here, come and go.
    free = ("DESCRIPTION", "VALUES")
    assert [tag for tag in ours if tag not in free] == [tag for tag in theirs if tag not in free]
    headers = (shared_data / "vo" / "dachs" / f"tap_sync_{recorded}.vot.headers").read_text().splitlines()
    assert str(answer.status_code) == headers[0] == "200"
    assert f"Content-Type: {answer.headers['Content-Type']}" in headers


@pytest.mark.parametrize("page", ["capabilities", "tables", "availability"])
def test_what_it_says_of_itself_has_the_root_of_recorded_pages(archive, shared_data, page):
    theirs = ElementTree.parse(shared_data / "vo" / "dachs" / f"tap_{page}.xml").getroot()
    ours = ElementTree.fromstring(requests.get(f"{archive.tap_url}/{page}").content)
    assert ours.tag == theirs.tag
    assert {child.tag for child in ours} <= {child.tag for child in theirs}


@pytest.mark.parametrize(("table", "schema"), [("BestDR9.ZooSpec", "BestDR9.zooSpec"), ("BestDR7.PhotoObj",) * 2])
def test_columns_are_the_real_ones(service, shared_data, table, schema):
    real = {column["name"]: column for column in json.loads((shared_data / "schema" / f"{schema}.json").read_text())}
    for column in service.tables[table].columns:
        expected = real[column.name]["datatype"]
        # The schema calls DR7's 64-bit identifiers "int".
        wanted = {"string": "char"}.get(expected, "long" if column.name in ("objID", "specObjID") else expected)
        assert column.datatype.content == wanted, column.name
    if table == "BestDR9.ZooSpec":
        assert len(service.tables[table].columns) == len(real)


def test_the_tables_are_described_alike_in_tap_schema_and_beside_it(service):
    described = service.run_sync("SELECT * FROM TAP_SCHEMA.columns ORDER BY table_name, column_index").to_table()
    listed = sorted(service.tables, key=lambda table: table.name)
    assert {"BestDR7.PhotoObj", "TAP_SCHEMA.columns"} < {table.name for table in listed}
    columns = [(table.name, column) for table in listed for column in table.columns]
    for row, (table, column) in zip(described, columns, strict=True):
        assert (row["table_name"], row["column_name"]) == (table, column.name)
        assert (row["datatype"], row["arraysize"]) == (
            column.datatype.content,
            "*" if row["datatype"] == "char" else "",
        )
        assert (row["unit"], row["ucd"]) == (str(column.unit or ""), column.ucd or "")
    named = service.run_sync("SELECT table_name FROM TAP_SCHEMA.tables").to_table()["table_name"]
    assert sorted(named) == [table.name for table in listed]


def test_foreign_keys_join_the_tables_of_tap_schema(service):
    tables = service.run_sync(
        "SELECT t.table_name FROM TAP_SCHEMA.schemas AS s JOIN TAP_SCHEMA.tables AS t ON s.schema_name = t.schema_name"
        " WHERE s.schema_name = 'BestDR7'"
    )
    assert list(tables["table_name"]) == ["BestDR7.PhotoObj"]
    keys = service.run_sync("SELECT * FROM TAP_SCHEMA.keys NATURAL JOIN TAP_SCHEMA.key_columns").to_table()
    declared = [key for key in service.tables["TAP_SCHEMA.columns"].foreignkeys]
    assert len(keys) == 5
    assert [key.targettable for key in declared] == ["TAP_SCHEMA.tables"]


def test_the_catalogue_is_the_galaxies_with_their_identifiers_exact(archive, service):
    rows = service.run_sync(
        f"SELECT z.dr7objid, z.objid, p.ra, p.dec, p.modelMag_r {JOIN} ORDER BY z.dr7objid"
    ).to_table()
    galaxies = sorted(archive.galaxies, key=lambda galaxy: galaxy.dr7objid)
    assert rows["dr7objid"].dtype == np.int64
    assert rows["dr7objid"].tolist() == [galaxy.dr7objid for galaxy in galaxies]
    assert rows["objid"].tolist() == [galaxy.objid for galaxy in galaxies]
    assert rows["ra"].tolist() == [galaxy.ra for galaxy in galaxies]
    assert rows["modelMag_r"].tolist() == [np.float32(galaxy.modelMag_r) for galaxy in galaxies]


def test_csv_says_the_same_as_votable(archive, service):
    query = f"SELECT z.dr7objid, p.ra, p.petroR90_r, p.modelMag_u, z.p_cs_debiased {JOIN} ORDER BY z.dr7objid"
    header, *lines = ask(archive, query, FORMAT="csv").text.splitlines()
    table = service.run_sync(query).to_table()
    assert header.split(",") == table.colnames
    for line, row in zip(lines, table, strict=True):
        for text, value in zip(line.split(","), row, strict=True):
            if text == "":
                assert value is np.ma.masked or math.isnan(value)
            else:
                assert type(value)(text) == value


def test_columns_of_two_tables_that_have_one_name_are_told_apart_by_an_underscore(service):
    table = service.run_sync(f"SELECT z.*, p.* {JOIN}").to_table()
    assert {"ra", "ra_", "dec", "dec_", "objid", "objID", "specobjid", "specObjID"} <= set(table.colnames)
    assert table["ra"].dtype == np.float32
    assert table["ra_"].dtype == np.float64
    assert not np.any(table["objid"] == table["objID"])
    assert np.array_equal(table["objID"], table["dr7objid"])


def test_an_alias_comes_back_in_lower_case(service):
    table = service.run_sync(
        "SELECT objID AS theObject, petroR90_r, modelMag_r AS modelMag_r FROM BestDR7.PhotoObj"
    ).to_table()
    assert table.colnames == ["theobject", "petroR90_r", "modelmag_r"]
    assert table["modelmag_r"].unit == "mag"


def test_an_alias_keeps_the_type_of_its_column_and_an_expression_has_its_own(service):
    query = "SELECT TOP 3 p.modelMag_r AS bright, p.objID AS name, p.modelMag_r - 1 AS shifted, 2 * ra AS twice"
    columns = service.run_sync(f"{query} FROM BestDR7.PhotoObj AS p").to_table().columns
    assert [column.dtype for column in columns.values()] == [np.float32, np.int64, np.float64, np.float64]
    assert [column.unit for column in columns.values()] == ["mag", None, None, None]


def test_text_of_one_character_is_text(archive):
    fields = ElementTree.fromstring(ask(archive, "SELECT 'x' AS letter").content).findall(".//{*}FIELD")
    assert [int(field.get("arraysize")) > 1 for field in fields] == [True]


def test_nan_ranks_above_every_number_and_comes_back_like_null(service):
    table = service.run_sync(
        "SELECT p_cs_debiased, p_el_debiased FROM BestDR9.ZooSpec WHERE p_cs_debiased >= 0.9"
    ).to_table()
    missing = np.ma.getmaskarray(table["p_cs_debiased"]) | np.isnan(np.ma.getdata(table["p_cs_debiased"]))
    assert 0 < missing.sum() < len(table)
    nulls = service.run_sync("SELECT modelMag_u, petroR90_r FROM BestDR7.PhotoObj WHERE modelMag_u IS NULL").to_table()
    assert len(nulls) > 0
    assert np.all(np.ma.getmaskarray(nulls["modelMag_u"]) | np.isnan(np.ma.getdata(nulls["modelMag_u"])))


def test_some_rows_are_such_as_no_sample_should_let_through(service):
    for condition in ("modelMag_z < -30", "modelMagErr_u > 0.5", "petroR90_r IS NULL"):
        assert len(service.run_sync(f"SELECT objID FROM BestDR7.PhotoObj WHERE {condition}")) > 0


def test_top_takes_the_first_rows(service):
    every = service.run_sync("SELECT dr7objid FROM BestDR9.ZooSpec ORDER BY dr7objid").to_table()["dr7objid"]
    top = service.run_sync("SELECT TOP 7 dr7objid FROM BestDR9.ZooSpec ORDER BY dr7objid").to_table()["dr7objid"]
    assert top.tolist() == every[:7].tolist()


def test_a_cone_holds_what_lies_within_it(archive, service):
    here = archive.galaxies[0]
    cone = f"CIRCLE('ICRS', {here.ra}, {here.dec}, 0.5)"
    query = f"SELECT objID FROM BestDR7.PhotoObj WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), {cone})"
    found = set(service.run_sync(query).to_table()["objID"].tolist())
    sky = SkyCoord([(galaxy.ra, galaxy.dec) for galaxy in archive.galaxies], unit="deg")
    near = np.flatnonzero(sky.separation(sky[0]).deg <= 0.5)
    assert found == {archive.galaxies[number].dr7objid for number in near}
    assert 1 < len(found) < 8


def test_the_server_cuts_whatever_is_asked_for_and_only_the_status_says_so():
    with DemoArchive(galaxies=30, maxrec=10) as archive:
        service = pyvo.dal.TAPService(archive.tap_url)
        assert service.hardlimit == 10
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for maxrec in (None, 1_000_000):
                result = service.run_sync("SELECT objID FROM BestDR7.PhotoObj", maxrec=maxrec)
                assert (len(result), result.query_status) == (10, "OVERFLOW")
        assert service.run_sync("SELECT TOP 10 objID FROM BestDR7.PhotoObj").query_status == "OK"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT nope FROM BestDR9.ZooSpec", "nope"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELEKT 1", "SELEKT"),
        ("DELETE FROM BestDR9.ZooSpec", "not authorized"),
        ("ATTACH 'file' AS x", "not authorized"),
        ("", "query missing"),
    ],
)
def test_errors_have_the_status_200_and_say_what_is_wrong(archive, query, words):
    answer = ask(archive, query)
    info = ElementTree.fromstring(answer.content).find(".//{*}INFO[@name='QUERY_STATUS']")
    assert answer.status_code == 200
    assert info.get("value") == "ERROR"
    assert words in info.text
    assert len(pyvo.dal.TAPService(archive.tap_url).run_sync("SELECT objID FROM BestDR7.PhotoObj")) == 60


def test_a_query_without_end_is_given_up(archive, monkeypatch):
    monkeypatch.setattr("demo_archive.protocols.adql.TIME_LIMIT", 0.2)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n"
    assert b"interrupted" in ask(archive, endless).content


def test_a_job_runs_and_has_the_rows_that_a_synchronous_query_has(service):
    query = f"SELECT z.dr7objid, p.modelMag_r {JOIN} ORDER BY z.dr7objid"
    job = service.submit_job(query)
    assert (job.phase, job.query) == ("PENDING", query)
    job.run()
    assert job.phase == "EXECUTING"
    job.wait()
    assert job.phase == "COMPLETED"
    assert job.fetch_result().to_table()["dr7objid"].tolist() == service.run_sync(query).to_table()["dr7objid"].tolist()
    url = job.url
    job.delete()
    assert requests.get(url).status_code == 404


def test_a_job_that_fails_says_why(service):
    job = service.submit_job("SELECT nope FROM BestDR9.ZooSpec").run()
    job.wait()
    assert job.phase == "ERROR"
    with pytest.raises(pyvo.dal.DALQueryError, match="nope"):
        job.raise_if_error()


def test_a_job_can_be_aborted_and_its_maxrec_holds(service):
    job = service.submit_job("SELECT objID FROM BestDR7.PhotoObj", maxrec=3).run()
    job.abort()
    assert job.phase == "ABORTED"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        job = service.submit_job("SELECT objID FROM BestDR7.PhotoObj", maxrec=3).run().wait()
        result = job.fetch_result()
    assert (len(result), result.query_status) == (3, "OVERFLOW")


def test_a_job_has_the_form_of_a_recorded_one(archive, shared_data):
    theirs = ElementTree.parse(
        shared_data / "vo" / "pyvo" / "io" / "uws" / "tests" / "data" / "job-error.xml"
    ).getroot()
    created = requests.post(archive.tap_url + "/async", data={"QUERY": "SELECT nope", "LANG": "ADQL", "PHASE": "RUN"})
    requests.get(created.url, params={"WAIT": "5"})
    ours = ElementTree.fromstring(requests.get(created.url).content)
    assert ours.tag == theirs.tag
    assert [child.tag for child in ours] == [child.tag for child in theirs]
    assert ours.find("{*}phase").text == "ERROR"
    assert ours.find("{*}startTime").text <= ours.find("{*}endTime").text
    assert "nope" in ours.find("{*}errorSummary/{*}message").text


def test_a_job_has_the_name_that_its_owner_gave_it(archive):
    created = requests.post(archive.tap_url + "/async", data={"QUERY": "SELECT 1", "LANG": "ADQL"})
    assert ElementTree.fromstring(created.content).find("{*}runId") is None
    requests.post(created.url + "/parameters", data={"RUNID": "a < b"})
    assert ElementTree.fromstring(requests.get(created.url).content).find("{*}runId").text == "a < b"


def test_the_error_of_a_job_is_a_votable_like_that_of_a_query(archive):
    query = {"QUERY": "SELECT nope", "LANG": "ADQL"}
    created = requests.post(archive.tap_url + "/async", data={**query, "PHASE": "RUN"})
    requests.get(created.url, params={"WAIT": "5"})
    error = requests.get(created.url + "/error")
    assert error.content == ask(archive, query["QUERY"]).content
    assert error.headers["Content-Type"] == "text/xml"


def test_stopping_does_not_wait_for_who_waits():
    with DemoArchive(galaxies=2) as archive:
        job = pyvo.dal.TAPService(archive.tap_url).submit_job("SELECT objID FROM BestDR7.PhotoObj")
        archive.add_fault(Fault("sync", "silence"))
        with pytest.raises(requests.Timeout):
            requests.get(archive.tap_url + "/sync", timeout=0.2)
        job.run()
        started = time.monotonic()
    assert time.monotonic() - started < 10
