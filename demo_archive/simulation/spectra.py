"""Optical spectra of simulated galaxies, as the SDSS and BOSS spectrographs would record them.

Ellipticals have old stars: red, with a 4000 Angstrom break and absorption lines. Spirals have young stars as well, and
emission lines of ionised gas. Wavelengths are in vacuum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demo_archive.simulation.galaxies import Galaxy

LIGHT = 299792.458
"""Speed of light, km/s."""
PIXEL = 1e-4
"""Width of a pixel in log10 of the wavelength (69 km/s), in both surveys."""
R_BAND = 6165.0
"""Effective wavelength of SDSS's r band, Angstrom."""

ABSORPTION = {
    3934.78: (7.5, 5.0),  # Ca II K
    3969.59: (6.5, 5.0),  # Ca II H
    4305.61: (6.0, 11.0),  # G band
    5176.63: (5.5, 10.0),  # Mg I b, three lines
    5271.0: (2.5, 6.0),  # Fe I
    5336.0: (2.2, 6.0),  # Fe I
    5895.6: (3.8, 4.0),  # Na I D
    8500.36: (1.5, 3.0),  # Ca II
    8544.44: (3.7, 3.0),  # Ca II
    8664.52: (3.0, 3.0),  # Ca II
}
"""Equivalent width and intrinsic width (sigma), Angstrom, of the lines of old stars."""
BALMER = {3971.19: (5.0, 5.0), 4102.89: (5.0, 5.0), 4341.68: (4.0, 5.0), 4862.68: (3.0, 5.0), 6564.61: (1.5, 5.0)}
"""The same for young stars."""
EMISSION = {
    "[O_II] 3725": (3727.0917, 0.45),
    "[O_II] 3727": (3729.8754, 0.60),
    "[Ne_III] 3868": (3869.8567, 0.04),
    "H_epsilon": (3971.1232, 0.16),
    "H_delta": (4102.8916, 0.26),
    "H_gamma": (4341.6843, 0.47),
    "H_beta": (4862.6830, 1.0),
    "[O_III] 4959": (4960.2949, 0.17),
    "[O_III] 5007": (5008.2397, 0.51),
    "[O_I] 6300": (6302.0464, 0.13),
    "[N_II] 6548": (6549.8590, 0.42),
    "H_alpha": (6564.6140, 3.6),
    "[N_II] 6583": (6585.2685, 1.26),
    "[S_II] 6716": (6718.2943, 0.72),
    "[S_II] 6730": (6732.6782, 0.54),
}
"""Wavelength and strength relative to H-beta of the lines of a star-forming galaxy, with some dust (Balmer decrement
3.6); names and wavelengths are those of spZline files."""
SKY_LINES = (5578.9, 6302.1, 6865.8, 7278.3, 7342.9, 7752.6, 7796.3, 7823.3, 7915.8, 7966.8, 7995.7, 8346.9, 8401.5,
             8432.2, 8467.5, 8829.5, 8888.3, 8922.1, 8960.1)  # fmt: skip
"""The strongest lines of the night sky."""


@dataclass(frozen=True)
class Instrument:
    """A spectrograph: wavelengths of its first and last pixel (Angstrom), and radius of its fibres (arcsec)."""

    first: float
    last: float
    radius: float


SDSS = Instrument(3805.0, 9215.0, 1.5)
BOSS = Instrument(3575.0, 10350.0, 1.0)
"""York et al. 2000, AJ 120, 1579, and Smee et al. 2013, AJ 146, 32."""


@dataclass(frozen=True)
class Spectrum:
    """A recorded spectrum, and what it was made from.

    `pixels` has the columns of COADD: flux, model and sky in 1e-17 erg/s/cm2/Angstrom. `areas` are the fluxes of the
    emission lines in 1e-17 erg/s/cm2 by name; `dispersion` is that of the stars, km/s.
    """

    pixels: dict[str, np.ndarray]
    areas: dict[str, float]
    dispersion: float
    young: float


def instrument_of(galaxy: Galaxy) -> Instrument:
    return BOSS if galaxy.boss else SDSS


