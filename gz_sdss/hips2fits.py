"""Cutouts of sky surveys from hips2fits, the service of the CDS (Boch et al. 2020, ASP Conf. 527, 121)."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from gz_sdss.image_checks import check_jpeg
from skyshards.errors import SourceError
from skyshards.fetch.client import Fetcher
from skyshards.fetch.mirrors import PoliteClient
from skyshards.pipeline.recipe import Served

HIPS2FITS_URL = "https://alasky.cds.unistra.fr/hips-image-services/hips2fits"
HIPS2FITS_URLS = (HIPS2FITS_URL, HIPS2FITS_URL.replace("alasky", "alaskybis"))
"""The service and its mirror."""
HIPS = "CDS/P/SDSS9/color"
SIZE = 64
"""Width and height of a cutout, pixels."""
MARGIN = 0.25
"""Margin of a cutout, as a fraction of 2 petroR90_r."""
RATE = 5.0
"""Requests per second; higher rates got addresses blocked."""
MAX_PIXELS = 50_000_000
"""The service's limit on width times height."""

session = Fetcher().retrying_session()
"""Session for custom requests, with time-outs and retries."""


def field_of_view(petroR90_r: float, margin: float = MARGIN) -> float:
    """Width of a galaxy's cutout, degrees: 2 petroR90_r (1 + margin) / 3600, for a radius in arcsec."""
    return 2.0 * petroR90_r * (1.0 + margin) / 3600.0


def Hips2Fits_access(
    ra: float,
    dec: float,
    petroR90_r: float,
    width: int = SIZE,
    height: int = SIZE,
    hips: str = HIPS,
    *,
    margin: float = MARGIN,
    hips2fits_url: str = HIPS2FITS_URL,
) -> str:
    """Build the URL of one galaxy's cutout, in gnomonic projection, as JPEG.

    Parameters
    ----------
    ra, dec : float
        Centre, ICRS, degrees.
    petroR90_r : float
        Radius of 90 % of the Petrosian flux in r, arcsec; the cutout is 2 (1 + margin) times as wide.
    width, height : int
        Pixels.
    hips : str
        Identifier of the survey; `gz_sdss.surveys.find_survey` finds it by name.
    margin : float
        Margin around the galaxy, as a fraction of 2 petroR90_r.
    hips2fits_url : str
        URL of the service.

    Raises
    ------
    SourceError
        An invalid position or radius, or a size that the service refuses (more than 50 million pixels).
    """
    ra, dec, petroR90_r = float(ra), float(dec), float(petroR90_r)
    if not (math.isfinite(ra) and -90.0 <= dec <= 90.0):
        raise SourceError(f"expected a position in degrees, found ra={ra}, dec={dec}")
    if not (math.isfinite(petroR90_r) and petroR90_r > 0):
        raise SourceError(f"expected a petroR90_r above 0 arcsec, found {petroR90_r}")
    if not (width > 0 and height > 0 and width * height <= MAX_PIXELS):
        raise SourceError(f"expected 1 to {MAX_PIXELS:,} pixels, found {width} x {height}")
    size = f"width={width}&height={height}&fov={field_of_view(petroR90_r, margin)}&projection=TAN"
    return f"{hips2fits_url}?hips={quote(hips)}&{size}&coordsys=icrs&ra={ra}&dec={dec}&format=jpg"


@dataclass(frozen=True)
class Hips2FitsSource:
    """Source of galaxy cutouts of a survey, like `gz_sdss.sia.SIASource`: `urls` are the service and its mirrors."""

    urls: Sequence[str]
    hips: str
    client: PoliteClient
    size: int = SIZE
    margin: float = MARGIN

    def query_url(self, ra: float, dec: float, petroR90_r: float) -> str:
        """Address that is asked first. Raises `SourceError` for an invalid position or radius."""
        shown = (self.size, self.size, self.hips)
        return Hips2Fits_access(ra, dec, petroR90_r, *shown, margin=self.margin, hips2fits_url=self.urls[0])

    def fetch_served(self, ra: float, dec: float, petroR90_r: float) -> Served:
        """Download one galaxy's cutout, as `download_served`."""
        content, url = download_served(
            *(ra, dec, petroR90_r),
            size=self.size,
            margin=self.margin,
            hips=self.hips,
            hips2fits_urls=self.urls,
            client=self.client,
        )
        return Served(content, url)


@functools.cache
def _shared_client() -> PoliteClient:
    return PoliteClient(RATE)


def download_with_retries(
    ra: float,
    dec: float,
    petroR90_r: float,
    max_retries: int = 5,
    delay: float = 2,
    *,
    size: int = SIZE,
    margin: float = MARGIN,
    hips: str = HIPS,
    hips2fits_urls: Sequence[str] = HIPS2FITS_URLS,
    client: PoliteClient | None = None,
) -> bytes:
    """Download one galaxy's cutout; see `download_served`, which also tells the address that served it."""
    shown = {"size": size, "margin": margin, "hips": hips, "hips2fits_urls": hips2fits_urls, "client": client}
    return download_served(ra, dec, petroR90_r, max_retries, delay, **shown)[0]  # type: ignore[arg-type]


def download_served(
    ra: float,
    dec: float,
    petroR90_r: float,
    max_retries: int = 5,
    delay: float = 2,
    *,
    size: int = SIZE,
    margin: float = MARGIN,
    hips: str = HIPS,
    hips2fits_urls: Sequence[str] = HIPS2FITS_URLS,
    client: PoliteClient | None = None,
) -> tuple[bytes, str]:
    """Download one galaxy's cutout: a JPEG of `size` x `size` pixels, checked to be whole, RGB and not blank.

    Parameters
    ----------
    ra, dec, petroR90_r : float
        As in `Hips2Fits_access`: degrees, degrees, arcsec.
    max_retries : int
        Maximum number of requests to each service. Retried are 429, 500, 502, 503 and 504, resets, time-outs and
        broken images.
    delay : float
        Seconds before the second try, doubled for each further one; a `Retry-After` overrides it.
    size : int
        Width and height, pixels.
    margin, hips
        As in `Hips2Fits_access`.
    hips2fits_urls : sequence of str
        URLs of the service and its mirrors, which are tried when it is down.
    client : PoliteClient, optional
        Client with the rate limit and sessions; by default, one for the whole process at 5 requests per second.

    Returns
    -------
    bytes, str
        The JPEG, and the address that served it.

    Raises
    ------
    FetchError
        The download failed; the message has the URL, and the service's own message if any.
    SourceError
        An invalid position or radius.
    """
    urls = [
        Hips2Fits_access(ra, dec, petroR90_r, size, size, hips, margin=margin, hips2fits_url=url)
        for url in hips2fits_urls
    ]
    check = functools.partial(check_jpeg, width=size, height=size)
    max_bytes = size * size * 16 + (1 << 16)
    return (client or _shared_client()).get_served(urls, check, max_retries, delay, max_bytes)
