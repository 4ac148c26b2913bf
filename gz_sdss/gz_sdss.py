"""Galaxy Zoo labels with SDSS cutouts: the columns, and the `datasets` builder that reads them.

`import gz_sdss` registers `load_dataset("gz_sdss", data_dir=...)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from datasets import Array2D, ClassLabel, Image, Value

from gz_sdss.cuts import BANDS
from gz_sdss.hips2fits import HIPS, MARGIN, SIZE
from skyshards.format.schema import Column, Schema
from skyshards.read.hf_builder import ShardBuilder

LABELS = ("elliptical", "spiral")

FLOAT, DOUBLE, INT = Value("float32"), Value("float64"), Value("int32")
VALUES = {
    "p_el_debiased": Column(DOUBLE, "debiased fraction of votes for elliptical", missing=math.nan),
    "p_cs_debiased": Column(
        DOUBLE, "debiased fraction of votes for spiral: clockwise, anticlockwise or edge-on", missing=math.nan
    ),
    "elliptical": Column(INT, "1 if p_el_debiased > 0.8, else 0", missing=-1),
    "spiral": Column(INT, "1 if p_cs_debiased > 0.8, else 0", missing=-1),
    "petroR50_r": Column(FLOAT, "radius of 50% of the Petrosian flux in r", "arcsec", missing=math.nan),
    "petroR90_r": Column(FLOAT, "radius of 90% of the Petrosian flux in r", "arcsec", missing=math.nan),
    **{
        f"modelMag_{band}": Column(
            FLOAT, f"the better of de Vaucouleurs and exponential fit in {band}", "mag", missing=math.nan
        )
        for band in BANDS
    },
    **{
        f"extinction_{band}": Column(
            FLOAT, f"Galactic extinction in {band}, not yet subtracted", "mag", missing=math.nan
        )
        for band in BANDS
    },
}
"""Columns from the catalogue, in the types of the SDSS tables (ZooSpec for votes and flags, PhotoObj for the rest)."""
SINGLE = tuple(name for name, column in VALUES.items() if column.feature == FLOAT)
FLAGS = tuple(name for name, column in VALUES.items() if column.feature == INT)


def schema_of(
    format: str = "jpg",
    size: int = SIZE,
    margin: float = MARGIN,
    hips: str = HIPS,
    further: Sequence[tuple[str, Column]] = (),
) -> Schema:
    """Build the schema for images of a format ("jpg" or "fits"), size (pixels), margin and survey, and for further
    columns of the catalogue by name."""
    survey = "" if hips == HIPS else f" from {hips}"
    colour = f"colour cutout of {size} x {size} pixels{survey}, north up, east left: the JPEG's bytes as downloaded"
    band = "cutout in the units of the survey, row 0 in the south, column 0 in the east"
    image = (
        Column(Array2D((size, size), "float32"), band, deflate=False) if format == "fits" else Column(Image(), colour)
    )
    scale = f"angular extent of a pixel: {2 * (1 + margin):g} petroR90_r / {size}"
    return Schema(
        columns={
            "object_id": Column(Value("string"), "SDSS DR7 objID (ZooSpec's dr7objid)"),
            "objid": Column(Value("int64"), "SDSS DR8 objID; names the image in the TAR archives"),
            "specobjid": Column(Value("int64"), "SDSS DR8 specObjID", missing=0),
            "ra": Column(Value("float64"), "right ascension (ICRS) of the cutout's centre", "deg"),
            "dec": Column(Value("float64"), "declination (ICRS) of the cutout's centre", "deg"),
            "image": image,
            "scale": Column(Value("float64"), scale, "deg"),
            "label": Column(ClassLabel(names=list(LABELS)), "the larger of the two votes"),
            **VALUES,
            **dict(further),
            "source": Column(Value("string"), "name of the image in the TAR archives"),
        },
        configs={"images": ("object_id", "image", "label")},
    )


SCHEMA = schema_of()


class GZSDSS(ShardBuilder):
    """Galaxy Zoo labels with SDSS cutouts."""

    schema = SCHEMA
