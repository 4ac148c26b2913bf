"""Fetch cutouts from any Simple Image Access service, version 1 or 2, and find services in the VO Registry."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import parse_qsl, urlsplit

import pyvo
import requests
from pyvo.dal import SIA2Service, SIAService
from pyvo.registry import regtap

from gz_sdss import image_checks as images
from gz_sdss.cutout import MAX_MISSING, fits_cutout, jpeg_cutout, tangent_wcs
from gz_sdss.hips2fits import MARGIN, SIZE, field_of_view
from gz_sdss.sia_records import FORMATS, MIME, ImageRecord, of_sia1, of_sia2
from gz_sdss.tap_jobs import tap_service
from gz_sdss.vo import TIMEOUT, quietly, server_errors, vo_session
from skyshards.errors import BuildError, FetchError, UsageError
from skyshards.fetch.mirrors import PoliteClient
from skyshards.pipeline.recipe import Served
from skyshards.progress import waiting

WAVEBANDS = ("radio", "millimeter", "infrared", "optical", "uv", "euv", "x-ray", "gamma-ray")
"""Wavebands that the Registry knows (IVOA vocabulary `messenger`)."""


@dataclass(frozen=True)
class Service:
    """Image service of the Registry: title, access URL, and version of SIA (1 or 2)."""

    title: str
    url: str
    version: int


def find_services(
    keywords: str, waveband: str, registry_url: str | None = None, timeout: float = TIMEOUT
) -> list[Service]:
    """Find image services in the VO Registry, sorted by identifier.

    Parameters
    ----------
    keywords : str
        Words in title, description or subject, separated by blanks; empty for all.
    waveband : str
        One or more of `WAVEBANDS`; empty for all.
    registry_url : str, optional
        TAP service with the Registry's tables; by default, pyvo's.
    timeout : float
        Seconds.

    Raises
    ------
    UsageError
        The Registry knows no such waveband.
    BuildError
        The Registry cannot be reached, or has no such service.
    """
    bands = wavebands(waveband)
    constraints = [pyvo.registry.Servicetype("sia", "sia2")]
    constraints += [pyvo.registry.Freetext(*keywords.split())] if keywords else []
    constraints += [_Waveband(*bands)] if bands else []
    url = registry_url or regtap.get_RegTAP_service_url()
    with quietly(), server_errors(url, BuildError):
        registry = tap_service(url, vo_session(timeout))
        # Like `pyvo.regsearch`, but on a session with a time-out, for which it has no parameter.
        query = regtap.get_RegTAP_query(*constraints, service=registry)
        resources = list(regtap.RegistryQuery(registry.baseurl, query, session=vo_session(timeout)).execute())
        services = [
            Service(str(resource.res_title), str(interface.access_url), version)
            for resource in sorted(resources, key=lambda resource: resource.ivoid)
            for version, kind in ((1, "sia"), (2, "sia2"))
            for interface in resource.list_interfaces(kind)
        ]
    if not services:
        raise BuildError(f"{url}: no image service for keywords {keywords!r}, waveband {waveband!r}; try fewer words")
    return services


def wavebands(text: str) -> list[str]:
    """Split a list of wavebands. Raises `UsageError` if there is no such waveband."""
    bands = text.lower().replace(",", " ").split()
    for band in bands:
        if band not in WAVEBANDS:
            raise UsageError(f"no waveband {band!r}; there are: {', '.join(WAVEBANDS)}")
    return bands


class _Waveband(pyvo.registry.Constraint):
    """Like `pyvo.registry.Waveband`, which first downloads the list of all wavebands."""

    def __init__(self, *bands: str):
        self._fillers = {f"band{number}": band for number, band in enumerate(bands)}
        conditions = [f"1 = ivo_hashlist_has(rr.resource.waveband, {{{name}}})" for name in self._fillers]
        self._condition = " OR ".join(conditions)


class SIASource:
    """Source of galaxy cutouts from one service.

    Parameters
    ----------
    service : Service
    format : str
        "jpg" (FITS images are converted if there is no JPEG) or "fits".
    client : PoliteClient
        Client with the rate limit and sessions for the images.
    timeout : float
        Time-out of a request, seconds.
    max_missing : float
        Maximum fraction (0 to 1) of missing pixels in a FITS cutout.
    size : int
        Width and height of a cutout, pixels.
    margin : float
        Margin of a cutout, as a fraction of 2 petroR90_r.

    Raises
    ------
    BuildError
        The service's address asks for images of another format.
    """

    def __init__(
        self,
        service: Service,
        format: str,
        client: PoliteClient,
        timeout: float = TIMEOUT,
        max_missing: float = MAX_MISSING,
        size: int = SIZE,
        margin: float = MARGIN,
    ):
        self._service, self._client, self._timeout, self._max_missing = service, client, timeout, max_missing
        self._npix, self._margin = size, margin
        self._as_fits, self._own_format = format == "fits", _own_format(service.url)
        formats = ("fits",) if self._as_fits else ("jpg", "fits")
        self._formats = [name for name in formats if self._own_format in (None, name)]
        if not self._formats:
            found = self._own_format
            raise BuildError(
                f"{service.url}: its address asks for {found} images, expected {format}; give --format {found}"
            )
        self._local = threading.local()
        self._lock = threading.Lock()

    def query_url(self, ra: float, dec: float, petroR90_r: float) -> str:
        """Address of the query for a galaxy."""
        address, size = self._service.url.rstrip("?&"), field_of_view(petroR90_r, self._margin)
        separator = "&" if "?" in self._service.url else "?"
        if self._service.version == 2:
            return f"{address}{separator}POS=CIRCLE {ra} {dec} {size / 2}"
        return f"{address}{separator}POS={ra},{dec}&SIZE={size}"

    def records(self, ra: float, dec: float, size: float, format: str) -> list[ImageRecord]:
        """List the service's images of a square of `size` degrees in one format ("jpg" or "fits").

        Raises
        ------
        FetchError
            The query failed, with the service's own message.
        """
        with server_errors(self._service.url, FetchError):
            found = self._search(ra, dec, size, None if self._own_format else MIME[format])
            records = list(self._records_of(found))
        # Services mix formats whatever is requested.
        return [record for record in records if record.is_of(format)]

    def fetch(self, ra: float, dec: float, petroR90_r: float, max_retries: int = 5, delay: float = 2.0) -> bytes:
        """Fetch one galaxy's cutout; see `fetch_served`, which also tells the address of the image."""
        return self.fetch_served(ra, dec, petroR90_r, max_retries, delay).content

    def fetch_served(
        self, ra: float, dec: float, petroR90_r: float, max_retries: int = 5, delay: float = 2.0
    ) -> Served:
        """Fetch one galaxy's cutout: a JPEG, or FITS with float32 `[height, width]`, row 0 in the south.

        The image that covers the position best is resampled, unless it is a JPEG of that size already. The planes of a
        FITS image are averaged.

        Parameters
        ----------
        ra, dec : float
            Degrees.
        petroR90_r : float
            Arcsec; the cutout is as wide as that of `Hips2Fits_access`.
        max_retries, delay
            As in `download_with_retries`.

        Returns
        -------
        Served
            The cutout; the address and the title, in place of a release, are those of the service's record of the image
            that it was cut from.

        Raises
        ------
        FetchError
            There is no image of the position, or it is blank, broken or has a hole.
        """
        size = field_of_view(petroR90_r, self._margin)
        refused: FetchError | None = None
        for format in self._formats:
            try:
                records = self.records(ra, dec, size, format)
                if records:
                    best = max(records, key=lambda record: (*record.coverage(ra, dec, size), record.url))
                    content = self._cutout(best, format, (ra, dec), size, max_retries, delay)
                    return Served(content, best.url, best.title or None)
            except FetchError as error:  # no usable JPEG; there may be a FITS image
                refused = refused or error
        raise refused or FetchError(f"{self._service.url}: no {' or '.join(self._formats)} image at ra={ra}, dec={dec}")

    def _cutout(
        self, best: ImageRecord, format: str, place: tuple[float, float], size: float, max_retries: int, delay: float
    ) -> bytes:
        ra, dec = place
        if format == "jpg":
            content = self._client.get([best.url], images.open_jpeg, max_retries, delay)
            return jpeg_cutout(content, (best.ra, best.dec), (best.width, best.height), ra, dec, size, self._npix)
        content = self._client.get([best.url], images.open_fits, max_retries, delay)
        pixels = fits_cutout(content, ra, dec, size, self._max_missing, self._npix)
        if self._as_fits:
            header = tangent_wcs(ra, dec, (size, size), pixels.shape[-2:]).to_header()
            if unit := images.open_fits(content)[1].get("BUNIT"):
                header["BUNIT"] = unit
            return images.encode_fits(pixels if pixels.ndim == 2 else pixels.mean(axis=0), header)
        picture = images.lupton_rgb(pixels)
        images.check_not_blank(picture)
        return images.encode_jpeg(picture)

    @cached_property
    def _sia2_url(self) -> str:
        """URL for SIA2 queries from the service's capabilities; the service's URL if these are unavailable."""
        try:
            return SIA2Service(self._service.url, session=self._session()).query_ep
        except Exception:  # no capabilities, or no SIA2 among them; the first query will tell
            return self._service.url

    def _session(self) -> requests.Session:
        fetcher = self._client.fetcher
        return vo_session(self._timeout, limit=fetcher.limit, on_wait=fetcher.on_wait or waiting)

    def _search(self, ra: float, dec: float, size: float, mime: str | None):
        if not hasattr(self._local, "session"):
            self._local.session = self._session()
        session = self._local.session
        if self._service.version == 1:
            return SIAService(self._service.url, session=session).search(pos=(ra, dec), size=size, format=mime)
        with self._lock:
            url = self._sia2_url
        service = SIA2Service(url, session=session, check_baseurl=False)
        return service.search(pos=(ra, dec, size / 2), res_format=mime)

    def _records_of(self, found) -> Iterator[ImageRecord]:
        for record in found:
            image = of_sia1(record) if self._service.version == 1 else of_sia2(record)
            if image.url:
                yield image


def _own_format(url: str) -> str | None:
    """Format ("jpg" or "fits") that a service's address asks for; such a service refuses any other."""
    given = [value for name, value in parse_qsl(urlsplit(url).query) if name.upper() == "FORMAT"]
    return next(
        (name for name, pattern in FORMATS.items() for value in given if pattern.fullmatch(value.lower())), None
    )
