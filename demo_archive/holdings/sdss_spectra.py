"""Spectra of simulated galaxies as SDSS's "lite" files: HDUs PRIMARY, COADD, SPECOBJ (or BOSS's SPALL) and SPZLINE.

Data model: https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec.html. The real HDU 2 has
more columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from demo_archive.simulation.fits_bytes import image_hdu, table_hdu
from demo_archive.simulation.galaxies import Galaxy
from demo_archive.simulation.spectra import EMISSION, LIGHT, PIXEL, Spectrum, spectrum

REDUX = {False: "sdss/spectro/redux/26", True: "eboss/spectro/redux/v5_13_2"}
"""Folders of the reductions of SDSS-I and II, and of BOSS."""
COADD = {name: ">i4" if name.endswith("mask") else ">f4" for name in
         ("flux", "loglam", "ivar", "and_mask", "or_mask", "wdisp", "sky", "model")}  # fmt: skip
_VECTORS = {">5f4": (">f4", 5)}
Z_ERR = 1.5e-5
"""Typical error of a redshift of SDSS's galaxies."""


def file_path(galaxy: Galaxy) -> str:
    """Path of a galaxy's file below the root of the data release."""
    plate = f"{galaxy.plate:04d}"
    name = f"spec-{plate}-{galaxy.mjd}-{galaxy.fiberid:04d}.fits"
    return f"{REDUX[galaxy.boss]}/spectra/lite/{plate}/{name}"


def measured(galaxy: Galaxy) -> tuple[float, float]:
    """Redshift as the pipeline measured it, and its error."""
    rng = galaxy.rng(32)
    error = Z_ERR * rng.uniform(0.7, 1.6)
    return galaxy.redshift + error * float(rng.normal()), error


def fibre_position(galaxy: Galaxy) -> tuple[float, float]:
    """RA and Dec of the fibre, degrees: those of the earlier photometry for which the plate was drilled."""
    east, north = galaxy.rng(33).normal(0, 0.05 / 3600, 2)
    return float((galaxy.ra + east / np.cos(np.radians(galaxy.dec))) % 360), float(galaxy.dec + north)


def spec_file(galaxy: Galaxy) -> bytes:
    """Make the file of a galaxy's spectrum; the same bytes every time."""
    found = spectrum(galaxy)
    pixels = np.empty(len(found.pixels["flux"]), list(COADD.items()))
    for name in COADD:
        pixels[name] = found.pixels[name]
    summary = "SPALL" if galaxy.boss else "SPECOBJ"
    return b"".join(
        (
            image_hdu(np.empty(0, "u1"), _header(galaxy, found), primary=True),
            table_hdu(pixels, "COADD"),
            table_hdu(_one_row(_summary(galaxy, found)), summary),
            table_hdu(_lines(galaxy, found), "SPZLINE"),
        )
    )


def _header(galaxy: Galaxy, found: Spectrum) -> list[tuple]:
    run2d = "v5_13_2" if galaxy.boss else "26"
    ra, dec = fibre_position(galaxy)
    return [
        ("TELESCOP", "SDSS 2.5-M", "Sloan Digital Sky Survey"),
        ("FLAVOR", "science", "exposure type, SDSS spectro style"),
        ("BOSS" if galaxy.boss else "SDSS", True, "simulated, by skyshards' demo archive"),
        ("MJD", galaxy.mjd, "MJD of observation"),
        ("PLATEID", galaxy.plate, "Plate"),
        ("RUN2D", run2d, "Spectro-2D reduction name"),
        ("RUN1D", run2d, "Spectro-1D reduction name"),
        ("VERS2D", "v5_13_2" if galaxy.boss else "v5_3_12", "Version of idlspec2d for 2D reduction"),
        ("BUNIT", "1E-17 erg/cm^2/s/Ang"),
        ("COEFF0", float(found.pixels["loglam"][0]), "Central wavelength (log10) of first pixel"),
        ("COEFF1", PIXEL, "Log10 dispersion per pixel"),
        ("VACUUM", True, "Wavelengths are in vacuum"),
        ("HELIO_RV", 0.0, "Heliocentric correction (added to velocities)"),
        ("PLUG_RA", ra, "RA of object [deg]"),
        ("PLUG_DEC", dec, "dec of object [deg]"),
        ("SPEC_ID", str(galaxy.specobjid), "Unique object identifier"),
        ("FIBERID", galaxy.fiberid, f"Fiber number (1-{1000 if galaxy.boss else 640})"),
    ]


