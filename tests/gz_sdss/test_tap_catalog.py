"""The catalogue over TAP: page after page, never content with a cut result, and saved."""

import io
import json
import re
import shutil

import pandas as pd
import pytest
from astropy.io import votable
from pyvo.dal import TAPResults

from demo_archive import DemoArchive
from demo_archive.serve.faults import Fault
from gz_sdss import tap_catalog as catalog
from gz_sdss.cuts import Cuts
from gz_sdss.tables import IDENTIFIERS, NEEDED
from gz_sdss.tap_catalog import PAGES, PAGES_NOTE, CatalogRequest, _saved_pages, get_catalog, is_cut
from skyshards.errors import BuildError

LITERAL = "SELECT {} FROM BestDR9.ZooSpec AS z JOIN BestDR7.PhotoObj AS p ON p.objid = z.dr7objid"


@pytest.fixture(scope="module")
def archive():
    """A TAP service that cuts every result after 30 rows, whatever is asked for."""
    with DemoArchive(galaxies=100, maxrec=30) as archive:
        yield archive
        assert archive.errors == []


@pytest.fixture(scope="module")
def whole(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, get_catalog(CatalogRequest(), folder, archive.tap_url)


def queries(archive):
    return [request.get("QUERY") for request in archive.requests if request.get("QUERY")]


def test_all_rows_come_though_the_server_cuts_each_result(archive, whole):
    _, table = whole
    assert sorted(table["dr7objid"]) == sorted(galaxy.dr7objid for galaxy in archive.galaxies)
    assert table["dr7objid"].is_unique and list(table) == list(NEEDED)


def test_values_are_those_of_the_archive(archive, whole):
    rows = whole[1].set_index("dr7objid")
    for galaxy in archive.galaxies:
        row = rows.loc[galaxy.dr7objid]
        assert (row["objid"], row["specobjid"]) == (galaxy.objid, galaxy.specobjid)
        assert (row["ra"], row["dec"]) == (galaxy.ra, galaxy.dec)  # PhotoObj's float64, not ZooSpec's float32


def test_identifiers_are_exact_integers(whole):
    folder, table = whole
    assert all(table[name].dtype == "Int64" for name in IDENTIFIERS)
    saved = pd.read_csv(folder / catalog.CATALOG, dtype=str)
    assert saved["dr7objid"].tolist() == [str(number) for number in table["dr7objid"]]


def test_the_saved_table_is_used_again(archive, whole):
    folder, table = whole
    before = len(archive.requests)
    pd.testing.assert_frame_equal(get_catalog(CatalogRequest(), folder, archive.tap_url), table)
    # It is all there is, so it also serves a request for a part.
    assert len(get_catalog(CatalogRequest(top=5), folder, archive.tap_url)) == len(table)
    assert len(archive.requests) == before


def test_refresh_fetches_anew(archive, whole):
    folder, table = whole
    before = len(archive.requests)
    pd.testing.assert_frame_equal(get_catalog(CatalogRequest(), folder, archive.tap_url, refresh=True), table)
    assert len(archive.requests) > before


def test_a_part_is_never_taken_for_the_whole(archive, tmp_path):
    assert len(get_catalog(CatalogRequest(top=7), tmp_path, archive.tap_url)) == 7
    assert json.loads((tmp_path / catalog.REQUEST).read_text())["top"] == 7
    assert len(get_catalog(CatalogRequest(), tmp_path, archive.tap_url)) == 100


def test_a_table_put_there_by_hand_is_used(whole, tmp_path):
    folder, table = whole
    shutil.copy(folder / catalog.CATALOG, tmp_path)
    pd.testing.assert_frame_equal(get_catalog(CatalogRequest(), tmp_path, "http://127.0.0.1:9/nowhere"), table)


def test_a_table_of_another_service_is_not_used(archive, whole, tmp_path):
    with DemoArchive(galaxies=20) as other:
        assert len(get_catalog(CatalogRequest(), tmp_path, other.tap_url)) == 20
        before = len(other.requests)
        get_catalog(CatalogRequest(), tmp_path, other.tap_url + "/")
        assert len(other.requests) == before
    pd.testing.assert_frame_equal(get_catalog(CatalogRequest(), tmp_path, archive.tap_url), whole[1])


def test_simulated_galaxies_are_used_again_by_simulations_alone(archive, whole, tmp_path):
    demo = CatalogRequest(source="demo")
    with DemoArchive(galaxies=20) as simulated:
        table = get_catalog(demo, tmp_path, simulated.tap_url)
    nowhere = "http://127.0.0.1:9/tap"  # the demo archive has another port every time
    pd.testing.assert_frame_equal(get_catalog(demo, tmp_path, nowhere), table)
    assert len(get_catalog(CatalogRequest(top=5, source="demo"), tmp_path, nowhere)) == len(table)
    pd.testing.assert_frame_equal(get_catalog(CatalogRequest(), tmp_path, archive.tap_url), whole[1])


def test_a_note_that_tells_of_no_source_is_of_another(archive, whole, tmp_path):
    shutil.copy(whole[0] / catalog.CATALOG, tmp_path)
    (tmp_path / catalog.REQUEST).write_text('{"adql": null, "where": null, "top": null}')
    before = len(archive.requests)
    get_catalog(CatalogRequest(), tmp_path, archive.tap_url)
    assert len(archive.requests) > before


def test_a_few_rows_ask_little_of_the_server(tmp_path):
    with DemoArchive(galaxies=100) as archive:
        cuts = Cuts()
        table = get_catalog(CatalogRequest(where=cuts.adql("z", "p"), top=20), tmp_path, archive.tap_url)
        assert len(table) == 20
        assert len(set(queries(archive))) == 1 and "TOP 20" in queries(archive)[0]
        # The database ranks NaN above all numbers: what passes there need not pass here.
        assert 0 < cuts.mask(table).sum() < len(table)


@pytest.mark.slow
@pytest.mark.parametrize("page_rows", [7, 30, 99, 100, 101])
def test_pages_of_any_size_give_the_same(tmp_path, page_rows, whole):
    with DemoArchive(galaxies=100) as archive:
        table = get_catalog(CatalogRequest(), tmp_path, archive.tap_url, page_rows=page_rows)
        pd.testing.assert_frame_equal(table, whole[1])
        assert len(set(queries(archive))) <= 100 / (page_rows - 1) + 2


@pytest.fixture
def die(monkeypatch):
    """Ask for pages, and die at the third."""

    def start(request, folder, tap_url):
        run_query, count = catalog.run_query, iter(range(100))

        def dies_at_the_third(*args):
            if next(count) == 2:
                raise KeyboardInterrupt
            return run_query(*args)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(catalog, "run_query", dies_at_the_third)
            get_catalog(request, folder, tap_url, page_rows=40)
        assert not (folder / catalog.CATALOG).exists()

    return start


@pytest.mark.slow
def test_pages_of_another_service_are_not_used(archive, whole, tmp_path, die):
    for source in (None, "demo"):
        with DemoArchive(galaxies=200) as other:
            die(CatalogRequest(source=source), tmp_path / str(source), other.tap_url)
        table = get_catalog(CatalogRequest(), tmp_path / str(source), archive.tap_url)
        pd.testing.assert_frame_equal(table, whole[1])


def test_pages_of_the_demo_archive_are_used_though_its_port_is_another(whole, tmp_path, die):
    request = CatalogRequest(source="demo")
    with DemoArchive(galaxies=100) as archive:
        die(request, tmp_path, archive.tap_url)
        before = set(queries(archive))
    with DemoArchive(galaxies=100) as archive:
        pd.testing.assert_frame_equal(get_catalog(request, tmp_path, archive.tap_url, page_rows=40), whole[1])
        assert not before & set(queries(archive))


def test_goes_on_from_the_pages_that_are_there(tmp_path, whole, die):
    with DemoArchive(galaxies=100) as archive:
        die(CatalogRequest(), tmp_path, archive.tap_url)
        before = set(queries(archive))
        table = get_catalog(CatalogRequest(), tmp_path, archive.tap_url, page_rows=40)
        assert not before & set(queries(archive)[len(before) :])
    pd.testing.assert_frame_equal(table, whole[1])
    assert sorted(path.name for path in tmp_path.iterdir()) == [catalog.CATALOG, catalog.REQUEST]


def test_own_query(archive, tmp_path):
    request = CatalogRequest(adql=catalog.QUERY + " WHERE p.petroR90_r > 8", top=10)
    table = get_catalog(request, tmp_path, archive.tap_url)
    assert 0 < len(table) <= 10 and (table["petroR90_r"] > 8).all()


@pytest.mark.parametrize("columns", ["z.*, p.*", "p.*, z.*"])
def test_of_positions_that_both_tables_have_those_of_float64_are_kept(whole, tmp_path, columns):
    with DemoArchive(galaxies=100) as archive:
        table = get_catalog(CatalogRequest(adql=LITERAL.format(columns)), tmp_path, archive.tap_url)
    table = table.sort_values("dr7objid", ignore_index=True)
    pd.testing.assert_frame_equal(table, whole[1], check_exact=True)


def test_a_cut_result_of_an_own_query_is_an_error(archive, tmp_path):
    with pytest.raises(BuildError, match="cut the result of `adql` after 30 rows"):
        get_catalog(CatalogRequest(adql=catalog.QUERY), tmp_path, archive.tap_url)
    assert not (tmp_path / catalog.CATALOG).exists()


def test_the_server_s_own_message_is_shown(archive, tmp_path):
    with pytest.raises(BuildError, match="no such column: nonsense"):
        get_catalog(CatalogRequest(adql="SELECT nonsense FROM BestDR9.ZooSpec"), tmp_path, archive.tap_url)


def test_a_service_out_of_reach_is_named(tmp_path):
    with pytest.raises(BuildError, match=r"http://127.0.0.1:9/tap: .*refused"):
        get_catalog(CatalogRequest(), tmp_path, "http://127.0.0.1:9/tap")


@pytest.mark.parametrize("fault", [Fault("async", "503", 2), Fault("results/result", "503", 1)])
def test_passing_faults_are_got_over(tmp_path, fault):
    with DemoArchive(galaxies=20, faults=[fault]) as archive:
        assert len(get_catalog(CatalogRequest(), tmp_path, archive.tap_url)) == 20


def test_a_broken_result_is_an_error_and_leaves_nothing(tmp_path):
    with DemoArchive(galaxies=20, faults=[Fault("results/result", "truncate", None)]) as archive:
        with pytest.raises(BuildError, match=re.escape(archive.tap_url)):
            get_catalog(CatalogRequest(), tmp_path, archive.tap_url)
        assert not (tmp_path / catalog.CATALOG).exists()


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("dachs/tap_sync_ok.vot", False),
        ("dachs/tap_sync_overflow.vot", True),
        ("pyvo/dal/tests/data/query/overflowstatus.xml", True),
        ("pyvo/dal/tests/data/query/basic.xml", False),
    ],
)
def test_overflow_of_recorded_results(shared_data, name, cut):
    assert is_cut(TAPResults(votable.parse(str(shared_data / "vo" / name), verify="ignore"))) is cut


