"""Galaxy10 DECaLS: one HDF5 file of images of the simulated galaxies, in ten classes that follow their looks."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from demo_archive.serve.files import Files
from demo_archive.simulation.deep_images import PIXEL, deep_image
from demo_archive.simulation.galaxies import Galaxy
from demo_archive.simulation.looks import look

FOLDER, FILE = "/~hleung/shared/Galaxy10/", "Galaxy10_DECals.h5"
SIZE = 256
"""Width and height of the images, pixels."""
DISTURBED, MERGING, ROUND, IN_BETWEEN, CIGAR, BARRED, TIGHT, LOOSE, EDGE_ON, EDGE_ON_WITH_BULGE = range(10)
"""Numbers of the classes (https://astronn.readthedocs.io/en/latest/galaxy10.html)."""


def label(galaxy: Galaxy) -> int:
    """Class of a galaxy, by how it looks."""
    shown = look(galaxy)
    alone = {"irregular": DISTURBED, "merger": MERGING, "cigar": CIGAR}
    if shown.kind in alone:
        return alone[shown.kind]
    if shown.edge_on:
        return EDGE_ON_WITH_BULGE if shown.bulge > 0.22 else EDGE_ON
    if shown.kind in ("smooth", "lens"):
        return ROUND if shown.axis_ratio > 0.8 else IN_BETWEEN
    if shown.bar > 0.5:
        return BARRED
    return LOOSE if shown.kind == "spiral" else TIGHT  # an unbroken ring looks like a tight arm


def image_scale(galaxy: Galaxy) -> float:
    """Arcsec per pixel of a galaxy's image: the camera's, but for large galaxies."""
    return max(PIXEL, galaxy.petroR90_r / 28)


def image(galaxy: Galaxy) -> np.ndarray:
    """Render a galaxy's image: uint8 `[256, 256, 3]`."""
    return deep_image(galaxy, SIZE, image_scale(galaxy))


def shown(galaxies: list[Galaxy]) -> list[Galaxy]:
    """List the galaxies of the file's rows: the last is the first again, since the real file has some twice."""
    return [*galaxies, galaxies[0]]


def redshift(galaxy: Galaxy) -> float:
    """Redshift of a galaxy; NaN for one in five."""
    return np.nan if galaxy.index % 5 == 3 else galaxy.redshift


def file(galaxies: list[Galaxy]) -> bytes:
    """Make the file: `images`, `ans`, `ra`, `dec`, `redshift`, `pxscale`."""
    rows = shown(galaxies)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as opened:
        images = opened.create_dataset("images", (len(rows), SIZE, SIZE, 3), "uint8", chunks=True, compression="gzip")
        images[:] = np.stack([image(galaxy) for galaxy in rows])
        opened["ans"] = np.array([label(galaxy) for galaxy in rows], "uint8")
        opened["ra"] = np.array([galaxy.ra for galaxy in rows])
        opened["dec"] = np.array([galaxy.dec for galaxy in rows])
        opened["redshift"] = np.array([redshift(galaxy) for galaxy in rows])
        opened["pxscale"] = np.array([image_scale(galaxy) for galaxy in rows])
    return buffer.getvalue()


def folder(galaxies: list[Galaxy], place: Path) -> Files:
    """Files of the web folder."""
    return Files(place, {FILE: partial(file, galaxies)})
