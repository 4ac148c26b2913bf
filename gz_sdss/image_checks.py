"""What counts as an image: decoded whole, of the size asked for, and not blank; and FITS images made into pictures."""

from __future__ import annotations

import io

import numpy as np
from astropy.io import fits
from PIL import Image, UnidentifiedImageError

from skyshards.errors import BrokenAnswer, FetchError
from skyshards.files import inflated
from skyshards.fits_sums import check_sums
from skyshards.format.images import decode_image, described

BLANK_RANGE = 3
"""A picture none of whose channels spans more grey levels than this is blank. The noise of the sky alone spans more."""
JPEG_QUALITY = 95
MAX_FITS_BYTES = 1 << 30
"""A compressed FITS file that inflates to more is refused."""
BORDER = 4
"""Width of the border of a cutout that is taken for sky, pixels."""


class BrokenImage(BrokenAnswer):
    """An image that did not arrive whole, and may if it is asked for again."""


def open_jpeg(content: bytes) -> np.ndarray:
    """Decode a JPEG to uint8 `[height, width, 3]`, as the readers of the dataset will.

    Raises
    ------
    FetchError
        It is not RGB.
    BrokenImage
        It is no JPEG, or not all of one.
    """
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            mode = image.mode
        if mode == "RGB":
            return decode_image(content)
    except UnidentifiedImageError:
        raise BrokenImage(f"expected a JPEG, found {described(content)}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BrokenImage(f"a JPEG of {len(content)} bytes that cannot be decoded: {error}") from error
    raise FetchError(f"expected a JPEG in RGB, found mode {mode}")


def check_jpeg(content: bytes, width: int, height: int) -> None:
    """Accept a JPEG only if it decodes whole, is RGB, of the size asked for (pixels), and not blank.

    Raises
    ------
    FetchError
        Saying what is wrong with it; `BrokenImage` where another try may help.
    """
    pixels = open_jpeg(content)
    if pixels.shape != (height, width, 3):
        raise FetchError(f"expected an image of {width} x {height} pixels, found {pixels.shape[1]} x {pixels.shape[0]}")
    check_not_blank(pixels)


def check_not_blank(pixels: np.ndarray) -> None:
    """Raise `FetchError` for a picture (uint8 `[height, width, 3]`) of one colour: a place outside the survey."""
    channels = np.ascontiguousarray(pixels.reshape(-1, pixels.shape[-1]).T)  # nine times as fast as across the pixels
    if np.ptp(channels, axis=1).max() <= BLANK_RANGE:
        colour = tuple(int(level) for level in pixels[0, 0])
        raise FetchError(f"a blank image, all of it {colour}: the position is outside the survey")


def encode_jpeg(pixels: np.ndarray) -> bytes:
    """A JPEG (quality 95, full colour resolution) of uint8 `[height, width, 3]`."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def open_fits(content: bytes) -> tuple[np.ndarray, fits.Header]:
    """The first image of a FITS file: its pixels, float32 `[height, width]` or `[planes, height, width]`, and header.

    The file may be compressed by gzip or bzip2.

    Raises
    ------
    BrokenImage
        It is no FITS file, or not all of one, or has no image.
    """
    try:
        content = inflated(content, MAX_FITS_BYTES)
        with fits.open(io.BytesIO(content)) as file:
            for hdu in file:
                if not hdu.is_image or hdu.header.get("NAXIS", 0) < 2:
                    continue
                place = hdu.fileinfo()
                if place["datLoc"] + place["datSpan"] > len(content):
                    raise ValueError(f"its data should end at byte {place['datLoc'] + place['datSpan']}")
                check_sums(content, hdu.header, place)
                pixels = np.squeeze(hdu.data).astype(np.float32)
                if pixels.ndim in (2, 3):
                    return pixels, hdu.header.copy()
    except Exception as error:  # astropy raises many kinds for bytes that are not FITS
        raise BrokenImage(f"a FITS file of {len(content)} bytes that cannot be read: {error}") from error
    raise BrokenImage("a FITS file without an image in it")


def encode_fits(pixels: np.ndarray, header: fits.Header | None = None) -> bytes:
    """A FITS file with one image, float32 `[height, width]`, and what the header says of it."""
    buffer = io.BytesIO()
    hdu = fits.PrimaryHDU(pixels.astype(np.float32), header)
    for sum_of_another in ("CHECKSUM", "DATASUM"):  # astropy's own have the time of day in them
        hdu.header.remove(sum_of_another, ignore_missing=True)
    hdu.writeto(buffer)
    return buffer.getvalue()


def lupton_rgb(pixels: np.ndarray) -> np.ndarray:
    """FITS pixels as a picture: uint8 `[height, width, 3]`, by the stretch of Lupton et al. (2004, PASP 116, 133).

    Row 0 of the picture is its top, the last row of the FITS image. Black is the median of the border; the stretch is
    ten times the noise there, or a fortieth of the brightest part's height above it, whichever is more. A pixel without
    a value gets the median of all.

    Parameters
    ----------
    pixels : float `[height, width]` or `[planes, height, width]`
        One plane gives a grey picture. Of several, in the order of wavelength, the last is red, the first is blue.
    """
    from astropy.visualization import make_lupton_rgb  # imports matplotlib, which nothing else here needs

    planes = pixels[None] if pixels.ndim == 2 else pixels
    planes = planes[[-1, len(planes) // 2, 0]]
    planes = planes[:, ::-1].astype(float)
    there = np.isfinite(planes)
    planes[~there] = np.median(planes[there])
    border = np.ones(planes.shape[1:], bool)
    border[BORDER:-BORDER, BORDER:-BORDER] = False
    sky = np.median(planes[:, border], axis=1)
    noise = 1.4826 * float(np.median(np.abs(planes[:, border] - sky[:, None])))
    height = float(np.percentile(planes - sky[:, None, None], 99.8))
    return make_lupton_rgb(*planes, minimum=sky, stretch=max(10.0 * noise, height / 40.0) or 1.0, Q=8)
