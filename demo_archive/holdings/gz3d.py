"""GZ3D files of simulated galaxies, in the format of the DR17 value-added catalogue (v4_0_0): 11 HDUs, gzipped."""

from __future__ import annotations

import json
from dataclasses import dataclass

import deflate
import numpy as np
from astropy.io import fits
from PIL import Image, ImageDraw

from demo_archive.simulation.fits_bytes import image_hdu, table_hdu
from demo_archive.simulation.galaxies import Galaxy
from demo_archive.simulation.outlines import SCALE, SIZE
from demo_archive.simulation.render import as_jpeg, picture
from demo_archive.simulation.volunteers import Cluster, draw, ellipse_mask, polygon_mask

MAGENTA = (200, 0, 200)
CLUSTER_COLUMNS = ("x", "y", "var_x", "var_y", "var_x_y", "ra", "dec", "var_ra", "var_dec", "var_ra_dec", "count")
IFU_RADIUS = {19: 6.25, 37: 8.75, 61: 11.25, 91: 13.75, 127: 16.25}
"""Radius of MaNGA's fibre bundles by number of fibres, arcsec (Drory et al. 2015, AJ 149, 77)."""
HEXAGON = 0.88
"""Size of the hexagon in the pictures, relative to the bundle's: that of v4_0_0, measured on pictures of 1-379196 and
1-304336 (127 fibres) and 1-100227 (37 fibres)."""


@dataclass(frozen=True)
class Subject:
    """A picture shown to volunteers: a galaxy and its Zooniverse subject number."""

    galaxy: Galaxy
    subject_id: int

    @property
    def fibres(self) -> int:
        """Number of fibres of the smallest bundle that covers the galaxy to at least 1.5 half-light radii."""
        wanted = 1.4 * self.galaxy.petroR90_r
        return next((fibres for fibres, radius in IFU_RADIUS.items() if radius >= wanted), 127)

    @property
    def file_name(self) -> str:
        return f"gz3d_{self.galaxy.mangaid}_{self.fibres}_{self.subject_id}.fits.gz"

    @property
    def votes(self) -> tuple[int, int, int]:
        """Galaxy Zoo 2 votes: total, bar, spiral arms.

        The catalogue's second galaxy has none, like some real ones.
        """
        if self.galaxy.index == 1:
            return 0, 0, 0
        rng = self.galaxy.rng(4)
        total = int(rng.integers(20, 361))
        bar = rng.binomial(total, 0.8 if self.galaxy.bar else 0.06)
        return total, int(bar), int(rng.binomial(total, self.galaxy.p_cs_debiased))


def _wcs_cards(galaxy: Galaxy) -> list[fits.Card]:
    """Make the WCS cards with the files' conventions: pixel size in PC, CDELT of 1, float32 positions."""
    ra, dec = float(np.float32(galaxy.ra)), float(np.float32(galaxy.dec))
    cards = (
        ("WCSAXES", 2, "Number of coordinate axes"),
        ("CRPIX1", SIZE / 2, "Pixel coordinate of reference point"),
        ("CRPIX2", SIZE / 2, "Pixel coordinate of reference point"),
        ("PC1_1", -SCALE / 3600, "Coordinate transformation matrix element"),
        ("PC2_2", -SCALE / 3600, "Coordinate transformation matrix element"),
        ("CDELT1", 1.0, "[deg] Coordinate increment at reference point"),
        ("CDELT2", 1.0, "[deg] Coordinate increment at reference point"),
        ("CUNIT1", "deg", "Units of coordinate increment and value"),
        ("CUNIT2", "deg", "Units of coordinate increment and value"),
        ("CTYPE1", "RA---TAN", "Right ascension, gnomonic projection"),
        ("CTYPE2", "DEC--TAN", "Declination, gnomonic projection"),
        ("CRVAL1", ra, "[deg] Coordinate value at reference point"),
        ("CRVAL2", dec, "[deg] Coordinate value at reference point"),
        ("LONPOLE", 180.0, "[deg] Native longitude of celestial pole"),
        ("LATPOLE", dec, "[deg] Native latitude of celestial pole"),
        ("RADESYS", "ICRS", "Equatorial coordinate system"),
    )
    return [fits.Card(*card) for card in cards]


