"""Simulated galaxies: the catalogue shared by all services of the demo archive, and each galaxy's surface brightness.

Everything here is a pure function of its arguments: the same seed gives the same sky, in any order of calls.
Surface brightness is in nanomaggies per square arcsecond (zero point 22.5 mag), in the bands g, r, i.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

BANDS = ("g", "r", "i")
PSF_FWHM = 1.3
"""Seeing (FWHM), arcsec: the median of SDSS imaging in r."""
SKY_NOISE = 0.16
"""Sky noise in r, nanomaggies per square arcsecond, in a pixel of `NOISE_SCALE`."""
NOISE_SCALE = 0.4
"""Pixel size of the simulated camera, arcsec (SDSS: 0.396)."""
GROUP_SIZE = 8
"""Galaxies are in groups of this number, a degree across, so that HEALPix pixels of nside 16 hold several."""


@dataclass(frozen=True, slots=True)
class Galaxy:
    """A simulated galaxy: its identifiers, position, appearance and volunteers' votes.

    Angles in the picture are in radians, from increasing column towards increasing row, with north up and east left.
    `contrast` is that of the spiral arms (0 to 1); `winding` is +1 or -1.
    """

    index: int
    seed: int
    ra: float
    dec: float
    kind: str
    bar: bool
    ring: bool
    arms: int
    contrast: float
    winding: int
    pitch: float
    axis_ratio: float
    position_angle: float
    bar_angle: float
    bulge: float
    petroR90_r: float
    redshift: float
    modelMag_r: float
    p_el_debiased: float
    p_cs_debiased: float
    dr7objid: int
    objid: int
    specobjid: int
    mangaid: str
    nsa_id: int

    @property
    def spiral(self) -> bool:
        return self.kind == "spiral"

    @property
    def petroR50_r(self) -> float:
        """Radius of half the Petrosian flux, arcsec: concentrations of 2.2 (disk) and 3.1 (de Vaucouleurs)."""
        return self.petroR90_r / (2.2 if self.spiral else 3.1)

    @property
    def scale_length(self) -> float:
        """Scale length of the exponential disk, arcsec."""
        return self.petroR90_r / 3.4

    @property
    def bar_length(self) -> float:
        """Semi-major axis of the bar, arcsec in the plane of the disk; the radius at which the arms start."""
        return self.petroR90_r * (0.42 if self.bar else 0.12)

    @property
    def colours(self) -> tuple[float, float, float, float]:
        """u-g, g-r, r-i, i-z: typical values of late and early types."""
        return (1.35, 0.58, 0.30, 0.18) if self.spiral else (1.75, 0.82, 0.38, 0.28)

    @property
    def magnitudes(self) -> dict[str, float]:
        """Model magnitudes in u, g, r, i, z."""
        u_g, g_r, r_i, i_z = self.colours
        r = self.modelMag_r
        return {"u": r + g_r + u_g, "g": r + g_r, "r": r, "i": r - r_i, "z": r - r_i - i_z}

    @property
    def plate(self) -> int:
        return self.specobjid >> 50

    @property
    def fiberid(self) -> int:
        return self.specobjid >> 38 & 0xFFF

    @property
    def mjd(self) -> int:
        return (self.specobjid >> 24 & 0x3FFF) + 50000

    @property
    def boss(self) -> bool:
        """Whether BOSS took its spectrum, not SDSS-I or II."""
        return self.specobjid >> 10 & 0x3FFF >= 400

    @property
    def iauname(self) -> str:
        """Name by position: JHHMMSS.ss+DDMMSS.s, truncated instead of rounded, as the IAU requires."""
        return iauname(self.ra, self.dec)

    def rng(self, purpose: int) -> np.random.Generator:
        """Random generator of this galaxy for a purpose, independent of all others."""
        return np.random.default_rng((self.seed, self.index, purpose))


def sexagesimal(value: float, per_second: int) -> tuple[int, int, float]:
    """Split hours or degrees (not negative) into whole ones, minutes and seconds, truncated to 1/`per_second` s."""
    # The small addend keeps values such as 12.34 seconds, which are inexact in binary, from losing a digit.
    minutes, parts = divmod(math.floor(value * 3600 * per_second + 1e-6), 60 * per_second)
    return *divmod(minutes, 60), parts / per_second


def iauname(ra: float, dec: float) -> str:
    """Name a position (degrees) JHHMMSS.ss+DDMMSS.s, with further digits truncated."""
    hours, minutes, seconds = sexagesimal(ra / 15, 100)
    degrees, arcmin, arcsec = sexagesimal(abs(dec), 10)
    sign = "-" if dec < 0 else "+"
    return f"J{hours:02d}{minutes:02d}{seconds:05.2f}{sign}{degrees:02d}{arcmin:02d}{arcsec:04.1f}"


def simulate(count: int, seed: int) -> list[Galaxy]:
    """Draw a catalogue of `count` galaxies.

    Most sizes pass the usual cuts for 64-pixel SDSS cutouts (4 < petroR90_r < 8.5 arcsec). Galaxies with weak arms have
    uncertain votes. Identifiers are unique and as long as those of SDSS (64 bits, beyond 2**53).
    """
    rng = np.random.default_rng((seed, 0xA11))
    groups = -(-count // GROUP_SIZE)
    group_dec = np.degrees(np.arcsin(rng.uniform(np.sin(np.radians(-5)), np.sin(np.radians(58)), groups)))
    group_ra = rng.uniform(0, 360, groups)
    group = np.arange(count) // GROUP_SIZE
    dec = group_dec[group] + rng.uniform(-0.4, 0.4, count)
    ra = (group_ra[group] + rng.uniform(-0.4, 0.4, count) / np.cos(np.radians(dec))) % 360
    # One of each kind in every pair, so that any small sample has both.
    spiral = (np.arange(count) + np.repeat(rng.integers(0, 2, -(-count // 2)), 2)[:count]) % 2 == 0
    bar = spiral & (rng.random(count) < 0.45)
    ring = spiral & (rng.random(count) < 0.3)
    arms = np.where(spiral, rng.choice([2, 2, 2, 3, 4], count), 0)
    contrast = np.where(spiral, rng.uniform(0.6, 0.98, count), 0.0)
    sure = np.where(spiral, 0.68 + 0.32 * contrast, rng.uniform(0.87, 1.0, count))
    other = (1 - sure) * rng.uniform(0, 1, count)
    radius = rng.uniform(3.8, 9.0, count)
    half_light = radius / np.where(spiral, 2.2, 3.1)
    # Mean surface brightness within the half-light radius, mag per square arcsecond.
    brightness = np.where(spiral, 20.9, 20.2) + rng.normal(0, 0.25, count)
    columns = dict(
        ra=ra,
        dec=dec,
        kind=np.where(spiral, "spiral", "elliptical"),
        bar=bar,
        ring=ring,
        arms=arms,
        contrast=contrast,
        winding=rng.choice([-1, 1], count),
        pitch=np.radians(rng.uniform(13, 26, count)),
        axis_ratio=np.where(spiral, rng.uniform(0.45, 1, count), rng.uniform(0.6, 1, count)),
        position_angle=rng.uniform(0, np.pi, count),
        bar_angle=rng.uniform(0, np.pi, count),
        bulge=np.where(spiral, rng.uniform(0.08, 0.3, count), 1.0),
        petroR90_r=radius,
        redshift=rng.uniform(0.02, 0.12, count),
        modelMag_r=brightness - 2.5 * np.log10(2 * np.pi * half_light**2),
        p_el_debiased=np.where(spiral, other, sure),
        p_cs_debiased=np.where(spiral, sure, other),
        dr7objid=587722981742084097 + 131072 * np.arange(count) + rng.integers(0, 131072, count),
        objid=1237648720142401611 + 262144 * np.arange(count) + rng.integers(0, 262144, count),
        specobjid=_specobjids(count),
        mangaid=[f"1-{number}" for number in 100010 + 7 * rng.permutation(count)],
        nsa_id=rng.permutation(count) + 36107,
    )
    rows = zip(*(np.asarray(values).tolist() for values in columns.values()), strict=True)
    return [Galaxy(index, seed, **dict(zip(columns, row, strict=True))) for index, row in enumerate(rows)]


def spiral_at(ra: float, dec: float, seed: int) -> Galaxy:
    """Make a large spiral, four times as large as the others, at a position in degrees; no catalogue lists it."""
    spiral = next(galaxy for galaxy in simulate(GROUP_SIZE, seed) if galaxy.spiral)
    spiral = replace(spiral, index=10**6, ra=ra, dec=dec, petroR90_r=40.0, modelMag_r=12.6)
    return replace(spiral, bar=False, ring=False, arms=2, contrast=0.95, axis_ratio=0.85, bulge=0.15)


def _specobjids(count: int) -> np.ndarray:
    """Identifiers of spectra: each group on a plate of SDSS (reduction 26) and one of BOSS (v5_13_2)."""
    group, place = np.divmod(np.arange(count), GROUP_SIZE)
    boss = place % 4 == 3
    plate, mjd, run2d = np.where(boss, 3586, 266) + group, np.where(boss, 5181, 1602) + group, np.where(boss, 1302, 26)
    return (plate << 50) | (1 + 79 * place << 38) | (mjd << 24) | (run2d << 10)


def _flux(magnitude: float) -> float:
    """Convert a magnitude to nanomaggies."""
    return 10 ** (0.4 * (22.5 - magnitude))


def _tint(g_r: float, r_i: float) -> np.ndarray:
    """Flux in g, r, i of a source with these colours and unit flux in r."""
    return np.array([10 ** (-0.4 * g_r), 1, 10 ** (0.4 * r_i)], np.float32)


def disk_to_picture(galaxy: Galaxy, radius, angle) -> tuple[np.ndarray, np.ndarray]:
    """Convert points in the plane of the disk (arcsec, radians) to offsets in the picture (column, row), arcsec."""
    along, across = radius * np.cos(angle), galaxy.axis_ratio * radius * np.sin(angle)
    cos, sin = math.cos(galaxy.position_angle), math.sin(galaxy.position_angle)
    return along * cos - across * sin, along * sin + across * cos


def picture_to_disk(galaxy: Galaxy, x, y) -> tuple[np.ndarray, np.ndarray]:
    """Convert offsets to the plane of the disk, along its nodes and across, arcsec; inverts `disk_to_picture`."""
    cos, sin = math.cos(galaxy.position_angle), math.sin(galaxy.position_angle)
    return x * cos + y * sin, (y * cos - x * sin) / galaxy.axis_ratio


def arm_angle(galaxy: Galaxy, radius, arm=0):
    """Angle of an arm at a radius (arcsec) in the disk's plane: a logarithmic spiral from the end of the bar."""
    wound = np.log(radius / galaxy.bar_length) / math.tan(galaxy.pitch)
    return galaxy.bar_angle + galaxy.winding * wound + 2 * np.pi * arm / galaxy.arms


