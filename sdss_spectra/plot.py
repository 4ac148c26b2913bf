"""Plot SDSS spectra, with noise, the pipeline's model and the lines at the redshift. Needs matplotlib.

Rows may come from `skyshards.open` or from `load_dataset`, in any format that NumPy can read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sdss_spectra.lines import ABSORPTION, LINES
from sdss_spectra.sdss_spectra import CLASSES

try:
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
except ImportError as error:
    raise ImportError("sdss_spectra.plot needs matplotlib: pip install 'skyshards[notebooks]'") from error

SMOOTHED = 5
"""Pixels that are averaged, weighted by `ivar`."""


def plot_spectrum(row: Mapping[str, Any], ax: Axes | None = None, smooth: int = SMOOTHED) -> Axes:
    """Plot one spectrum: the smoothed flux, its noise, and the names of lines at the redshift.

    Parameters
    ----------
    row : mapping
        One row, with `spectrum` (`flux`, `ivar`, `loglam`) and `z`; `model`, `class`, `subclass` and `object_id`, if
        present, are shown as well.
    ax : Axes, optional
        By default, those of a new figure.
    smooth : int
        Number of pixels to average; 1 for none.

    Returns
    -------
    Axes
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(10, 3.5), layout="constrained")
    spectrum, z = row["spectrum"], float(row["z"])
    loglam, ivar = np.asarray(spectrum["loglam"], float), np.asarray(spectrum["ivar"], float)
    wavelength, flux = 10**loglam, smoothed(np.asarray(spectrum["flux"], float), ivar, smooth)
    ax.plot(wavelength, flux, color="#1f4e79", lw=0.7, label="flux")
    with np.errstate(divide="ignore"):
        ax.plot(wavelength, 1 / np.sqrt(ivar), color="#bbbbbb", lw=0.5, label="noise of a pixel", zorder=0)
    if "model" in spectrum:
        ax.plot(wavelength, np.asarray(spectrum["model"], float), color="#d1495b", lw=0.7, label="model")
    low, high = np.nanpercentile(flux, [0.2, 99.8])
    ax.set(xlim=(wavelength[0], wavelength[-1]), ylim=(min(0, low), 1.25 * max(high, np.nanmax(flux) * 0.8)))
    ends = [wavelength[0], wavelength[-1]]
    for number, (name, line) in enumerate(sorted(LINES.items(), key=lambda pair: pair[1])):
        at = line * (1 + z)
        if ends[0] < at < ends[1]:
            colour = "#8a5a00" if name in ABSORPTION else "#2e7d32"
            ax.axvline(at, color=colour, lw=0.6, ls=":", zorder=0)
            ax.text(at, 0.98 - 0.06 * (number % 2), name, color=colour, fontsize=8, ha="center", va="top",
                    transform=ax.get_xaxis_transform())  # fmt: skip
    ax.set(xlabel="wavelength, Angstrom", ylabel="flux, 1e-17 erg/s/cm²/Angstrom", title=_title(row, z))
    ax.legend(loc="lower right", fontsize=8, ncols=3)
    return ax


def smoothed(flux: np.ndarray, ivar: np.ndarray, pixels: int) -> np.ndarray:
    """Return the mean of neighbouring pixels, weighted by inverse variance; NaN where none is usable."""
    window = np.ones(pixels)
    weight = np.convolve(ivar, window, "same")
    with np.errstate(invalid="ignore"):
        return np.where(weight > 0, np.convolve(flux * ivar, window, "same") / weight, np.nan)


def _title(row: Mapping[str, Any], z: float) -> str:
    label = int(row["class"]) if "class" in row else -1
    name = CLASSES[label] if 0 <= label < len(CLASSES) else ""
    words = (str(row.get("object_id", "")), name, str(row.get("subclass", "")), f"z = {z:.4f}")
    return ", ".join(word for word in words if word)
