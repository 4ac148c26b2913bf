"""The demo archive: all its services on one loopback address, as a context manager."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from demo_archive.holdings import candels as stamps
from demo_archive.holdings import galaxy10, gz3d
from demo_archive.holdings import gz_decals as decals
from demo_archive.holdings.sdss_tables import sdss_tables
from demo_archive.protocols import (
    hips2fits,
    mocserver,
    names,
    registry,
    sas,
    sia,
    skyserver,
    skyview,
    spec_files,
    zenodo,
)
from demo_archive.protocols.adql import Database
from demo_archive.protocols.tap import Tap
from demo_archive.protocols.web_folder import WebFolder
from demo_archive.serve.faults import Fault, Faults
from demo_archive.serve.files import Files
from demo_archive.serve.server import Request, Response, Server, Service, error_page
from demo_archive.serve.temporary import temporary_folder
from demo_archive.simulation.galaxies import simulate, spiral_at
from demo_archive.simulation.sky import Sky

CANDELS, CANDELS_RECORD = "candels-blender-data.tar.gz", 2604740
TAP_PREFIX = "/ssa"


class DemoArchive:
    """Server of simulated data over the real archives' protocols, on a free port of 127.0.0.1.

    Use it as a context manager, which removes all temporary files at the end. The data depend only on `galaxies`,
    `seed` and `stamps`, and are made on first request.

    Parameters
    ----------
    galaxies : int
        Number of galaxies in its sky; all services show the same ones.
    seed : int
        Seed of the simulation.
    faults : iterable of Fault
        Faults to inject; `add_fault` adds more later.
    stamps : int
        Number of stamps in its CANDELS archive.
    maxrec : int
        Maximum number of rows in a response of its TAP service.

    Attributes
    ----------
    url : str
        Address without a path.
    sas_url : str
        Folder of GZ3D files, as the SDSS Science Archive Server lists it.
    dr17_url : str
        Root of SDSS data release 17, with the spectra of the galaxies.
    tap_url : str
        TAP service with BestDR9.ZooSpec and BestDR7.PhotoObj.
    hips2fits_url : str
        Cutouts by position and size, or by WCS.
    surveys_url : str
        MocServer with the list of the surveys of which there are cutouts.
    sia_url, sia2_url : str
        Simple Image Access, versions 1 and 2.
    registry_url : str
        TAP service with the VO Registry's tables, which list the archive's own services, among them some like
        HEASARC's SkyView and SDSS's SkyServer, and one that never responds.
    sesame_url, vocabularies_url : str
        Positions of names (M51), and the IVOA's vocabularies (wavebands), which clients look up before a search.
    zenodo_url : str
        Stands for https://zenodo.org: `zenodo_url + "/api/records/2604740"` is the record of the CANDELS stamps.
    decals_url : str
        JSON of the Zenodo record of Galaxy Zoo DECaLS.
    galaxy10_url : str
        File of Galaxy10 DECaLS.
    galaxies : list of Galaxy
        True properties of the simulated galaxies.
    spectra : Path
        Catalogue (CSV) of the spectra.
    drpall : Path
        MaNGA's table of observations (FITS): a third of the galaxies.
    folder : Path
        Temporary folder, also for builds from the archive; deleted when it closes.

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
        self._faults = list(faults)

    def __enter__(self) -> DemoArchive:
        self._stack = contextlib.ExitStack()
        self.folder = cache = self._stack.enter_context(temporary_folder())
        release = decals.release(self.galaxies, cache / "decals")
        candels = Files(cache / "candels", {CANDELS: partial(stamps.archive, self.stamps, self.seed)})
        # The service that never responds is one with a permanent fault.
        self._server = Server(
            self._answer, Faults([*self._faults, Fault(f" {registry.SILENT}", "silence", times=None)])
        )
        self._databases = (
            Database(partial(sdss_tables, self.galaxies)),
            Database(partial(registry.registry_tables, self._server.url)),
        )
        self._taps = tuple(
            Tap(prefix, database, self.maxrec)
            for prefix, database in zip((TAP_PREFIX, registry.PREFIX), self._databases, strict=True)
        )
        sky = Sky([*self.galaxies, spiral_at(*names.M51, self.seed)], self.seed)
        images = sia.Sia(sky)
        self._services: dict[str, Service] = {
            TAP_PREFIX: self._taps[0],
            registry.PREFIX: self._taps[1],
            hips2fits.PREFIX: hips2fits.Hips2Fits(sky),
            mocserver.PREFIX: mocserver.answer,
            sia.PREFIX_2: images.version_2,
            sia.PREFIX: images,
            skyview.PREFIX: skyview.SkyView(sky),
            skyserver.PREFIX: skyserver.SkyServer(sky),
            names.SESAME: names.sesame,
            names.VOCABULARIES: names.vocabulary,
            sas.FOLDER: sas.Sas(self.galaxies, cache / "sas"),
            spec_files.ROOT: spec_files.SpecFiles(self.galaxies, cache / "spectra"),
            galaxy10.FOLDER: WebFolder(galaxy10.FOLDER, galaxy10.folder(self.galaxies, cache / "galaxy10")),
            zenodo.PREFIX: zenodo.Zenodo(
                {
                    CANDELS_RECORD: ("Simulated CANDELS stamps", candels),
                    decals.RECORD: ("Simulated Galaxy Zoo DECaLS", release),
                }
            ),
        }
        self._server.start()
        return self

    def __exit__(self, *exception: object) -> None:
        for tap in self._taps:
            tap.jobs.closing.set()
        self._server.stop()
        for database in self._databases:
            database.close()
        self._stack.close()

    def _answer(self, request: Request) -> Response:
        for prefix, service in self._services.items():
            if request.path.startswith(prefix):
                return service(request)
        return error_page(404)

    @property
    def spectra(self) -> Path:
        path = self.folder / "spectra.csv"
        path.write_bytes(spec_files.catalogue(self.galaxies))
        return path

    @property
    def drpall(self) -> Path:
        path = self.folder / "drpall-v3_1_1.fits"
        path.write_bytes(gz3d.drpall(self.galaxies))
        return path

    def add_fault(self, fault: Fault) -> None:
        """Inject a fault from now on."""
        self._server.faults.add(fault)

    @property
    def requests(self) -> list[Request]:
        """The latest 100,000 requests, in order of arrival."""
        return list(self._server.requests)

    @property
    def peak_connections(self) -> int:
        """Maximum number of requests served at the same time."""
        return self._server.peak

    @property
    def errors(self) -> list[Exception]:
        """Errors inside the archive, other than injected faults: empty unless it has a bug."""
        return self._server.errors

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def sas_url(self) -> str:
        return self.url + sas.FOLDER

    @property
    def dr17_url(self) -> str:
        return self.url + spec_files.ROOT

    @property
    def zenodo_url(self) -> str:
        return self.url + zenodo.PREFIX

    @property
    def tap_url(self) -> str:
        return self.url + TAP_PREFIX

    @property
    def hips2fits_url(self) -> str:
        return self.url + hips2fits.PREFIX

    @property
    def surveys_url(self) -> str:
        return self.url + mocserver.PREFIX

    @property
    def sia_url(self) -> str:
        return self.url + sia.PREFIX

    @property
    def sia2_url(self) -> str:
        return self.url + sia.PREFIX_2

    @property
    def registry_url(self) -> str:
        return self.url + registry.PREFIX

    @property
    def sesame_url(self) -> str:
        return self.url + names.SESAME

    @property
    def vocabularies_url(self) -> str:
        return self.url + names.VOCABULARIES

    @property
    def decals_url(self) -> str:
        return f"{self.zenodo_url}/api/records/{decals.RECORD}"

    @property
    def galaxy10_url(self) -> str:
        return self.url + galaxy10.FOLDER + galaxy10.FILE