def _metadata(subject: Subject) -> bytes:
    galaxy, (total, bar, spiral) = subject.galaxy, subject.votes
    link = f"http://skyserver.sdss.org/dr13/en/tools/chart/navi.aspx?ra={galaxy.ra:.4f}&dec={galaxy.dec:.4f}"
    values = {
        "ra": (">f4", galaxy.ra),
        "dec": (">f4", galaxy.dec),
        "MANGAID": ("S11", galaxy.mangaid.ljust(11)),
        "IAUNAME": ("S19", galaxy.iauname),
        "IFUDESIGNSIZE": (">f8", subject.fibres),
        "MANGA_TILEID": (">f8", 5000 + galaxy.index // 8),
        "nsa_id": (">i8", galaxy.nsa_id),
        "explorer_link": ("S90", link),
        "GZ_total_classifications": (">i2", total),
        "GZ_bar_votes": (">i2", bar),
        "GZ_spiral_votes": (">i2", spiral),
        "sample": ("S70", "MaNGA main sample" if total else ""),
    }
    dtype = [(name, form) for name, (form, _) in values.items()]
    return table_hdu(np.array([tuple(value for _, value in values.values())], dtype))


def _clusters(clusters: list[Cluster], galaxy: Galaxy) -> bytes:
    """Make a table of clusters; as in the real files, `count` is float64 in an empty table."""
    rows = []
    for cluster in clusters:
        (var_x, var_xy), (_, var_y) = cluster.covariance
        # The files take the drawing tool's coordinates (from 0) for FITS coordinates (from 1).
        east, north = (SIZE / 2 - cluster.mean) * SCALE / 3600
        ra, dec = _tangent_to_sky(galaxy, east, north)
        dec_pixel = SCALE / 3600
        ra_pixel = dec_pixel / np.cos(np.radians(dec))
        variances = var_x * ra_pixel**2, var_y * dec_pixel**2, var_xy * ra_pixel * dec_pixel
        rows.append((*cluster.mean, var_x, var_y, var_xy, ra, dec, *variances, len(cluster.points)))
    forms = [">f8"] * 10 + [">i8" if rows else ">f8"]
    return table_hdu(np.array(rows, list(zip(CLUSTER_COLUMNS, forms, strict=True))))


def _tangent_to_sky(galaxy: Galaxy, east: float, north: float) -> tuple[float, float]:
    """Convert offsets in the tangent plane of the file's WCS (degrees) to RA and Dec (degrees)."""
    east, north = np.radians([east, north])
    ra0, dec0 = np.radians([np.float32(galaxy.ra), np.float32(galaxy.dec)], dtype=float)
    down = np.cos(dec0) - north * np.sin(dec0)
    ra = np.degrees(ra0 + np.arctan2(east, down)) % 360
    dec = np.degrees(np.arctan2(np.sin(dec0) + north * np.cos(dec0), np.hypot(east, down)))
    return float(ra), float(dec)


def _raw(rng: np.random.Generator, **drawn: list) -> bytes:
    """Make a table of raw classifications: a row per volunteer, drawings as JSON in columns of the longest's width."""
    count = len(next(iter(drawn.values())))
    days, seconds = np.sort(rng.integers(0, 365, count)), rng.integers(0, 86400, count)
    stamps = np.datetime64("2017-12-01T00:00:00") + days * np.timedelta64(1, "D") + seconds * np.timedelta64(1, "s")
    columns = {
        "classification_id": (82_000_000 + 300_000 * days + rng.integers(0, 300_000, count)).astype(">i8"),
        "time_stamp": np.array([f"{str(stamp).replace('T', ' ')} UTC" for stamp in stamps], "S23"),
        **{name: np.array([json.dumps(value) for value in values], "S") for name, values in drawn.items()},
    }
    table = np.empty(count, [(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        table[name] = values
    return table_hdu(table)


def shown_picture(subject: Subject) -> np.ndarray:
    """Render the picture shown to volunteers: uint8 `[525, 525, 3]`, with a hexagon in magenta."""
    image = Image.fromarray(picture(subject.galaxy, SIZE, SCALE))
    angles = np.radians(np.arange(0, 420, 60))
    radius = HEXAGON * IFU_RADIUS[subject.fibres] / SCALE
    corners = np.column_stack([np.cos(angles), np.sin(angles)]) * radius + SIZE / 2
    ImageDraw.Draw(image).line([tuple(corner) for corner in corners], fill=MAGENTA, width=2)
    return as_jpeg(np.asarray(image))


def gz3d_file(subject: Subject) -> bytes:
    """Make the archive's file: gzipped FITS of 11 unnamed HDUs; the same bytes every time."""
    galaxy, drawings = subject.galaxy, draw(subject.galaxy, subject.subject_id)
    cards, rng = _wcs_cards(galaxy), galaxy.rng(5)
    masks = (
        ellipse_mask(drawings.centre_clusters),
        ellipse_mask(drawings.star_clusters),
        polygon_mask(drawings.spirals),
        polygon_mask(drawings.bars),
    )
    hdus = (
        image_hdu(shown_picture(subject), cards, primary=True),
        *(image_hdu(mask.astype(">f8"), cards) for mask in masks),
        _metadata(subject),
        _clusters(drawings.centre_clusters, galaxy),
        _clusters(drawings.star_clusters, galaxy),
        _raw(rng, center_points=drawings.centres, star_points=drawings.stars),
        _raw(rng, spiral_paths=drawings.spirals),
        _raw(rng, bar_paths=drawings.bars),
    )
    return bytes(deflate.gzip_compress(b"".join(hdus), 6))


def drpall(galaxies: list[Galaxy]) -> bytes:
    """Make MaNGA's table of observations, with a few of its columns: a third of the targets, one in twelve twice."""
    rows = []
    for galaxy in galaxies[::3]:
        fibres = Subject(galaxy, 0).fibres
        for again in range(2 if galaxy.index % 12 == 0 else 1):
            plate, ifu = 7443 + galaxy.index // 17 + 900 * again, 100 * fibres + 1 + galaxy.index // 3 % 2
            rows.append((plate, str(ifu), f"{plate}-{ifu}", galaxy.mangaid, galaxy.ra, galaxy.dec, galaxy.nsa_id))
    forms = {"plate": ">i8", "ifudsgn": "S10", "plateifu": "S12", "mangaid": "S13", "objra": ">f8", "objdec": ">f8",
             "nsa_nsaid": ">i8"}  # fmt: skip
    header = fits.PrimaryHDU().header
    header["VERSDRP3"] = "v3_1_1"
    return header.tostring().encode() + table_hdu(np.array(rows, list(forms.items())), "MANGA")
