"""Simulated stamps of HST CANDELS galaxies, in the format of candels-blender's input archive."""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import dataclass, replace

import numpy as np

from demo_archive.simulation.galaxies import Galaxy, simulate, surface_brightness

SIZE = 128
SCALE = 0.4
"""Arcsec per pixel for `surface_brightness`; its seeing then spans 3 pixels, as in HST's drizzled F160W images."""
ZEROPOINT = 25.96
"""Magnitude of one count in F160W (AB)."""
NOISE = 0.0025
"""Standard deviation of the sky, counts per pixel."""
FIELDS = {
    "COSMOS": (150.12, 2.30),
    "EGS": (214.83, 52.80),
    "GOODSN": (189.23, 62.24),
    "GOODSS": (53.12, -27.80),
    "UDS": (34.41, -5.20),
}
"""Centres of the five CANDELS fields (Grogin et al. 2011, ApJS 197, 35), degrees."""
TYPES = ("disk", "disk", "sph", "disk", "sphd", "sph", "disk", "irr", "sph", "sphd")
"""Morphological types, in about the proportions of the real catalogue."""
COLUMNS = ("ID", "RA", "DEC", "FIELD", "mag", "mag_err", "radius", "z", "galtype", "segval")


@dataclass(frozen=True)
class Stamp:
    """A stamp: counts (float32 `[128, 128]`), source numbers (int16 `[128, 128]`, 0 is sky), and its catalogue row."""

    image: np.ndarray
    segmentation: np.ndarray
    row: dict[str, object]


def _shaped(galaxy: Galaxy, galtype: str, magnitude: float, radius: float) -> Galaxy:
    """Change a galaxy's type, magnitude and half-light radius (pixels)."""
    spiral = galtype != "sph"
    concentration = 2.2 if spiral else 3.1
    return replace(
        galaxy,
        kind="spiral" if spiral else "elliptical",
        arms=max(2, galaxy.arms),
        contrast={"sph": 0.0, "sphd": 0.3, "irr": 0.1}.get(galtype, 0.8),
        bulge={"disk": 0.12, "sphd": 0.6, "irr": 0.02}.get(galtype, 1.0),
        bar=False,
        ring=False,
        modelMag_r=magnitude,
        petroR90_r=concentration * radius * SCALE,
    )


def _profile(galaxy: Galaxy, x0: float, y0: float) -> np.ndarray:
    """Render a galaxy at column x0 and row y0: counts, float32 `[128, 128]`."""
    pixel = np.arange(SIZE, dtype=np.float32)
    x, y = (pixel - np.float32(x0)) * np.float32(SCALE), (pixel - np.float32(y0)) * np.float32(SCALE)
    nanomaggies = surface_brightness(galaxy, x[None, :], y[:, None])[1] * SCALE**2
    return nanomaggies * np.float32(10 ** (0.4 * (ZEROPOINT - 22.5)))


def _source(
    galaxy: Galaxy, galtype: str, magnitude: float, radius: float, place, rng: np.random.Generator
) -> np.ndarray:
    """Render a source, counts, float32 `[128, 128]`; an irregular one consists of four parts."""
    shaped = _shaped(galaxy, galtype, magnitude, radius)
    if galtype != "irr":
        return _profile(shaped, *place)
    parts = [(0.0, 0.0), *rng.uniform(-1.2 * radius, 1.2 * radius, (3, 2))]
    heap = np.zeros((SIZE, SIZE), np.float32)
    for part in parts:
        one = replace(
            shaped,
            modelMag_r=magnitude + 1.5,
            petroR90_r=shaped.petroR90_r * rng.uniform(0.4, 0.8),
            position_angle=rng.uniform(0, np.pi),
        )
        heap += _profile(one, *(np.asarray(place) + part))
    return heap


def stamp(galaxies: list[Galaxy], index: int) -> Stamp:
    """Make the stamp of a galaxy, with neighbours and noise."""
    galaxy, galtype = galaxies[index], TYPES[index % len(TYPES)]
    rng = galaxy.rng(11)
    magnitude = rng.uniform(18.5, 23.8)
    # Brighter galaxies are larger: half-light radii of 12 to 3 pixels.
    radius = float(np.clip(12 - 1.6 * (magnitude - 18.5) + rng.normal(0, 1.2), 2.5, 14))
    sources = [_source(galaxy, galtype, magnitude, radius, (64, 64), rng)]
    numbers = [int(rng.integers(1, 1200))]
    for _ in range(rng.poisson(1.8)):
        other = galaxies[rng.integers(len(galaxies))]
        place = rng.uniform(-4, SIZE + 4, 2)
        if np.hypot(*(place - 64)) > 2 * radius + 6:
            magnitude_there = rng.uniform(20, 24.5)
            kind = str(rng.choice(["disk", "sph", "sphd"]))
            sources.append(_source(other, kind, magnitude_there, rng.uniform(2, 7), place, rng))
            # As in the real maps, numbers exceed a byte. They differ by 256, so that a cast to uint8 would merge them.
            numbers.append(numbers[0] + 256 * len(numbers))
    fluxes = np.stack(sources)
    bright, owner = fluxes.sum(axis=0) > 2.5 * NOISE, fluxes.argmax(axis=0)
    segmentation = np.where(bright, np.array(numbers, np.int16)[owner], 0).astype(np.int16)
    segmentation[62:67, 62:67] = numbers[0]
    image = fluxes.sum(axis=0) + rng.normal(0, NOISE, (SIZE, SIZE)).astype(np.float32)
    field = list(FIELDS)[rng.integers(len(FIELDS))]
    ra, dec = FIELDS[field] + rng.uniform(-0.09, 0.09, 2)
    values = (
        20000 + 97 * index,
        f"{ra:.7f}",
        f"{dec:.7f}",
        f"b'{field:<10}'",
        f"{magnitude:.6f}",
        f"{0.002 * 10 ** (0.3 * (magnitude - 18.5)):.6f}",
        f"{radius:.6f}",
        f"{rng.uniform(0.1, 3.5):.4f}",
        galtype,
        numbers[0],
    )
    return Stamp(image, segmentation, dict(zip(COLUMNS, values, strict=True)))


def archive(count: int, seed: int) -> bytes:
    """Make `candels-blender-data.tar.gz`, as bytes: images, segmentation maps and catalogue of `count` galaxies."""
    galaxies = simulate(count, seed)
    stamps = [stamp(galaxies, index) for index in range(count)]
    table = "\n".join([",".join(COLUMNS), *(",".join(map(str, each.row.values())) for each in stamps)]) + "\n"
    members = {
        "candels_img.npy": _npy(np.stack([each.image for each in stamps])),
        "candels_seg.npy": _npy(np.stack([each.segmentation for each in stamps])),
        "candels_cat.csv": table.encode(),
    }
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, body in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return gzip.compress(plain.getvalue(), compresslevel=1, mtime=0)


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