def spectrum(galaxy: Galaxy) -> Spectrum:
    """Record the spectrum of a galaxy, the same every time."""
    instrument, rng = instrument_of(galaxy), galaxy.rng(31)
    start = round(np.log10(instrument.first) / PIXEL) + int(rng.integers(-4, 20))
    loglam = (start + np.arange(round(np.log10(instrument.last) / PIXEL) + int(rng.integers(-20, 5)) - start)) * PIXEL
    wavelength = 10**loglam
    rest = wavelength / (1 + galaxy.redshift)
    dispersion = float(rng.uniform(60, 120) if galaxy.spiral else rng.uniform(150, 270))
    young = float(rng.uniform(0.15, 0.55) * (0.5 + galaxy.contrast / 2) if galaxy.spiral else rng.uniform(0, 0.03))
    stars = (1 - young) * _old(rest, dispersion) + young * _young(rest, dispersion)
    stars *= fibre_flux(galaxy, instrument) / np.interp(R_BAND, wavelength, stars)
    resolution = 0.95 + 0.25 * ((wavelength - wavelength[0]) / np.ptp(wavelength) - 0.5)  # sigma in pixels
    gas, areas = np.zeros(len(rest)), {}
    if galaxy.spiral:
        width = 70.0 * young  # equivalent width of H-alpha, Angstrom
        at_h_alpha = EMISSION["H_alpha"][0] * (1 + galaxy.redshift)
        h_beta = width * (1 + galaxy.redshift) * np.interp(at_h_alpha, wavelength, stars) / EMISSION["H_alpha"][1]
        areas = {name: float(strength * h_beta) for name, (_, strength) in EMISSION.items()}
        for name, (line, _) in EMISSION.items():
            centre = line * (1 + galaxy.redshift)
            sigma = centre * np.hypot(0.8 * dispersion, 69 * np.interp(centre, wavelength, resolution)) / LIGHT
            gas += areas[name] * _gaussian(wavelength, centre, sigma)
    model, sky = stars + gas, _sky(wavelength)
    ivar = 40.0 * _throughput(wavelength, instrument) * (instrument.radius / 1.5) ** 2 / (model + sky)
    flux = model + rng.normal(size=len(model)) / np.sqrt(ivar)
    and_mask, or_mask = _masks(sky, rng)
    ivar[and_mask != 0] = 0
    pixels = {
        "flux": flux, "loglam": loglam, "ivar": ivar, "and_mask": and_mask, "or_mask": or_mask, "wdisp": resolution,
        "sky": sky, "model": model,
    }  # fmt: skip
    return Spectrum(pixels, areas, dispersion, young)


def fibre_flux(galaxy: Galaxy, instrument: Instrument) -> float:
    """Flux in r through the fibre, 1e-17 erg/s/cm2/Angstrom: half of the light is within `petroR50_r`."""
    share = 1 - 0.5 ** ((instrument.radius / galaxy.petroR50_r) ** 1.2)
    per_hertz = 3631e-23 * 10 ** (-0.4 * galaxy.modelMag_r) * share
    return float(per_hertz * LIGHT * 1e13 / R_BAND**2 / 1e-17)


def _old(rest: np.ndarray, dispersion: float) -> np.ndarray:
    """Old stars; flux 1 at 6000 Angstrom, but for lines."""
    blanketing = 1 - 0.36 / (1 + np.exp((rest - 3985) / 25)) - 0.10 / (1 + np.exp((rest - 5200) / 150))
    return _black_body(rest, 4600) * blanketing * _absorbed(rest, ABSORPTION, dispersion)


def _young(rest: np.ndarray, dispersion: float) -> np.ndarray:
    jump = 1 - 0.30 / (1 + np.exp((rest - 3700) / 25))
    return _black_body(rest, 9500) * jump * _absorbed(rest, BALMER, dispersion)


def _black_body(wavelength: np.ndarray, kelvin: float) -> np.ndarray:
    def planck(at):
        return at**-5.0 / np.expm1(1.4388e8 / (at * kelvin))

    return planck(wavelength) / planck(6000.0)


def _absorbed(rest: np.ndarray, lines: dict[float, tuple[float, float]], dispersion: float) -> np.ndarray:
    light = np.ones(len(rest))
    for line, (width, sigma) in lines.items():
        light -= width * _gaussian(rest, line, np.hypot(sigma, line * dispersion / LIGHT))
    return light


def _gaussian(x: np.ndarray, centre: float, sigma: float) -> np.ndarray:
    """Gaussian of unit area."""
    return np.exp(-0.5 * ((x - centre) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))


def _sky(wavelength: np.ndarray) -> np.ndarray:
    """The night sky through a fibre: a faint continuum that rises to the red, and lines."""
    sky = 5 + 3 * (wavelength / 8000) ** 2
    for line in SKY_LINES:
        sky += 150 * (line / 8000) ** 2 * _gaussian(wavelength, line, 1.8)
    return sky


def _throughput(wavelength: np.ndarray, instrument: Instrument) -> np.ndarray:
    """Efficiency relative to its maximum: low at both ends, with a dip where the beam is split."""
    blue = 1 / (1 + np.exp((instrument.first + 250 - wavelength) / 200))
    red = 1 / (1 + np.exp((wavelength - instrument.last + 500) / 350))
    return np.clip(blue * red * (1 - 0.25 * np.exp(-(((wavelength - 6050) / 150) ** 2))), 0.03, None)


def _masks(sky: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Flags that all exposures have, and that any has (SDSS's bitmask SPPIXMASK)."""
    full_reject, bright_sky, cosmic_ray = 1 << 18, 1 << 23, 1 << 26
    bad = np.where(rng.random(len(sky)) < 0.001, full_reject, 0)
    any_has = bad | np.where(sky > 30, bright_sky, 0) | np.where(rng.random(len(sky)) < 0.01, cosmic_ray, 0)
    return bad, any_has
