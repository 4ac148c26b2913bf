"""Colour images of the simulated galaxies as a deep survey takes them: the Legacy Surveys, for Galaxy Zoo DECaLS.

Bands are g, r, z; fluxes are nanomaggies in a camera pixel of `PIXEL` arcsec.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from demo_archive.simulation.disks import light
from demo_archive.simulation.galaxies import Galaxy
from demo_archive.simulation.looks import look
from demo_archive.simulation.render import FOREGROUND_RADIUS, Blob, add_blob, foreground

PIXEL = 0.262
"""Pixel of the camera, arcsec (Dey et al. 2019, AJ 157, 168)."""
SEEING = 1.2
"""Seeing (FWHM), arcsec: the median of DECaLS in r (Dey et al. 2019)."""
NOISE = (0.0036, 0.0054, 0.0125)
"""Typical noise in g, r, z, nanomaggies in a pixel, for the spread of sky levels in 24 images of Galaxy Zoo DECaLS."""
SOFTENING = (0.008, 0.014, 0.019)
"""Flux in g, r, z at which the colour scale turns from linear to logarithmic, nanomaggies in a pixel (Galaxy Zoo)."""
BLACK, WHITE = math.asinh(-0.5), math.asinh(300)
"""Ends of the colour scale, at these multiples of `SOFTENING` (Galaxy Zoo)."""
OLD, YOUNG = (0.80, 0.66), (0.26, 0.12)
"""Colours g-r and r-z of old and young stars."""
FAINT_DENSITY = 35
"""Faint galaxies in a square arcminute, from magnitude 20 to 24.8 in r."""


def bands(galaxy: Galaxy, size: int, scale: float) -> np.ndarray:
    """Render a galaxy and its surroundings on the camera's pixels, with noise.

    Parameters
    ----------
    galaxy : Galaxy
    size : int
        Width and height of the image wanted, in pixels of `scale` arcsec; the bands cover it and at most 2 pixels more.

    Returns
    -------
    float32 array, `[3, N, N]`
        Fluxes in g, r, z, nanomaggies in a pixel, with the galaxy's centre in the middle.
    """
    length = math.ceil(size * scale / PIXEL) + 1
    centre = (length - 1) / 2
    offset = (np.arange(length, dtype=np.float32) - np.float32(centre)) * np.float32(PIXEL)
    sigma = SEEING / 2.355 / PIXEL
    parts = light(galaxy, look(galaxy), offset[None, :], offset[:, None])
    old, young = (gaussian_filter(part, sigma, truncate=3.0) for part in parts)
    fluxes = np.multiply.outer(_tint(*OLD), old) + np.multiply.outer(_tint(*YOUNG), young)
    for blob in (*_near(galaxy), *_faint(galaxy, length * PIXEL / 2)):
        add_blob(fluxes, blob, centre, centre, PIXEL, reach=7 if blob.star else 4)
    fluxes *= np.float32(PIXEL**2)
    rng = galaxy.rng(36)
    depth = math.exp(rng.normal(0, 0.2))
    for band, noise, soft in zip(fluxes, NOISE, SOFTENING, strict=True):
        band += rng.standard_normal(band.shape, np.float32) * np.float32(noise * depth)
        band += np.float32(rng.normal(-0.08, 0.04) * soft)
    return fluxes


def _tint(g_r: float, r_z: float) -> np.ndarray:
    """Flux in g, r, z of a source with these colours and unit flux in r."""
    return np.array([10 ** (-0.4 * g_r), 1, 10 ** (0.4 * r_z)], np.float32)


def _near(galaxy: Galaxy) -> list[Blob]:
    """Stars and galaxies around a galaxy that shallow surveys show, too, in these bands; r-z is 1.8 r-i."""
    return [
        Blob(each.x, each.y, (g, r, r * (i / r) ** 1.8), each.fwhm * SEEING / 1.3, each.star)
        for each in foreground(galaxy)
        for g, r, i in [each.flux]
    ]


def _faint(galaxy: Galaxy, half: float) -> list[Blob]:
    """Draw the faint galaxies in a square of this half width, arcsec; none over the galaxy's core."""
    rng = galaxy.rng(35)
    count = rng.poisson(FAINT_DENSITY * (2 * FOREGROUND_RADIUS / 60) ** 2)
    x, y = rng.uniform(-FOREGROUND_RADIUS, FOREGROUND_RADIUS, (2, count))
    # Counts grow by 10**0.33 a magnitude.
    r = 24.8 + np.log10(rng.uniform(10 ** (0.33 * (20 - 24.8)), 1, count)) / 0.33
    g_r, r_z = rng.normal(0.8, 0.4, count), rng.normal(0.75, 0.4, count)
    fwhm, axis_ratio = SEEING * rng.uniform(1.0, 1.7, count), rng.uniform(0.4, 1, count)
    angle = rng.uniform(0, np.pi, count)
    flux = 10 ** (0.4 * (22.5 - r))
    shown = (np.maximum(abs(x), abs(y)) < half + 3) & (np.hypot(x, y) > 0.4 * galaxy.petroR90_r)
    return [
        Blob(x[n], y[n], tuple(flux[n] * _tint(g_r[n], r_z[n])), fwhm[n], False, axis_ratio[n], angle[n])
        for n in np.flatnonzero(shown)
    ]


def colour(fluxes: np.ndarray) -> np.ndarray:
    """Combine the bands g, r, z into a colour image as Galaxy Zoo DECaLS does: uint8 `[H, W, 3]`.

    Each band has its own logarithmic scale, so that bright pixels turn white. Pixels of which one colour dominates, as
    in a noisy sky, are mixed with their grey level (after the code of https://github.com/zooniverse/decals).
    """
    soft = np.array(SOFTENING, np.float32)[:, None, None]
    level = (np.arcsinh(fluxes / soft) - np.float32(BLACK)) / np.float32(WHITE - BLACK)
    grey = level.mean(axis=0)
    dominance = level.max(axis=0) / (np.float32(2.5) * np.where(np.abs(grey) < 1e-6, np.float32(1), grey))
    own = np.sin((1 - np.minimum(dominance, 1)) * np.float32(np.pi / 2))
    mixed = level * own + grey * (1 - own) + grey * (1 - own) ** 2 * level
    return (np.clip(mixed[::-1], 0, 1) * np.float32(255)).astype(np.uint8).transpose(1, 2, 0)


def deep_image(galaxy: Galaxy, size: int, scale: float) -> np.ndarray:
    """Render a galaxy's colour image: uint8 `[size, size, 3]` of `scale` arcsec per pixel, resampled."""
    native = colour(bands(galaxy, size, scale))
    width = size * scale / PIXEL
    edge = (len(native) - width) / 2
    box = (edge, edge, edge + width, edge + width)
    return np.asarray(Image.fromarray(native).resize((size, size), Image.Resampling.LANCZOS, box=box))
