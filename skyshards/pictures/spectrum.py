"""Draw a spectrum: flux over wavelength, by Pillow alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

HEIGHT, WIDTH, MARGIN = 240, 360, 8
"""Size of a spectrum's picture that is not shrunk, and space around the line, in pixels."""
PAPER, INK, WORDS, MARK = (16, 16, 24), (240, 228, 66), (200, 200, 200), (70, 84, 108)
FONT, LEGIBLE = 11, 240
"""Size of the letters, and the width below which there are none, in pixels."""
SCALE = 3
"""Lines are drawn this much larger and shrunk, so that they are smooth."""


def draw_spectrum(
    flux: np.ndarray,
    wavelength: np.ndarray,
    size: int | None = None,
    unit: str = "",
    marks: Mapping[str, float] | None = None,
) -> np.ndarray | None:
    """Draw a spectrum as a line; the fluxes of each pixel's width are averaged.

    Parameters
    ----------
    flux, wavelength : array [n]
        Values that are not finite interrupt the line.
    size : int, optional
        Width of the picture, at most `WIDTH`.
    unit : str
        Unit of the wavelength, for the labels of its ends.
    marks : mapping of str to float, optional
        Names and wavelengths of spectral lines to mark; those outside are left out.

    Returns
    -------
    uint8 array [height, width, 3]
        None if there are fewer than two values.
    """
    flux, wavelength = (np.asarray(values, np.float64) for values in (flux, wavelength))
    if flux.shape != wavelength.shape or flux.ndim != 1:
        raise ValueError(f"expected as many fluxes as wavelengths, found {flux.shape} and {wavelength.shape}")
    there = np.isfinite(flux) & np.isfinite(wavelength)
    if there.sum() < 2:
        return None
    width = WIDTH if size is None else min(size, WIDTH)
    height = max(1, round(width * HEIGHT / WIDTH))
    ends = wavelength[there].min(), wavelength[there].max()
    flux = np.where(there, np.clip(flux, *_range(flux[there])), np.nan)
    x = _placed(wavelength, *ends, width)
    if len(x) > 2 * width:
        x, flux = _averaged(x[there], flux[there], width)
    inside = {name: at for name, at in (marks or {}).items() if ends[0] <= at <= ends[1]}
    places = dict(zip(inside, _placed(np.array(list(inside.values())), *ends, width).tolist(), strict=True))
    top = 2 * FONT if width >= LEGIBLE and places else 0
    y = height - 1 - _placed(flux, np.nanmin(flux), np.nanmax(flux), height - top)
    paper = Image.new("RGB", (width * SCALE, height * SCALE), PAPER)
    pen = ImageDraw.Draw(paper)
    for place in places.values():
        pen.line([(place * SCALE, top * SCALE), (place * SCALE, height * SCALE)], MARK, SCALE)
    for first, last in _runs(np.isfinite(x) & np.isfinite(flux)):
        points = np.stack([x[first:last], y[first:last]], axis=1) * SCALE
        pen.line([tuple(point) for point in points.tolist()], INK, SCALE)
    paper = paper.resize((width, height), Image.Resampling.LANCZOS)
    if width >= LEGIBLE:
        pen, font = ImageDraw.Draw(paper), ImageFont.load_default(FONT)
        pen.text((3, height - 3), f"{ends[0]:.5g}", WORDS, font, anchor="lb")
        pen.text((width - 3, height - 3), f"{ends[1]:.5g} {unit}".strip(), WORDS, font, anchor="rb")
        _name(pen, places, font)
    return np.asarray(paper)


def _name(
    pen: ImageDraw.ImageDraw, places: Mapping[str, float], font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    """Write the names of marks above them, in two lines, where there is room."""
    free = [0.0, 0.0]
    for name, place in sorted(places.items(), key=lambda pair: pair[1]):
        half = pen.textlength(name, font) / 2 + 1
        line = next((number for number, start in enumerate(free) if place - half >= start), None)
        if line is not None:
            pen.text((place, 2 + FONT * line), name, WORDS, font, anchor="mt")
            free[line] = place + half


def _range(flux: np.ndarray) -> tuple[float, float]:
    """Return the lowest and highest flux, without regard to single bad pixels: of the medians of three neighbours."""
    if len(flux) < 3:
        return flux.min(), flux.max()
    medians = np.median(np.stack([flux[:-2], flux[1:-1], flux[2:]]), axis=0)
    return medians.min(), medians.max()


def _averaged(x: np.ndarray, flux: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle and the mean flux of each pixel along x; NaN where there is none."""
    pixel = x.astype(int)
    counts = np.bincount(pixel, minlength=width)
    sums = np.bincount(pixel, flux, minlength=width)
    return np.arange(width) + 0.5, np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _placed(values: np.ndarray, low: float, high: float, length: int) -> np.ndarray:
    """Return values as positions between the margins of a side of this length."""
    share = (values - low) / (high - low) if high > low else np.full(values.shape, 0.5)
    margin = min(MARGIN, length / 8)
    return margin + share * (length - 1 - 2 * margin)


def _runs(there: np.ndarray) -> list[tuple[int, int]]:
    """Return where runs of True start and end."""
    edges = np.flatnonzero(np.diff(there.astype(np.int8), prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