def sersic(radius, half_light: float, index: float, flux: float, axis_ratio: float):
    """Sersic profile with a given total flux (Graham & Driver 2005, PASA 22, 118, equations 1 and 4)."""
    b = 2 * index - 1 / 3
    norm = 2 * np.pi * index * math.exp(b) * b ** (-2 * index) * math.gamma(2 * index) * half_light**2 * axis_ratio
    return flux / norm * np.exp(-b * ((radius / half_light) ** (1 / index) - 1))


def surface_brightness(galaxy: Galaxy, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Surface brightness of a galaxy, without noise or neighbours.

    Parameters
    ----------
    galaxy : Galaxy
    x, y : float32 array, `[H, W]` (or shapes that broadcast to it)
        Offsets from its centre in the directions of increasing column and row, arcsec.

    Returns
    -------
    float32 array, `[3, H, W]`
        Nanomaggies per square arcsecond in g, r, i.
    """
    along, across = picture_to_disk(galaxy, x, y)
    soft = (0.5 * PSF_FWHM) ** 2
    flux = _flux(galaxy.modelMag_r)
    radius = np.sqrt(along * along + across * across + soft)
    _, g_r, r_i, _ = galaxy.colours
    if not galaxy.spiral:
        return _tint(g_r, r_i)[:, None, None] * sersic(radius, galaxy.petroR50_r, 4.0, flux, galaxy.axis_ratio)
    length, h = galaxy.bar_length, galaxy.scale_length
    disk = flux * (1 - galaxy.bulge) / (2 * np.pi * h * h * galaxy.axis_ratio) * np.exp(-radius / h)
    arms = _arms(galaxy, along, across, radius)
    # A smooth old disk, and a young one in the arms, which are two to four times as bright as what lies between them;
    # no arms inside the bar or the bulge.
    reach = radius**2 / (radius**2 + (0.8 * length) ** 2)
    old = disk * (1 - 0.5 * galaxy.contrast * reach)
    young = disk * (1.6 * galaxy.contrast * reach * arms)
    bulge = sersic(radius, 0.16 * galaxy.petroR90_r, 1.8, galaxy.bulge * flux, galaxy.axis_ratio)
    if galaxy.bar:
        bulge = bulge + _bar(galaxy, along, across) * 0.17 * flux / (length * length * galaxy.axis_ratio)
    if galaxy.ring:
        # A resonance ring, around the end of the bar if there is one.
        place, width = 0.52 * galaxy.petroR90_r, 0.07 * galaxy.petroR90_r
        young = young + 0.024 * flux / (place * width) * np.exp(-0.5 * ((radius - place) / width) ** 2)
    parts = ((old, (0.66, 0.33)), (young, (0.36, 0.16)), (bulge, (0.82, 0.40)))
    return sum(_tint(*colour)[:, None, None] * part for part, colour in parts)


def _arms(galaxy: Galaxy, along, across, radius):
    """Profile of the arms: 1 on their crests, falling to about 0 between them."""
    phase = galaxy.arms * (np.arctan2(across, along) - arm_angle(galaxy, radius))
    sharpness = 2.2 if galaxy.arms == 2 else 1.6
    return np.exp(sharpness * (np.cos(phase) - 1))


def _bar(galaxy: Galaxy, along, across):
    """Profile of a boxy bar in the plane of the disk: 1 inside, falling off at its edge."""
    cos, sin = math.cos(galaxy.bar_angle), math.sin(galaxy.bar_angle)
    u = np.abs(along * cos + across * sin) / galaxy.bar_length
    v = np.abs(across * cos - along * sin) / (0.3 * galaxy.bar_length)
    return np.exp(-(u**3) - v**2)
