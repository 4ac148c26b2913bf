"""candels_blend: its columns, and the `datasets` builder that reads them."""

from __future__ import annotations

from functools import cache

import datasets

from candels_blend.stamp_archive import SIZE
from candels_blend.targets import CHANNELS, METHODS
from skyshards.format.schema import Column, Schema
from skyshards.read.hf_builder import ShardBuilder

NUMBER, TEXT = datasets.Value("float64"), datasets.Value("string")


def _pair(value: datasets.Value) -> datasets.Sequence:
    return datasets.Sequence(value, length=2)


COLUMNS = {
    "image": Column(
        datasets.Array2D((SIZE, SIZE), "float32"), "the two galaxies and their noise, blended", deflate=False
    ),
    "masks": Column(
        datasets.Array3D((2, SIZE, SIZE), "uint8"), "1 in the pixels of the central galaxy; of the shifted galaxy"
    ),
    "flux": Column(_pair(NUMBER), "flux of each galaxy: 10 ** (-0.4 (mag - zeropoint)), 1 at the zero point"),
    "mag": Column(_pair(NUMBER), "magnitude of each galaxy, HST F160W", "mag"),
    "radius": Column(_pair(NUMBER), "radius of each galaxy", "pix"),
    "z": Column(_pair(NUMBER), "redshift of each galaxy; NaN where the catalogue has none"),
    "galtype": Column(
        _pair(TEXT),
        "type of each galaxy: disk, sph (spheroid), sphd (disk and spheroid), irr (irregular); may be empty",
    ),
    "galaxy_id": Column(_pair(datasets.Value("int64")), "ID of each galaxy in the archive's catalogue"),
    "shift": Column(_pair(datasets.Value("int16")), "shift of the second galaxy as (dy, dx): rows, columns", "pix"),
    "distance": Column(NUMBER, "length of the shift", "pix"),
    "object_id": Column(TEXT, "seed, split and number of the blend"),
    "ra": Column(datasets.Value("float64"), "right ascension (J2000) of the central galaxy", "deg"),
    "dec": Column(datasets.Value("float64"), "declination (J2000) of the central galaxy", "deg"),
    "healpix": Column(datasets.Value("int64"), "HEALPix pixel of the central galaxy, NESTED"),
    "fold": Column(
        datasets.Value("int8"), "part of the sky of both galaxies, 0 to 9; -1 if they have different ones or none"
    ),
    "source": Column(TEXT, "the split that the pair was drawn for"),
}

GALAXIES = Column(
    datasets.Array3D((2, SIZE, SIZE), "float32"), "the two galaxies, which sum to the image", deflate=False
)
TARGETS = {
    "ogg_masks": "overlap, central galaxy, shifted galaxy; channels last",
    "bogg_masks": "background, overlap, central galaxy alone, shifted galaxy alone; channels last",
}


@cache
def schema_of(method: str) -> Schema:
    """Build the schema for a `--method`: beside `masks`, the target made from them."""
    columns = dict(COLUMNS)
    if method == "single_images":
        columns["galaxies"] = GALAXIES
    elif method in TARGETS:
        columns[method] = Column(datasets.Array3D((SIZE, SIZE, CHANNELS[method]), "uint8"), TARGETS[method])
    elif method not in METHODS:
        raise ValueError(f"no method {method!r}; available: {', '.join(METHODS)}")
    targets = tuple(name for name in ("masks", "galaxies", *TARGETS) if name in columns)
    return Schema(columns, configs={"segmentation": ("image", *targets, "object_id")})


SCHEMA = schema_of("gg_masks")


class CandelsBlend(ShardBuilder):
    """Blended pairs of HST CANDELS galaxies, with the mask and flux of each, and the stored target."""

    schema = SCHEMA
