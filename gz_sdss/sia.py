"""Cutouts from any Simple Image Access service, version 1 or 2, and how to find one in the VO Registry."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyvo
import requests
from pyvo.dal import Record, SIA2Service, SIAService
from pyvo.registry import regtap

from gz_sdss import image_checks as images
from gz_sdss.cutout import MAX_MISSING, fits_cutout, jpeg_cutout, tangent_wcs
from gz_sdss.hips2fits import field_of_view
from gz_sdss.tap_jobs import tap_service
from gz_sdss.vo import TIMEOUT, quietly, server_errors, vo_session
from skyshards.errors import BuildError, FetchError
from skyshards.fetch.mirrors import PoliteClient

MIME = {"jpg": "image/jpeg", "fits": "image/fits"}
"""What services are asked for."""
FORMATS = {
    "jpg": re.compile(r"image/(p?jpeg|jpg)"),
    "fits": re.compile(r"(image|application)/(x-)?g?fits\b.*"),  # as image/x-fits, image/fits.gz, application/fits
}
"""What they call what they have."""


@dataclass(frozen=True)
class Service:
    """An image service of the Registry: its title, access URL, and the version of SIA it speaks (1 or 2)."""

    title: str
    url: str
    version: int


def find_services(
    keywords: str, waveband: str, registry_url: str | None = None, timeout: float = TIMEOUT
) -> list[Service]:
    """Image services that the VO Registry knows, in the order of their identifiers.

    Parameters
    ----------
    keywords : str
        Words of title, description or subject, separated by blanks; empty for all.
    waveband : str
        "radio", "infrared", "optical", "uv", "euv", "x-ray" or "gamma-ray"; empty for all.
    registry_url : str, optional
        A TAP service with the Registry's tables; that of pyvo unless given.
    timeout : float
        Seconds.

    Raises
    ------
    BuildError
        The Registry is out of reach, or knows no such service.
    """
    constraints = [pyvo.registry.Servicetype("sia", "sia2")]
    constraints += [pyvo.registry.Freetext(*keywords.split())] if keywords else []
    constraints += [_Waveband(*waveband.replace(",", " ").split())] if waveband else []
    url = registry_url or regtap.get_RegTAP_service_url()
    with quietly(), server_errors(url, BuildError):
        registry = tap_service(url, vo_session(timeout))
        # What `pyvo.regsearch` does, on a session with a time-out, which it has no parameter for.
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


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class _Waveband(pyvo.registry.Constraint):
    """What `pyvo.registry.Waveband` asks for, which first fetches the list of all wavebands from the web."""

    def __init__(self, *bands: str):
        self._fillers = {f"band{number}": band.lower() for number, band in enumerate(bands)}
        conditions = [f"1 = ivo_hashlist_has(rr.resource.waveband, {{{name}}})" for name in self._fillers]
        self._condition = " OR ".join(conditions)


@dataclass(frozen=True)
class ImageRecord:
    """One image that a service offers.

    Attributes
    ----------
    url, mime : str
    ra, dec : float
        Its centre, degrees; NaN where the service does not say.
    width, height : float
        Its extent in degrees; NaN where the service does not say.
    """

    url: str
    mime: str
    ra: float
    dec: float
    width: float
    height: float

    def is_of(self, format: str) -> bool:
        """Whether it is a "jpg" or "fits", whatever parameters its MIME type has."""
        return bool(FORMATS[format].fullmatch(self.mime.partition(";")[0].strip().lower()))

    def coverage(self, ra: float, dec: float, size: float) -> tuple[float, float]:
        """Which part (0 to 1) of a square of so many degrees the image covers, and minus its distance (degrees).

        Sides are taken to run north and east. The part is to a tenth, as services round sizes to whole pixels; so the
        greatest of these pairs is that of the nearest of the images that cover about all of the square.
        """
        if not all(map(math.isfinite, (self.ra, self.dec, self.width, self.height))):
            return 0.0, -math.inf
        east = (self.ra - ra + 180.0) % 360.0 - 180.0
        offsets = abs(east) * math.cos(math.radians(dec)), abs(self.dec - dec)
        part = 1.0
        for extent, offset in zip((self.width, self.height), offsets, strict=True):
            overlap = min(size / 2, offset + extent / 2) - max(-size / 2, offset - extent / 2)
            part *= min(max(overlap / size, 0.0), 1.0)
        return round(part, 1), -math.hypot(*offsets)


class SIASource:
    """Cutouts of galaxies from one service.

    Parameters
    ----------
    service : Service
    format : str
        "jpg" for pictures (FITS images are made into some if there is no JPEG), or "fits".
    client : PoliteClient
        Whose rate and sessions the images are fetched with.
    timeout : float
        Seconds after which a request without an answer is given up.
    max_missing : float
        Part of a cutout's pixels (0 to 1) that may lack a value in a FITS image.
    """

    def __init__(
        self,
        service: Service,
        format: str,
        client: PoliteClient,
        timeout: float = TIMEOUT,
        max_missing: float = MAX_MISSING,
    ):
        self._service, self._client, self._timeout, self._max_missing = service, client, timeout, max_missing
        self._formats = ("fits",) if format == "fits" else ("jpg", "fits")
        self._local = threading.local()
        self._lock = threading.Lock()

    def records(self, ra: float, dec: float, size: float, format: str) -> list[ImageRecord]:
        """The images of one format ("jpg" or "fits") that the service has of a square of so many degrees.

        Raises
        ------
        FetchError
            With the service's own message.
        """
        with server_errors(self._service.url, FetchError):
            found = self._search(ra, dec, size, MIME[format])
            records = list(self._records_of(found))
        # Services mix formats whatever is asked for.
        return [
            record for record in records if FORMATS[format].fullmatch(record.mime.partition(";")[0].strip().lower())
        ]

    def fetch(self, ra: float, dec: float, petroR90_r: float, max_retries: int = 5, delay: float = 2.0) -> bytes:
        """One galaxy's cutout, of 64 x 64 pixels: a JPEG, or a FITS file with float32 `[64, 64]`, row 0 in the south.

        The image that covers the position best is resampled, unless it is a JPEG of that size already. Of a FITS image
        with planes, `[64, 64]` is their mean.

        Parameters
        ----------
        ra, dec : float
            Degrees.
        petroR90_r : float
            Arcsec; the cutout is as wide as that of `Hips2Fits_access`.
        max_retries, delay
            As in `download_with_retries`.

        Raises
        ------
        FetchError
            There is no image of the place, or it is blank, broken or has a hole.
        """
        size = field_of_view(petroR90_r)
        refused: FetchError | None = None
        for format in self._formats:
            try:
                records = self.records(ra, dec, size, format)
                if records:
                    best = max(records, key=lambda record: (*record.coverage(ra, dec, size), record.url))
                    return self._cutout(best, format, (ra, dec), size, max_retries, delay)
            except FetchError as error:  # no JPEG, or one that will not do; there may be a FITS image that does
                refused = refused or error
        raise refused or FetchError(f"{self._service.url}: no {' or '.join(self._formats)} image at ra={ra}, dec={dec}")

    def _cutout(
        self, best: ImageRecord, format: str, place: tuple[float, float], size: float, max_retries: int, delay: float
    ) -> bytes:
        ra, dec = place
        if format == "jpg":
            content = self._client.get([best.url], images.open_jpeg, max_retries, delay)
            return jpeg_cutout(content, (best.ra, best.dec), (best.width, best.height), ra, dec, size)
        content = self._client.get([best.url], images.open_fits, max_retries, delay)
        pixels = fits_cutout(content, ra, dec, size, self._max_missing)
        if self._formats == ("fits",):
            header = tangent_wcs(ra, dec, (size, size), pixels.shape[-2:]).to_header()
            if unit := images.open_fits(content)[1].get("BUNIT"):
                header["BUNIT"] = unit
            return images.encode_fits(pixels if pixels.ndim == 2 else pixels.mean(axis=0), header)
        picture = images.lupton_rgb(pixels)
        images.check_not_blank(picture)
        return images.encode_jpeg(picture)

    @cached_property
    def _sia2_url(self) -> str:
        """Where SIA2 queries go, as the service's capabilities say; the URL itself if they cannot be had."""
        try:
            return SIA2Service(self._service.url, session=self._session()).query_ep
        except Exception:  # no capabilities, or no service of that kind among them; the first query will tell
            return self._service.url

    def _session(self) -> requests.Session:
        return vo_session(self._timeout, limit=self._client.limit)

    def _search(self, ra: float, dec: float, size: float, mime: str):
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
            image = _of_sia1(record) if self._service.version == 1 else _of_sia2(record)
            if image.url:
                yield image