PARTS = ("VOTABLE", "RESOURCE", "TABLE", "TABLE_end", "RESOURCE_end", "VOTABLE_end")


def answer(statuses):
    """A VOTable with a status in each of its parts that has one."""
    infos = {part: f'<INFO name="{name}" value="{value}"/>' for part, (name, value) in statuses.items()}
    parts = {part: infos.get(part, "") for part in PARTS}
    return (
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">{VOTABLE}<RESOURCE type="results">'
        '{RESOURCE}<TABLE>{TABLE}<FIELD name="x" datatype="int"/><DATA><TABLEDATA><TR><TD>1</TD></TR></TABLEDATA>'
        "</DATA>{TABLE_end}</TABLE>{RESOURCE_end}</RESOURCE>{VOTABLE_end}</VOTABLE>"
    ).format(**parts)


def is_cut_by(statuses):
    return is_cut(TAPResults(votable.parse(io.BytesIO(answer(statuses).encode()), verify="ignore")))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("status", [("QUERY_STATUS", "OVERFLOW"), ("query_status", "overflow")])
@pytest.mark.filterwarnings("ignore::pyvo.dal.exceptions.DALOverflowWarning")
def test_overflow_counts_wherever_it_stands(part, status):
    assert is_cut_by({part: status})
    assert is_cut_by(dict.fromkeys(PARTS, ("QUERY_STATUS", "OK")) | {part: status})


