"""Jobs on a TAP service: phases that lag, polls that are cut, results that are compressed, services that moved."""

import gzip

import pytest

from demo_archive import DemoArchive
from demo_archive.serve.server import Response
from gz_sdss import tap_jobs
from gz_sdss.sia import find_services
from gz_sdss.tap_jobs import run_query, tap_service
from gz_sdss.vo import vo_session
from skyshards.errors import BuildError

JOB = (
    '<uws:job xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" xmlns:xlink="http://www.w3.org/1999/xlink" version="1.1">'
    "<uws:jobId>1</uws:jobId><uws:phase>{phase}</uws:phase>"
    '<uws:results><uws:result id="result" xlink:href="{url}/tap/async/1/results/result"/></uws:results>{summary}'
    "</uws:job>"
)
SUMMARY = '<uws:errorSummary type="fatal" hasDetail="false"><uws:message>{}</uws:message></uws:errorSummary>'
TABLE = (
    b'<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
    b'<INFO name="QUERY_STATUS" value="OK"/><TABLE><FIELD name="x" datatype="int"/><DATA><TABLEDATA>'
    b"<TR><TD>7</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
)


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    monkeypatch.setattr(tap_jobs, "pause", lambda seconds: None)


@pytest.fixture
def tap(serve):
    """A service whose only job goes through these phases, one at each look; a number is an HTTP status instead."""

    def start(*phases, message="", result=TABLE, error="", prefix="/tap"):
        looks = iter(phases)

        def answer(request):
            what = request.path.removeprefix(prefix)
            job = f"{server.url}{prefix}/async/1"
            if request.method == "DELETE" or (what == "/async" and request.method == "POST"):
                return Response(status=303, headers={"Location": job})
            if what == "/async/1/phase":
                server.shown = 1  # the answer to this leads to the job
                return Response(status=303, headers={"Location": job})
            if what == "/async/1/results/result":
                return Response(result, "application/x-votable+xml")
            if what == "/async/1/error" and error:
                return Response(error.encode(), "text/plain")
            if what == "/async/1":
                if server.shown is None or server.shown:  # not started, or just now
                    server.shown = server.shown and 0
                    return Response(JOB.format(phase="PENDING", url=server.url, summary="").encode(), "text/xml")
                phase = next(looks, phases[-1])
                if isinstance(phase, int):
                    return Response(b"gateway time-out", "text/html", phase)
                summary = SUMMARY.format(message) if message else ""
                return Response(JOB.format(phase=phase, url=server.url, summary=summary).encode(), "text/xml")
            return Response(b"", status=404)

        server = serve(answer)
        server.shown = None
        return server

    return start


def rows(server, path="/tap"):
    service = tap_service(f"{server.url}{path}", vo_session(retries=0))
    return run_query(service, "SELECT x FROM t", 10).to_table()["x"].tolist()


@pytest.mark.parametrize("phase", ["PENDING", "QUEUED", "EXECUTING", "SUSPENDED", "UNKNOWN"])
def test_phases_that_end_by_themselves_are_waited_for(tap, phase, capsys):
    assert rows(tap(*[phase] * 5, "EXECUTING", "COMPLETED")) == [7]
    assert capsys.readouterr().err.count(f"the job is {phase}; waiting") == (phase in ("SUSPENDED", "UNKNOWN"))


def test_polls_that_a_gateway_cuts_go_on(tap):
    assert rows(tap("EXECUTING", *[504] * 10, "EXECUTING", *[502] * 10, "COMPLETED")) == [7]


def test_a_job_that_is_out_of_reach_for_long_is_given_up(tap):
    with pytest.raises(BuildError, match="the job can no longer be polled: .*504"):
        rows(tap(*[504] * tap_jobs.LOST_LOOKS))


def test_a_job_that_never_starts_is_given_up(tap):
    with pytest.raises(BuildError, match="still PENDING"):
        rows(tap(*["PENDING"] * tap_jobs.STARTING_LOOKS))


@pytest.mark.parametrize(
    ("phase", "advice"),
    [
        ("HELD", "ask its operators"),
        ("ABORTED", "ask for less"),
        ("ARCHIVED", "run the same command again"),
        ("ERROR", "correct the query"),
        ("FROZEN", "expected a phase of UWS"),
    ],
)
def test_phases_without_a_result_are_named_with_the_server_s_words(tap, phase, advice):
    with pytest.raises(BuildError, match=f"the job is {phase}: maintenance on Tuesday; .*{advice}"):
        rows(tap("EXECUTING", phase, message="maintenance on Tuesday"))
    with pytest.raises(BuildError, match=f"the job is {phase}: out of quota; .*{advice}"):
        rows(tap("EXECUTING", phase, error="out of quota"))
    with pytest.raises(BuildError, match=f"the job is {phase}; .*{advice}"):
        rows(tap("EXECUTING", phase))


@pytest.mark.parametrize(
    "result", [gzip.compress(TABLE), gzip.compress(TABLE[:50]) + gzip.compress(TABLE[50:])], ids=["one", "two members"]
)
def test_a_compressed_result_that_does_not_say_so_is_read(tap, result):
    assert rows(tap("COMPLETED", result=result)) == [7]


def test_a_compressed_result_that_is_cut_short_is_an_error(tap):
    with pytest.raises(BuildError, match="ended before"):
        rows(tap("COMPLETED", result=gzip.compress(TABLE * 50)[:-20]))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_service_that_moved_is_followed(serve, status):
    """A POST to the old address would arrive as a GET, and show the list of jobs."""
    with DemoArchive(galaxies=3) as archive:

        def answer(request):
            return Response(status=status, headers={"Location": archive.url + request.target})

        old = serve(answer)
        path = archive.tap_url.removeprefix(archive.url)
        result = run_query(tap_service(old.url + path), "SELECT specobjid FROM BestDR9.ZooSpec", 10)
        assert len(result.to_table()) == 3
        assert [request.path for request in old.requests] == [f"{path}/capabilities"]
        registry = archive.registry_url.removeprefix(archive.url)
        assert find_services("SDSS", "", old.url + registry) == find_services("SDSS", "", archive.registry_url)


def test_a_login_page_in_place_of_the_capabilities_moves_nothing(tap, serve):
    there = tap("COMPLETED")

    def answer(request):
        if request.path.endswith("capabilities"):
            return Response(status=302, headers={"Location": f"{server.url}/login"})
        return Response(b"<html>Please log in</html>", "text/html")

    server = serve(answer)
    with pytest.raises(BuildError, match=f"{server.url}/tap: expected a TAP service, found an HTML page"):
        tap_service(f"{server.url}/tap")
    assert tap_service(f"{there.url}/tap").baseurl == f"{there.url}/tap"
