"""Rendering of simulated galaxies with foreground and noise, as bands or as colour pictures."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from demo_archive.simulation.galaxies import (
    NOISE_SCALE,
    PSF_FWHM,
    SKY_NOISE,
    Galaxy,
    arm_angle,
    disk_to_picture,
    surface_brightness,
)

BRIGHTEST = np.float32(62.0)
"""Grey levels per factor of e in brightness, in the logarithmic part of the scale of `colour`."""
FOREGROUND_RADIUS = 45.0
"""Maximum offset, in each axis, of stars and faint galaxies from a galaxy, arcsec."""

RESAMPLED = 0.6
"""How far the resampling of frames smears the noise (sigma), in pixels of the camera."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A source near the galaxy: offsets (column, row) and width in arcsec, flux in three bands in nanomaggies.

    `angle` is that of its long axis, in radians from increasing column towards increasing row.
    """

    x: float
    y: float
    flux: tuple[float, float, float]
    fwhm: float
    star: bool
    axis_ratio: float = 1.0
    angle: float = 0.0


def foreground(galaxy: Galaxy) -> list[Blob]:
    """Draw the stars and faint galaxies around a galaxy, the same in every picture; none over its core."""
    rng = galaxy.rng(1)
    blobs = []
    for star in [True] * rng.poisson(5) + [False] * rng.poisson(18):
        x, y = rng.uniform(-FOREGROUND_RADIUS, FOREGROUND_RADIUS, 2)
        magnitude = rng.uniform(15.5, 19.5) if star else rng.uniform(19.5, 22.5)
        # The stellar locus is narrow: the colours of a star are correlated.
        g_r = rng.uniform(0.2, 1.3)
        r_i = 0.05 + 0.4 * (g_r - 0.2) + rng.normal(0, 0.04)
        fwhm = PSF_FWHM if star else PSF_FWHM * rng.uniform(1.1, 2.0)
        if np.hypot(x, y) > 0.8 * galaxy.petroR90_r + 3:
            g, r, i = (10 ** (0.4 * (22.5 - m)) for m in (magnitude + g_r, magnitude, magnitude - r_i))
            blobs.append(Blob(x, y, (g, r, i), fwhm, star))
    return blobs


def knots(galaxy: Galaxy) -> list[Blob]:
    """Draw star-forming regions along the arms of a spiral."""
    if not galaxy.spiral:
        return []
    rng = galaxy.rng(2)
    count = int(30 * galaxy.contrast)
    radius = rng.uniform(max(galaxy.bar_length, 0.3 * galaxy.petroR90_r), galaxy.petroR90_r, count)
    angle = arm_angle(galaxy, radius, rng.integers(0, galaxy.arms, count)) + rng.normal(0, 0.12, count)
    x, y = disk_to_picture(galaxy, radius, angle)
    flux = 10 ** (0.4 * (22.5 - galaxy.modelMag_r)) * 0.004 * rng.exponential(1, count)
    widths = PSF_FWHM * rng.uniform(0.8, 1.3, count)
    return [
        Blob(*row[:2], (1.25 * row[2], row[2], 0.9 * row[2]), row[3], False)
        for row in zip(x, y, flux, widths, strict=True)
    ]


def _window(centre: float, half: float, length: int) -> slice:
    """Pixels within `half` of `centre` along an axis of `length`."""
    return slice(max(0, int(centre - half)), max(0, min(length, int(centre + half) + 2)))


def add_blob(bands: np.ndarray, blob: Blob, x0: float, y0: float, scale: float, reach: float = 7) -> None:
    """Add a blob (a Moffat profile with beta = 3) to the picture of a galaxy at column x0 and row y0.

    It is cut off at `reach` times its width.
    """
    column, row = x0 + blob.x / scale, y0 + blob.y / scale
    half = reach * blob.fwhm / scale
    rows, columns = _window(row, half, bands.shape[1]), _window(column, half, bands.shape[2])
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    core = blob.fwhm / (2 * np.sqrt(2 ** (1 / 3) - 1))
    x = (np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(column)) * np.float32(scale / core)
    y = (np.arange(rows.start, rows.stop, dtype=np.float32) - np.float32(row)) * np.float32(scale / core)
    square = 1 + x[None, :] ** 2 + y[:, None] ** 2
    if blob.axis_ratio < 1:
        off_axis = y[:, None] * np.float32(np.cos(blob.angle)) - x[None, :] * np.float32(np.sin(blob.angle))
        square += off_axis**2 * np.float32(blob.axis_ratio**-2 - 1)
    profile = square**-3 * np.float32(2 / (np.pi * core * core * blob.axis_ratio))
    bands[:, rows, columns] += np.asarray(blob.flux, np.float32)[:, None, None] * profile


def add_galaxy(bands: np.ndarray, galaxy: Galaxy, x0: float, y0: float, scale: float) -> None:
    """Add a galaxy and its surroundings to a picture.

    Parameters
    ----------
    bands : float32 array, `[3, H, W]`
        Surface brightness in g, r, i, nanomaggies per square arcsecond; changed in place.
    x0, y0 : float
        Column and row of the galaxy's centre, counted from 0 at the centre of the first pixel.
    scale : float
        Arcsec per pixel.
    """
    half = 6 * galaxy.petroR90_r / scale
    rows, columns = _window(y0, half, bands.shape[1]), _window(x0, half, bands.shape[2])
    if rows.start < rows.stop and columns.start < columns.stop:
        x = (np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(x0)) * np.float32(scale)
        y = (np.arange(rows.start, rows.stop, dtype=np.float32) - np.float32(y0)) * np.float32(scale)
        bands[:, rows, columns] += surface_brightness(galaxy, x[None, :], y[:, None])
    for blob in (*knots(galaxy), *foreground(galaxy)):
        add_blob(bands, blob, x0, y0, scale)


def add_noise(bands: np.ndarray, scale: float, rng: np.random.Generator) -> None:
    """Add sky noise in place: white in the camera's pixels, resampled if these are coarser than the picture's."""
    shape = bands.shape[1:]
    ratio = max(1.0, NOISE_SCALE / scale)
    coarse = tuple(int(np.ceil(length / ratio)) for length in shape)
    sigma = SKY_NOISE * NOISE_SCALE / max(scale, NOISE_SCALE)
    for band, depth in zip(bands, (0.8, 1.0, 1.5), strict=True):
        noise = rng.standard_normal(coarse, np.float32) * np.float32(sigma * depth)
        if coarse != shape:
            noise = np.asarray(Image.fromarray(noise).resize(shape[::-1], Image.Resampling.BICUBIC))
        band += noise


def picture(galaxy: Galaxy, size: int, scale: float) -> np.ndarray:
    """Render the colour picture that SDSS's service gives of a galaxy: uint8 `[size, size, 3]`, `scale` arcsec a pixel.

    Light and noise are those of the camera's pixels, blurred by the seeing and by the resampling of frames; the colour
    picture is then enlarged.
    """
    length = int(np.ceil(size * scale / NOISE_SCALE)) + 2
    centre = (length - 1) / 2
    offset = (np.arange(length, dtype=np.float32) - np.float32(centre)) * np.float32(NOISE_SCALE)
    light = surface_brightness(galaxy, offset[None, :], offset[:, None])
    bands = gaussian_filter(light, (0, *[PSF_FWHM / 2.355 / NOISE_SCALE] * 2))
    for blob in (*knots(galaxy), *foreground(galaxy)):
        add_blob(bands, blob, centre, centre, NOISE_SCALE)
    noise = np.zeros_like(bands)
    add_noise(noise, NOISE_SCALE, galaxy.rng(3))
    bands += gaussian_filter(noise, (0, RESAMPLED, RESAMPLED))
    edge = (length - size * scale / NOISE_SCALE) / 2
    box = (edge, edge, length - edge, length - edge)
    native = Image.fromarray(colour(bands, stretch=8.0))
    return np.asarray(native.resize((size, size), Image.Resampling.BICUBIC, box=box))


def as_jpeg(image: np.ndarray, quality: int = 90) -> np.ndarray:
    """Return a colour picture as it comes back from a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def colour(bands: np.ndarray, stretch: float = 4.0, q: float = 9.0) -> np.ndarray:
    """Combine the bands g, r, i into a colour picture, uint8 `[H, W, 3]`, after Lupton et al. (2004, PASP 116, 133).

    `stretch`, in the unit of the bands, is where the scale turns from linear to logarithmic; a larger `q` makes more of
    it logarithmic.
    """
    blue, green, red = bands[0] * np.float32(1.35), bands[1], bands[2] * np.float32(0.78)
    mean = np.maximum((blue + green + red) / 3, 1e-4)
    factor = np.arcsinh(q * mean / stretch) * (BRIGHTEST / mean)
    # A pixel that saturates in one colour keeps its hue.
    factor *= np.minimum(1, 255 / np.maximum(np.maximum(np.maximum(red, green), blue) * factor, 1))
    return np.stack([np.maximum(band * factor, 0).astype(np.uint8) for band in (red, green, blue)], axis=-1)
