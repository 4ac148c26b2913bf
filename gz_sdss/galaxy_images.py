"""The images of a build's galaxies: those that this folder or another one has, and the service of the others."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np

from gz_sdss.hips2fits import Hips2FitsSource, field_of_view
from gz_sdss.image_checks import is_whole
from gz_sdss.image_list import Cutout
from gz_sdss.image_tars import ImageArchive
from gz_sdss.sia import SIASource
from skyshards.errors import SourceError
from skyshards.pipeline.recipe import Served


@dataclass(frozen=True)
class GalaxyImages:
    """Images of galaxies, for one process and many threads.

    Parameters
    ----------
    archive : ImageArchive
        Images of this folder; downloaded ones are added to it.
    other : ImageArchive, optional
        Images of another dataset, used again.
    service : Hips2FitsSource or SIASource
        Where the others are downloaded.
    format : str
        "jpg" or "fits".
    size : int
        Width and height, pixels.
    margin : float
        Margin around a galaxy, as a fraction of 2 petroR90_r.
    release : str
        What the service serves images of: a release or collection. Its answers may tell more.
    """

    archive: ImageArchive
    other: ImageArchive | None
    service: Hips2FitsSource | SIASource
    format: str
    size: int
    margin: float
    release: str

    def address(self, galaxy: np.record) -> str | None:
        """Address that the service is asked at; None for an invalid position or radius, for which `fetch` raises."""
        with contextlib.suppress(SourceError):
            return self.service.query_url(*_place(galaxy))
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
                if cutout is None or cutout.is_of(ra, dec, field_of_view(radius, self.margin), self.size):
                    return archive
        return None

    def fetch(self, galaxy: np.record) -> Served:
        """Take a galaxy's image from an archive if it is there whole, or else download it; add it to this folder's."""
        objid, held = int(galaxy["objid"]), self.held_by(galaxy)
        content = held.get(objid) if held is not None else None
        # Checks of earlier versions were weaker.
        if held is None or content is None or not is_whole(content, self.format, self.size):
            ra, dec, radius = _place(galaxy)
            served = self.service.fetch_served(ra, dec, radius)
            release = ": ".join(filter(None, (self.release, served.release)))
            cutout = Cutout(ra, dec, field_of_view(radius, self.margin), served.url or "", release)
            self.archive.add(objid, served.content, cutout)
            return Served(served.content, served.url, release)
        known = held.cutout(objid)
        if held is not self.archive:
            self.archive.add(objid, content, known)
        if known is None:
            return Served(content, self.address(galaxy), self.release)
        return Served(content, known.url, known.release or self.release)

    def close(self) -> None:
        """Seal the last TAR archive."""
        self.archive.close()


def _place(galaxy: np.record) -> tuple[float, float, float]:
    """Position (degrees) and petroR90_r (arcsec) of a galaxy."""
    return float(galaxy["ra"]), float(galaxy["dec"]), float(galaxy["petroR90_r"])
