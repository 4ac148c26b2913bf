"""Run queries as jobs on a TAP service (UWS 1.1): locate the service, wait for a job, and report its outcome."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

import requests
from pyvo.dal import AsyncTAPJob, TAPResults, TAPService
from pyvo.dal.exceptions import DALServiceError

from gz_sdss.vo import quietly, server_errors, vo_session
from skyshards.errors import BuildError
from skyshards.fetch.answers import explanation, page_title
from skyshards.fetch.waiting import pause
from skyshards.progress import say

FIRST_WAIT, LONGEST_WAIT = 0.5, 15.0
"""Seconds between polls of a job; short, because gateways cut requests that wait for the job to end."""
LOST_LOOKS = 60
"""Number of consecutive failed polls after which a job is abandoned."""
STARTING_LOOKS = 60
"""Number of polls after which a PENDING job counts as not started."""

UNDER_WAY = ("PENDING", "QUEUED", "EXECUTING", "RUN", "SUSPENDED", "UNKNOWN")
"""Phases that pass by themselves."""
STOPPED = {
    "ERROR": "correct the query, or try again later if the message is not about it",
    "ABORTED": "the service stopped it, perhaps as it took too long; ask for less, or try again later",
    "HELD": "the service will not run it by itself; try again later, or ask its operators",
    "ARCHIVED": "its result is no longer kept; run the same command again",
}
"""Phases without a result, and advice for each."""


def tap_service(url: str, session: requests.Session | None = None) -> TAPService:
    """Open a TAP service at the address from which its capabilities are served.

    A service that has moved redirects every request, but a query is a POST, which a 301 or 302 turns into a GET.

    Raises
    ------
    BuildError
        It cannot be reached, or there is a web page, such as a login page, in its place.
    """
    session = session or vo_session()
    with server_errors(url, BuildError):
        answer = session.get(f"{url.rstrip('/?')}/capabilities")
    if answer.ok and (title := page_title(answer.content)):  # polled as a job, it would never end
        raise BuildError(f"{url}: expected a TAP service, found an HTML page ({title}); give another --tap_url")
    parts = urlsplit(answer.url)
    if answer.ok and answer.history and parts.path.endswith("/capabilities"):
        url = urlunsplit(parts._replace(path=parts.path.removesuffix("/capabilities"), query=""))
    return TAPService(url, session=session)


def run_query(service: TAPService, query: str, maxrec: int) -> TAPResults:
    """Run a query as a job on the server, wait for it, and fetch its result.

    Parameters
    ----------
    service : pyvo.dal.TAPService
    query : str
        ADQL.
    maxrec : int
        Maximum number of rows; `is_cut` tells whether there were more.

    Raises
    ------
    BuildError
        The job failed, was stopped, or its result cannot be read; with the server's own message.
    """
    with quietly(), server_errors(service.baseurl, BuildError), service.submit_job(query, maxrec=maxrec) as job:
        job.run()
        _wait_for(job, service.baseurl)
        return job.fetch_result()


def is_cut(result: TAPResults) -> bool:
    """Whether any part of the response says that there were more rows."""
    # `result.query_status` ignores an INFO within a TABLE or in lower case, and all but one of several statuses.
    infos = result.votable.iter_info()
    return any((str(info.name).upper(), str(info.value).upper()) == ("QUERY_STATUS", "OVERFLOW") for info in infos)


def _wait_for(job: AsyncTAPJob, url: str) -> None:
    """Wait until a job is COMPLETED. pyvo's own `wait` fails if a phase lags or a gateway interrupts it."""
    wait, lost, looks, said = FIRST_WAIT, 0, 0, None
    while True:
        try:
            phase, lost = job.phase, 0
        except DALServiceError as error:
            phase, lost = None, lost + 1
            if lost == LOST_LOOKS:
                raise BuildError(f"{url}: the job can no longer be polled: {error}; try again later") from error
        if phase == "COMPLETED":
            return
        looks += phase is not None
        if phase == "PENDING" and looks >= STARTING_LOOKS:
            raise BuildError(f"{url}: the job was not started, it is still PENDING; try again later")
        if phase is not None and phase not in UNDER_WAY:
            advice = STOPPED.get(phase, "expected a phase of UWS; try again later")
            raise BuildError(f"{url}: the job is {phase}{_words(job)}; {advice}")
        if phase in ("SUSPENDED", "UNKNOWN") and phase != said:
            say(f"{url}: the job is {phase}; waiting for it to go on")
            said = phase
        pause(wait)
        wait = min(wait * 1.2, LONGEST_WAIT)


def _words(job: AsyncTAPJob) -> str:
    """The server's message on a job without a result, as the end of a phrase."""
    summary = job._job.errorsummary
    if summary is not None and summary.message is not None and summary.message.content:
        return f": {summary.message.content.strip()}"
    try:
        answer = job._session.get(f"{job.url}/error")
    except requests.RequestException:
        return ""
    return explanation(answer.content) if answer.ok else ""