def _summary(galaxy: Galaxy, found: Spectrum) -> dict[str, tuple[str, Any]]:
    """Row of specObj or, for BOSS, spAll, by column: its format and value. Text is padded with blanks."""
    boss, pixels = galaxy.boss, found.pixels
    (ra, dec), (z, z_err) = fibre_position(galaxy), measured(galaxy)
    signal = float(np.median(pixels["flux"] * np.sqrt(pixels["ivar"])))
    subclass = "STARFORMING" if galaxy.spiral else ""
    run2d = "v5_13_2" if boss else "26"
    wavelength = 10 ** pixels["loglam"]
    common: dict[str, tuple[str, Any]] = {
        "PROGRAMNAME": ("S23", "boss" if boss else "legacy"),
        "PLATEQUALITY": ("S8", "good"),
        "PLATESN2": (">f4", 15.0),
        "SPECPRIMARY": ("u1", 1),
        "SPECBOSS": ("u1", int(boss)),
        "SPECOBJID": ("S22", str(galaxy.specobjid).rjust(22)),
        "BESTOBJID": ("S19", str(galaxy.objid)),
        "RUN2D": ("S7" if boss else "S6", run2d),
        "RUN1D": ("S7" if boss else "S6", run2d),
        "SPECTROGRAPHID": (">i2", 1 if galaxy.fiberid <= (500 if boss else 320) else 2),
        "PLATE": (">i4", galaxy.plate),
        "TILE": (">i4", galaxy.plate),
        "MJD": (">i4", galaxy.mjd),
        "FIBERID": (">i4", galaxy.fiberid),
        "PLUG_RA": (">f8", ra),
        "PLUG_DEC": (">f8", dec),
        "CLASS": ("S6", "GALAXY"),
        "SUBCLASS": ("S21", subclass),
        "Z": (">f4", z),
        "Z_ERR": (">f4", z_err),
        "RCHI2": (">f4", 1.0),
        "DOF": (">i4", len(wavelength) - 8),
        "VDISP": (">f4", found.dispersion),
        "VDISP_ERR": (">f4", 8.0),
        "WAVEMIN": (">f4", wavelength[0]),
        "WAVEMAX": (">f4", wavelength[-1]),
        "ZWARNING": (">i4", 0),
        "SN_MEDIAN_ALL": (">f4", signal),
        "SPECTROFLUX": (">5f4", [10 ** (0.4 * (22.5 - each)) for each in galaxy.magnitudes.values()]),
    }
    if boss:
        return {"OBJTYPE": ("S16", "GALAXY")} | common | {"Z_NOQSO": (">f4", z), "CLASS_NOQSO": ("S6", "")}
    return {"SURVEY": ("S6", "sdss"), "INSTRUMENT": ("S4", "SDSS"), "TARGETTYPE": ("S8", "SCIENCE")} | common


def _one_row(columns: dict[str, tuple[str, Any]]) -> np.ndarray:
    row = np.zeros(1, [(name, *_VECTORS.get(form, (form,))) for name, (form, _) in columns.items()])
    for name, (form, value) in columns.items():
        row[name] = value.ljust(int(form[1:])).encode() if isinstance(value, str) else value
    return row


def _lines(galaxy: Galaxy, found: Spectrum) -> np.ndarray:
    """Rows of spZline: the emission lines that the pipeline fits; 0 and an error of -1 where there is none."""
    z, z_err = measured(galaxy)
    wavelength, flux = 10 ** found.pixels["loglam"], found.pixels["model"]
    forms = [("PLATE", ">i4"), ("MJD", ">i4"), ("FIBERID", ">i4"), ("LINENAME", "S13"), ("LINEWAVE", ">f8")]
    forms += [
        (f"LINE{name}{error}", ">f4") for name in ("Z", "SIGMA", "AREA", "EW", "CONTLEVEL") for error in ("", "_ERR")
    ]
    forms += [("LINENPIXLEFT", ">i4"), ("LINENPIXRIGHT", ">i4"), ("LINEDOF", ">f4"), ("LINECHI2", ">f4")]
    rows = np.zeros(len(EMISSION), forms)
    rows["PLATE"], rows["MJD"], rows["FIBERID"] = galaxy.plate, galaxy.mjd, galaxy.fiberid
    for row, (name, (line, _)) in zip(rows, EMISSION.items(), strict=True):
        at = line * (1 + galaxy.redshift)
        sigma = 0.8 * found.dispersion
        pixels = round(3 * sigma / (PIXEL * np.log(10) * LIGHT))
        area, noise = found.areas.get(name, 0.0), float(np.interp(at, wavelength, _noise(found)))
        level = float(np.interp(at, wavelength, flux)) - area * _peak(at, sigma)
        there = area > 0 and wavelength[0] < at < wavelength[-1]
        row["LINENAME"], row["LINEWAVE"] = name.ljust(13).encode(), line
        row["LINEZ"], row["LINEZ_ERR"] = (z, z_err) if there else (0, -1)
        row["LINESIGMA"], row["LINESIGMA_ERR"] = (sigma, 3.0) if there else (0, -1)
        area_err = noise * at * PIXEL * np.log(10) * np.sqrt(2 * pixels)
        row["LINEAREA"], row["LINEAREA_ERR"] = (area, area_err) if there else (0, -1)
        row["LINECONTLEVEL"], row["LINECONTLEVEL_ERR"] = (level, noise) if there else (0, -1)
        row["LINEEW"], row["LINEEW_ERR"] = (area / level, area_err / level) if there else (0, -1)
        row["LINENPIXLEFT"] = row["LINENPIXRIGHT"] = pixels if there else 0
        row["LINEDOF"], row["LINECHI2"] = (2 * pixels - 3, 2 * pixels - 3) if there else (0, -1)
    return rows


def _noise(found: Spectrum) -> np.ndarray:
    ivar = found.pixels["ivar"]
    return 1 / np.sqrt(np.where(ivar > 0, ivar, np.median(ivar)))


def _peak(at: float, sigma: float) -> float:
    """Height of a line of unit area whose width is `sigma` km/s beside the instrument's 69."""
    return LIGHT / (at * np.hypot(sigma, 69) * np.sqrt(2 * np.pi))
