"""The demo archive: all its services on one loopback address, for as long as a `with` block lasts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from skyshards.demo import sas, stamps, zenodo
from skyshards.demo.adql import Database
from skyshards.demo.faults import Fault, Faults
from skyshards.demo.files import Files
from skyshards.demo.galaxies import simulate
from skyshards.demo.server import Request, Response, Server, error_page
from skyshards.demo.tables import sdss_tables
from skyshards.demo.tap import Tap

CANDELS, CANDELS_RECORD = "candels-blender-data.tar.gz", 2604740
TAP_PREFIX = "/ssa"


class DemoArchive:
    """Serves simulated data in the way of the real archives, on a free port of 127.0.0.1.

    Use it as a context manager; nothing of it is left when the block ends. What it serves follows from `galaxies`,
    `seed` and `stamps` alone, and is made when it is first asked for.

    Parameters
    ----------
    galaxies : int
        How many galaxies its sky holds; all services show the same ones.
    seed : int
    faults : iterable of Fault
        How it is to misbehave; `add_fault` adds one later.
    stamps : int
        How many stamps its CANDELS archive holds.
    maxrec : int
        The most rows that its TAP service gives in one answer.

    Attributes
    ----------
    url : str
        Address without a path.
    sas_url : str
        Folder of GZ3D files, as the SDSS Science Archive Server lists it.
    zenodo_url : str
        What stands for https://zenodo.org: `zenodo_url + "/api/records/2604740"` is a record.
    galaxies : list of Galaxy
        The truth behind all of it.

    Examples
    --------
    >>> with DemoArchive(galaxies=3) as archive:
    ...     archive.sas_url.startswith("http://127.0.0.1:")
    True
    """

    def __init__(
        self, galaxies: int = 40, seed: int = 0, faults: Iterable[Fault] = (), stamps: int = 60, maxrec: int = 20000
    ) -> None:
        if galaxies < 1:
            raise ValueError(f"a demo archive needs at least one galaxy; found galaxies={galaxies}")
        self.galaxies = simulate(galaxies, seed)
        self.seed, self.stamps, self.maxrec = seed, stamps, maxrec
        self._faults = Faults(faults)

    def __enter__(self) -> DemoArchive:
        self._folder = tempfile.TemporaryDirectory(prefix="skyshards-demo-")
        cache = Path(self._folder.name)
        candels = Files(cache / "candels", {CANDELS: partial(stamps.archive, self.stamps, self.seed)})
        self._database = Database(partial(sdss_tables, self.galaxies))
        self._tap = Tap(TAP_PREFIX, self._database, self.maxrec)
        self._services = {
            TAP_PREFIX: self._tap,
            sas.FOLDER: sas.Sas(self.galaxies, cache / "sas"),
            zenodo.PREFIX: zenodo.Zenodo({CANDELS_RECORD: ("Simulated CANDELS stamps", candels)}),
        }
        self._server = Server(self._answer, self._faults)
        self._server.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._tap.jobs.closing.set()
        self._server.stop()
        self._database.close()
        self._folder.cleanup()

    def _answer(self, request: Request) -> Response:
        for prefix, service in self._services.items():
            if request.path.startswith(prefix):
                return service(request)
        return error_page(404)

    def add_fault(self, fault: Fault) -> None:
        """Misbehave so from now on."""
        self._faults.add(fault)

    @property
    def requests(self) -> list[Request]:
        """Every request so far, in the order of arrival."""
        return self._server.requests

    @property
    def peak_connections(self) -> int:
        """The most requests that were being answered at one time."""
        return self._server.peak

    @property
    def errors(self) -> list[Exception]:
        """What went wrong in the archive itself, faults on request apart: empty unless it has a bug."""
        return self._server.errors

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def sas_url(self) -> str:
        return self.url + sas.FOLDER

    @property
    def zenodo_url(self) -> str:
        return self.url + zenodo.PREFIX

    @property
    def tap_url(self) -> str:
        return self.url + TAP_PREFIX