def test_other_infos_are_no_overflow():
    assert not is_cut_by(dict.fromkeys(PARTS, ("QUERY_STATUS", "OK")) | {"TABLE": ("note", "OVERFLOW")})


JOB = "pyvo/io/uws/tests/data/"


@pytest.mark.parametrize(
    ("job", "result", "message"),
    [
        ("job-error.xml", "tap_sync_ok.vot", "We have problem"),  # `wait` of a job that failed does not raise
        ("job.xml", "tap_sync_error.vot", "No such field known: column 'nope'"),  # with the HTTP status 200
        ("job.xml", "tap_sync_ok.vot", "lacks the columns dr7objid"),
        ("job.xml", "tap_availability.xml", "unreadable response"),
    ],
)
def test_recorded_jobs(replay, tmp_path, job, result, message):
    paths = {"/tap/capabilities": "dachs/tap_capabilities.xml", "/tap/async": JOB + job, "/tap/async/phase": JOB + job}
    server = replay(paths | {"/tap/async/1337/results/result": f"dachs/{result}"}, **{"http://example.com": ""})
    with pytest.raises(BuildError, match=message):
        get_catalog(CatalogRequest(), tmp_path, f"{server.url}/tap")


def test_a_page_that_is_half_written_is_none(tmp_path):
    request, folder = CatalogRequest(source="a service"), tmp_path / PAGES
    assert _saved_pages(request, folder) == []
    for name in ("000000-5.parquet", ".writing-0123456789abcdef.parquet", ".writing-0-5.parquet"):
        (folder / name).touch()
    assert _saved_pages(request, folder) == ["000000-5.parquet"]
    assert sorted(path.name for path in folder.iterdir()) == ["000000-5.parquet", "request.json"]


def test_pages_that_a_kill_left_beside_the_table_are_deleted(demo, tmp_path):
    table = get_catalog(CatalogRequest(top=3), tmp_path, demo.tap_url)
    (tmp_path / PAGES).mkdir()
    (tmp_path / PAGES / "000000-end.parquet").touch()
    assert get_catalog(CatalogRequest(top=3), tmp_path, demo.tap_url).equals(table)
    assert not (tmp_path / PAGES).exists()


def test_pages_lie_behind_no_link(demo, tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "gz_sdss"
    outside.mkdir()
    folder.mkdir()
    (outside / PAGES_NOTE).write_text("precious")
    (folder / PAGES).symlink_to(outside)
    with pytest.raises(
        BuildError, match=f"{PAGES}: a link or device that leads out of the dataset's folder; remove it"
    ):
        get_catalog(CatalogRequest(top=3), folder, demo.tap_url)
    assert [path.read_text() for path in outside.iterdir()] == ["precious"]
