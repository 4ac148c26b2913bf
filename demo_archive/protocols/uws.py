"""Asynchronous jobs of the Universal Worker Service (UWS 1.1), as far as TAP clients need them."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from xml.sax.saxutils import escape, quoteattr

from demo_archive.protocols import votable
from demo_archive.serve.server import Request, Response, error_page

RUNNING_TIME = timedelta(seconds=0.1)
"""Time for which a job is shown as EXECUTING."""
LONGEST_WAIT = 30.0
"""Maximum of WAIT, seconds."""
DONE = ("COMPLETED", "ERROR", "ABORTED")


@dataclass
class Job:
    """A job: its parameters, phase and result."""

    number: int
    parameters: dict[str, str]
    phase: str = "PENDING"
    message: str = ""
    result: Response | None = None
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: datetime | None = None

    @property
    def ended(self) -> datetime | None:
        """Time until which a finished job is shown as EXECUTING."""
        return self.started + RUNNING_TIME if self.started and self.phase in ("COMPLETED", "ERROR") else None

    @property
    def shown_phase(self) -> str:
        """Phase shown to clients: a finished job remains EXECUTING for `RUNNING_TIME`."""
        return "EXECUTING" if self.ended and datetime.now(UTC) < self.ended else self.phase


class Jobs:
    """Job list of a service, at its `/async`.

    Parameters
    ----------
    run : function
        Runs a query from a job's parameters; returns a response, or an error message.
    """

    def __init__(self, run: Callable[[dict[str, str]], Response | str]) -> None:
        self._run = run
        self._jobs: dict[str, Job] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.closing = threading.Event()

    def __call__(self, request: Request, url: str, path: str) -> Response:
        """Answer a request for `path` (the part after `/async`); `url` is the address of the job list."""
        number, _, what = path.strip("/").partition("/")
        if not number:
            return self._create(request, url) if request.method == "POST" else self._list(url)
        job = self._jobs.get(number)
        if job is None:
            return error_page(404)
        home = _see_other(f"{url}/{number}")
        if request.method == "DELETE" or request.get("ACTION") == "DELETE":
            self._jobs.pop(number, None)
            return _see_other(url)
        if request.method == "POST":
            self._change(job, request, what)
            return home
        return self._show(job, request, url, what)

    def _create(self, request: Request, url: str) -> Response:
        with self._lock:
            job = Job(next(self._numbers), {})
            self._jobs[str(job.number)] = job
        self._change(job, request, "parameters")
        return _see_other(f"{url}/{job.number}")

    def _change(self, job: Job, request: Request, what: str) -> None:
        given = {name: values[-1] for name, values in (*request.query.items(), *request.form.items())}
        phase = given.pop("PHASE", "")
        if what == "parameters" and job.phase == "PENDING":
            job.parameters |= given
        if phase == "RUN" and job.phase == "PENDING":
            job.started = datetime.now(UTC)
            outcome = self._run(job.parameters)
            if isinstance(outcome, str):
                job.phase, job.message = "ERROR", outcome
            else:
                job.phase, job.result = "COMPLETED", outcome
        elif phase == "ABORT" and job.shown_phase not in DONE:
            job.phase = "ABORTED"

    def _show(self, job: Job, request: Request, url: str, what: str) -> Response:
        if what == "" and (wait := request.get("WAIT")) is not None:
            if not re.fullmatch(r"-?\d{1,6}", wait):
                return error_page(400)
            self._wait(job, int(wait))
        texts = {
            "phase": job.shown_phase,
            "quote": "",
            "owner": "",
            "executionduration": "3600",
            "destruction": _stamp(job.created + timedelta(days=2)),
        }
        if what in texts:
            return Response(texts[what].encode(), "text/plain")
        if what == "results/result" and job.shown_phase == "COMPLETED" and job.result is not None:
            return job.result
        if what == "error" and job.shown_phase == "ERROR":
            return Response(votable.error(job.message), "text/xml")
        parts = {
            "": self._xml(job, url),
            "parameters": _root("parameters", _parameters(job)),
            "results": _root("results", _results(job, url)),
        }
        return Response(parts[what].encode(), "text/xml") if what in parts else error_page(404)

    def _wait(self, job: Job, seconds: int) -> None:
        """Wait until the job is done or the time is up; a negative time means `LONGEST_WAIT`."""
        end = time.monotonic() + (LONGEST_WAIT if seconds < 0 else min(seconds, LONGEST_WAIT))
        while job.shown_phase not in (*DONE, "PENDING") and time.monotonic() < end and not self.closing.wait(0.02):
            pass

    def _list(self, url: str) -> Response:
        refs = ""
        for number, job in list(self._jobs.items()):
            phase = f"<uws:phase>{job.shown_phase}</uws:phase>"
            refs += f'<uws:jobref id="{number}" xlink:href={quoteattr(f"{url}/{number}")}>{phase}</uws:jobref>'
        return Response(_root("jobs", refs).encode(), "text/xml")

    def _xml(self, job: Job, url: str) -> str:
        summary = ""
        if job.shown_phase == "ERROR":
            message = f"<uws:message>{escape(job.message)}</uws:message>"
            summary = f'<uws:errorSummary type="fatal" hasDetail="false">{message}</uws:errorSummary>'
        run_id = job.parameters.get("RUNID")
        return _root(
            "job",
            f"<uws:jobId>{job.number}</uws:jobId>"
            f"{f'<uws:runId>{escape(run_id)}</uws:runId>' if run_id else ''}"
            f'<uws:ownerId xsi:nil="true"/><uws:phase>{job.shown_phase}</uws:phase><uws:quote xsi:nil="true"/>'
            f"<uws:creationTime>{_stamp(job.created)}</uws:creationTime>"
            f"{_moment('startTime', job.started)}{_moment('endTime', job.ended)}"
            f"<uws:executionDuration>3600</uws:executionDuration>"
            f"<uws:destruction>{_stamp(job.created + timedelta(days=2))}</uws:destruction>"
            f"<uws:parameters>{_parameters(job)}</uws:parameters>"
            f"<uws:results>{_results(job, url)}</uws:results>{summary}",
        )


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(name: str, moment: datetime | None) -> str:
    return f"<uws:{name}>{_stamp(moment)}</uws:{name}>" if moment else f'<uws:{name} xsi:nil="true"/>'


def _see_other(url: str) -> Response:
    return Response(status=303, headers={"Location": url})


def _root(name: str, body: str) -> str:
    spaces = (
        'xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" xmlns:xlink="http://www.w3.org/1999/xlink"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    )
    return f"<?xml version='1.0' encoding='utf-8'?>\n<uws:{name} {spaces} version=\"1.1\">{body}</uws:{name}>"


def _parameters(job: Job) -> str:
    return "".join(
        f"<uws:parameter id={quoteattr(name.lower())}>{escape(value)}</uws:parameter>"
        for name, value in job.parameters.items()
    )


def _results(job: Job, url: str) -> str:
    if job.shown_phase != "COMPLETED":
        return ""
    return f'<uws:result id="result" xlink:href={quoteattr(f"{url}/{job.number}/results/result")}/>'