def _of_sia1(record: Record) -> ImageRecord:
    """A record of SIA1, whose columns are known by their UCDs."""
    naxis, scale, ra, dec = (
        np.resize(_floats(record.getbyucd(ucd)), 2)
        for ucd in ("VOX:Image_Naxis", "VOX:Image_Scale", "POS_EQ_RA_MAIN", "POS_EQ_DEC_MAIN")
    )
    width, height = np.abs(naxis * scale).tolist()
    return ImageRecord(record.getdataurl(), record.format or "", float(ra[0]), float(dec[0]), width, height)


def _of_sia2(record: Record) -> ImageRecord:
    """A record of SIA2, whose columns are those of ObsCore; its extent is that of the square in the circle it names.

    Of its ways to the image, only the access URL needs nothing else from the web.
    """
    ra, dec, diameter = (float(_floats(record[name])[0]) for name in ("s_ra", "s_dec", "s_fov"))
    side = diameter / math.sqrt(2.0)
    return ImageRecord(record.access_url, record.access_format or "", ra, dec, side, side)


def _floats(value) -> np.ndarray:
    """Numbers of a record, which some services give as text ("606 606"); NaN for those it lacks."""
    if value is None:
        return np.array([np.nan])
    if isinstance(value, str):
        value = re.split(r"[\s,]+", value.strip("[]() \t\n"))
        value = [part if _NUMBER.fullmatch(part) else "nan" for part in value]
    return np.ma.filled(np.atleast_1d(np.ma.asarray(value, dtype=float)), np.nan)
