"""Peer of the build benchmark: our own implementation of the Multimodal Universe's method of building GZ3D.

A pool of processes makes one pass over the objects with `astropy.io.fits`. Masks stay float64, and all rows are in
memory before the first is written. There is one HDF5 file per HEALPix pixel, with uncompressed uint8 arrays.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from astropy.io import fits

from skyshards.format.healpix import pixel_of


def read(path: Path) -> dict[str, Any]:
    """Read the row of one object."""
    with fits.open(path) as hdus:
        meta = hdus[5].data[0]
        total = max(int(meta["GZ_total_classifications"]), 1)
        return {
            "object_id": str(meta["MANGAID"]).strip(),
            "ra": float(meta["ra"]),
            "dec": float(meta["dec"]),
            "image": np.array(hdus[0].data),
            "masks": np.stack([hdu.data.astype(np.float64) for hdu in hdus[1:5]]),
            "total_classifications": int(meta["GZ_total_classifications"]),
            "vote_fraction": [-1.0, -1.0, meta["GZ_spiral_votes"] / total, meta["GZ_bar_votes"] / total],
        }


def build(fits_folder: Path, output: Path, processes: int, nside: int = 16) -> int:
    """Build all files of a folder; returns the number of rows."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        rows = list(pool.imap(read, sorted(fits_folder.iterdir())))
    pixels = pixel_of([row["ra"] for row in rows], [row["dec"] for row in rows], nside)
    for pixel in np.unique(pixels):
        members = [rows[number] for number in np.flatnonzero(pixels == pixel)]
        folder = output / f"healpix={pixel}"
        folder.mkdir(parents=True)
        with h5py.File(folder / "001-of-001.hdf5", "w") as file:
            file["object_id"] = np.array([row["object_id"] for row in members], "S")
            file["image"] = np.stack([row["image"] for row in members])
            file["masks"] = np.stack([row["masks"] for row in members]).astype(np.uint8)
            for name in ("ra", "dec", "total_classifications", "vote_fraction"):
                file[name] = np.array([row[name] for row in members])
    return len(rows)
