"""The images of a build's galaxies: those that this folder or another one has, and the service of the others."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass

import numpy as np

from gz_sdss.hips2fits import Hips2FitsSource, field_of_view
from gz_sdss.image_checks import is_whole
from gz_sdss.image_list import Cutout
from gz_sdss.image_tars import ImageArchive
from gz_sdss.sia import Service, SIASource
from skyshards.errors import SourceError
from skyshards.fetch.client import Fetcher
from skyshards.fetch.mirrors import PoliteClient
from skyshards.pipeline.recipe import Served


@dataclass(frozen=True)
class ImageService:
    """Service that makes the cutouts: hips2fits, or one of Simple Image Access. Small, for workers on other machines.

    Parameters
    ----------
    urls : tuple of str
        URLs of hips2fits and its mirrors.
    hips : str
        Identifier of the survey that hips2fits is asked for.
    sia : Service, optional
        Asked instead of hips2fits.
    format : str
        "jpg" or "fits".
    max_missing : float
        With `sia`: maximum fraction (0 to 1) of missing pixels in a FITS cutout.
    size : int
        Width and height, pixels.
    margin : float
        Margin around a galaxy, as a fraction of 2 petroR90_r.
    """

    urls: tuple[str, ...]
    hips: str
    sia: Service | None
    format: str
    max_missing: float
    size: int
    margin: float


@functools.lru_cache(maxsize=8)
def source_of(service: ImageService, fetcher: Fetcher) -> Hips2FitsSource | SIASource:
    """Source of a service's cutouts, one for all threads of a process: it remembers sessions and working mirrors.

    Raises
    ------
    BuildError
        The service has images of another format.
    """
    client, size, margin = PoliteClient.using(fetcher), service.size, service.margin
    if service.sia is None:
        return Hips2FitsSource(service.urls, service.hips, client, size, margin)
    missing = service.max_missing
    return SIASource(service.sia, service.format, client, max_missing=missing, size=size, margin=margin)


def fetch_cutout(fetcher: Fetcher, service: ImageService, ra: float, dec: float, petroR90_r: float) -> Served:
    """Download one galaxy's cutout, and check it; `Fetcher.run` calls this in a worker."""
    return source_of(service, fetcher).fetch_served(ra, dec, petroR90_r)


@dataclass(frozen=True)
class GalaxyImages:
    """Images of galaxies, for one process and many threads.

    Parameters
    ----------
    archive : ImageArchive
        Images of this folder; downloaded ones are added to it.
    other : ImageArchive, optional
        Images of another dataset, used again.
    service : ImageService
        Where the others are downloaded.
    release : str
        What the service serves images of: a release or collection. Its answers may tell more.
    """

    archive: ImageArchive
    other: ImageArchive | None
    service: ImageService
    release: str

    def address(self, galaxy: np.record, fetcher: Fetcher) -> str | None:
        """Address that the service is asked at; None for an invalid position or radius, for which `fetch` raises."""
        with contextlib.suppress(SourceError):
            return source_of(self.service, fetcher).query_url(*_place(galaxy))
        return None

    def held_by(self, galaxy: np.record) -> ImageArchive | None:
        """The archive that has a galaxy's image, this folder's or the other one's.

        Another catalogue may have another position or radius, and the image shows something else then. Archives of
        earlier versions do not tell.
        """
        objid, (ra, dec, radius) = int(galaxy["objid"]), _place(galaxy)
        for archive in (self.archive, self.other):
            if archive is not None and objid in archive:
                cutout = archive.cutout(objid)
                if cutout is None or cutout.is_of(ra, dec, self._width(radius), self.service.size):
                    return archive
        return None

    def fetch(self, galaxy: np.record, fetcher: Fetcher) -> Served:
        """Take a galaxy's image from an archive if it is there whole, or else download it; add it to this folder's."""
        objid, held = int(galaxy["objid"]), self.held_by(galaxy)
        content = held.get(objid) if held is not None else None
        # Checks of earlier versions were weaker.
        if held is None or content is None or not is_whole(content, self.service.format, self.service.size):
            ra, dec, radius = _place(galaxy)
            served = fetcher.run(fetch_cutout, self.service, ra, dec, radius)
            release = ": ".join(filter(None, (self.release, served.release)))
            cutout = Cutout(ra, dec, self._width(radius), served.url or "", release)
            self.archive.add(objid, served.content, cutout)
            return Served(served.content, served.url, release)
        known = held.cutout(objid)
        if held is not self.archive:
            self.archive.add(objid, content, known)
        if known is None:
            return Served(content, self.address(galaxy, fetcher), self.release)
        return Served(content, known.url, known.release or self.release)

    def _width(self, petroR90_r: float) -> float:
        return field_of_view(petroR90_r, self.service.margin)

    def close(self) -> None:
        """Seal the last TAR archive."""
        self.archive.close()


def _place(galaxy: np.record) -> tuple[float, float, float]:
    """Position (degrees) and petroR90_r (arcsec) of a galaxy."""
    return float(galaxy["ra"]), float(galaxy["dec"]), float(galaxy["petroR90_r"])
