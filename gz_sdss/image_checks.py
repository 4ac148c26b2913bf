"""Check that images decode whole, have the requested size and are not blank; and convert FITS images to RGB."""

from __future__ import annotations

import io

import numpy as np
from astropy.io import fits
from PIL import Image, UnidentifiedImageError

from skyshards.errors import BrokenAnswer, FetchError
from skyshards.files import inflated
from skyshards.fits_sums import check_sums
from skyshards.format.images import decode_image, described
from skyshards.text import counted

BLANK_RANGE = 3
"""Maximum range of grey levels, in every channel, of a blank image. Sky noise alone spans more."""
JPEG_QUALITY = 95
MAX_FITS_BYTES = 1 << 30
"""Maximum inflated size of a compressed FITS file, bytes."""
BORDER = 4
"""Width of a cutout's border that is taken as sky, pixels."""


class BrokenImage(BrokenAnswer):
    """An incomplete image; requesting it again may help."""


def open_jpeg(content: bytes) -> np.ndarray:
    """Decode a JPEG to uint8 `[height, width, 3]`, as the readers of the dataset will.

    Raises
    ------
    FetchError
        It is not RGB.
    BrokenImage
        It is not a JPEG, or incomplete.
    """
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            mode = image.mode
        if mode == "RGB":
            return decode_image(content)
    except UnidentifiedImageError:
        raise BrokenImage(f"expected a JPEG, found {described(content)}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BrokenImage(f"a JPEG of {counted(len(content), 'bytes')} that cannot be decoded: {error}") from error
    raise FetchError(f"expected a JPEG in RGB, found mode {mode}")


def check_jpeg(content: bytes, width: int, height: int) -> None:
    """Check that a JPEG decodes whole, is RGB, has the requested size (pixels), and is not blank.

    Raises
    ------
    FetchError
        It fails a check; `BrokenImage` if another try may help.
    """
    pixels = open_jpeg(content)
    if pixels.shape != (height, width, 3):
        raise FetchError(f"expected an image of {width} x {height} pixels, found {pixels.shape[1]} x {pixels.shape[0]}")
    check_not_blank(pixels)


def is_whole(content: bytes, format: str, size: int) -> bool:
    """Whether an image passes all checks for a format ("jpg" or "fits") and size (pixels)."""
    try:
        if format == "jpg":
            check_jpeg(content, size, size)
            return True
        return open_fits(content)[0].shape[-2:] == (size, size)
    except FetchError:
        return False


def check_not_blank(pixels: np.ndarray) -> None:
    """Raise `FetchError` for an image (uint8 `[height, width, 3]`) of one colour: a position outside the survey."""
    channels = np.ascontiguousarray(pixels.reshape(-1, pixels.shape[-1]).T)  # nine times as fast as along the last axis
    if np.ptp(channels, axis=1).max() <= BLANK_RANGE:
        colour = tuple(int(level) for level in pixels[0, 0])
        raise FetchError(f"a blank image, all of it {colour}: the position is outside the survey")


def encode_jpeg(pixels: np.ndarray) -> bytes:
    """Encode uint8 `[height, width, 3]` as a JPEG (quality 95, full colour resolution)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def open_fits(content: bytes) -> tuple[np.ndarray, fits.Header]:
    """Read the first image of a FITS file: float32 `[height, width]` or `[planes, height, width]`, and its header.

    The file may be compressed by gzip or bzip2.

    Raises
    ------
    BrokenImage
        It is not a FITS file, is incomplete, or has no image.
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
    except Exception as error:  # astropy raises many types for bytes that are not FITS
        raise BrokenImage(f"a FITS file of {counted(len(content), 'bytes')} that cannot be read: {error}") from error
    raise BrokenImage("a FITS file without an image in it")


def encode_fits(pixels: np.ndarray, header: fits.Header | None = None) -> bytes:
    """Encode one image, float32 `[height, width]`, as a FITS file, with the cards of the header."""
    buffer = io.BytesIO()
    hdu = fits.PrimaryHDU(pixels.astype(np.float32), header)
    for sum_of_another in ("CHECKSUM", "DATASUM"):  # astropy's own contain the time of day
        hdu.header.remove(sum_of_another, ignore_missing=True)
    hdu.writeto(buffer)
    return buffer.getvalue()


def lupton_rgb(pixels: np.ndarray) -> np.ndarray:
    """Convert FITS pixels to uint8 `[height, width, 3]` by the stretch of Lupton et al. (2004, PASP 116, 133).

    Row 0 of the result is its top, the last row of the FITS image. Black is the median of the border; the stretch is
    ten times the noise there, or a fortieth of the brightest part's height above it, whichever is greater. Pixels
    without a value get the median of all.

    Parameters
    ----------
    pixels : float `[height, width]` or `[planes, height, width]`
        One plane gives a grey image. Of several, in order of wavelength, the last is red and the first blue.
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
