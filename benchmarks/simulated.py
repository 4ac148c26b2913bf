"""Simulated data for the benchmarks: GZ3D files, and datasets with very many small rows."""

from __future__ import annotations

import functools
import gzip
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deflate
import healpy
import numpy as np
import pyarrow as pa
from astropy.io import fits
from datasets import Array3D, Value

from demo_archive.holdings.gz3d import Subject, gz3d_file
from demo_archive.protocols.sas import subjects
from demo_archive.simulation.galaxies import simulate
from gz3d.build_parent_sample import GZ3DRecipe
from skyshards.fetch.client import Fetcher
from skyshards.format import catalog, healpix
from skyshards.format.folds import fold_of
from skyshards.format.schema import Column, Schema
from skyshards.pipeline.build import Summary, build
from skyshards.pipeline.recipe import Recipe, Source

Places = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""From HEALPix pixels (NESTED) and their nside to a position (ra, dec) in each, degrees."""
COPY_SUBJECT = 1_000_000
"""Difference of subject numbers between successive copies."""
COPY_RA = np.float32(0.002)
"""Difference of right ascension between successive copies, degrees."""
GZIP_LEVEL = 6
"""Compression level: within about 1 % of level 9, that of `astropy.io.fits`, in half the time."""


def make_fits(folder: Path, count: int, distinct: int) -> None:
    """Make `count` GZ3D files: `distinct` rendered ones, and copies of these.

    Copies count as other galaxies: MaNGA ID, subject number and position differ.
    """
    folder.mkdir()
    shown = subjects(simulate(distinct, 0))
    copies = [range(len(range(number, count, distinct))) for number in range(distinct)]
    with ProcessPoolExecutor() as processes:
        list(processes.map(functools.partial(_make_copies, folder), shown, copies))


def _make_copies(folder: Path, subject: Subject, copies: range) -> None:
    content = bytearray(gzip.decompress(gz3d_file(subject)))
    with fits.open(io.BytesIO(content)) as hdus:
        start, dtype = hdus[5].fileinfo()["datLoc"], hdus[5].data.dtype
        card, centre = content.index(b"CRVAL1  =", hdus[1].fileinfo()["hdrLoc"]), hdus[1].header["CRVAL1"]
    row = np.frombuffer(content, dtype, 1, start)
    ra, mangaid = row["ra"].copy(), subject.galaxy.mangaid
    for copy in copies:
        design, _, number = mangaid.partition("-")
        name = f"{int(design) + copy}-{number}"
        row["MANGAID"], row["ra"] = name.ljust(11).encode(), ra + COPY_RA * np.float32(copy)
        content[card + 10 : card + 30] = f"{centre + float(row['ra'][0] - ra[0]):20.12f}".encode()
        path = folder / f"gz3d_{name}_{subject.fibres}_{subject.subject_id + COPY_SUBJECT * copy}.fits.gz"
        path.write_bytes(deflate.gzip_compress(bytes(content), GZIP_LEVEL))


def build_gz3d(fits_folder: Path, output: Path, workers: int | None = None, executor: Any = None) -> Summary:
    """Build GZ3D from files on disk with the project's own recipe."""
    recipe = GZ3DRecipe(local_data_path=fits_folder, keep_fits=True)
    summary = build(recipe, output, workers=workers, executor=executor)
    if summary.failed:
        raise RuntimeError(f"{summary.failed} files could not be read; see {output}")
    return summary


@dataclass(frozen=True)
class ManyRows(Recipe):
    """Rows of a label, a position and a thumbnail, spread over about `shards` pixels of nside 16."""

    rows: int
    shards: int

    name = "many_rows"
    schema = Schema(
        {
            "image": Column(Array3D((16, 16, 3), "uint8"), "noise"),
            "total_classifications": Column(Value("int16"), "a label"),
        }
    )
    block = 500

    @property
    def folder(self) -> Path:
        return Path(__file__).parent / "many_rows"

    def sources(self, fetcher: Fetcher) -> Iterator[Source]:
        for first in range(0, self.rows, self.block):
            yield Source(f"{first:09d}", info=first)

    def read(self, source: Source, fetched: Any) -> Iterator[dict[str, Any]]:
        random = np.random.default_rng(source.info)
        for number in range(source.info, min(source.info + self.block, self.rows)):
            # Pixels have equal areas, so a cap of this many pixels has this height in sin(dec).
            height = 2 * self.shards / (12 * 16**2)
            yield {
                "object_id": f"{number:09d}",
                "ra": random.uniform(0, 360),
                "dec": np.degrees(np.arcsin(random.uniform(1 - height, 1))),
                "image": random.integers(0, 256, (16, 16, 3), np.uint8),
                "total_classifications": random.integers(0, 361),
            }


def build_many_rows(output: Path, rows: int, shards: int) -> Summary:
    return build(ManyRows(rows, shards), output)


def enlarge_catalog(folder: Path, output: Path, rows: int, places: Places) -> None:
    """Write a catalogue of `rows` rows by repeating another.

    Rows are in the order of their pixels, as in a built dataset, and lie where `places` says. Raises `ValueError` if
    that is outside their pixel: shards are named by pixels, and a cone is looked for in these.
    """
    table, manifest = catalog.open_folder(folder)
    times = -(-rows // len(table))
    table = pa.concat_tables([table] * times).slice(0, rows)
    table = table.take(pa.array(np.argsort(table["healpix"].to_numpy(), kind="stable")))
    pixels = table["healpix"].to_numpy()
    ra, dec = places(pixels, manifest.nside)
    if (outside := healpix.pixel_of(ra, dec, manifest.nside) != pixels).any():
        raise ValueError(f"{outside.sum():,} of {rows:,} positions are outside the pixels of their rows")
    for name, values in {"ra": ra, "dec": dec, "fold": fold_of(ra, dec)}.items():
        place = table.column_names.index(name)
        table = table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))
    output.mkdir()
    catalog.write(output, manifest, table)


def scattered(pixels: np.ndarray, nside: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return random positions (ra, dec) in HEALPix pixels, evenly over their area to 0.2 arcsec."""
    finer = 2**20 // nside
    children = pixels * finer**2 + random.integers(0, finer**2, len(pixels))
    return healpy.pix2ang(nside * finer, children, nest=True, lonlat=True)
