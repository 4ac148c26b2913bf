"""candels_blend: its columns, and the `datasets` builder that reads them."""

from __future__ import annotations

from functools import cache

import datasets

from candels_blend.stamp_archive import SIZE
from candels_blend.targets import METHODS, channels
from skyshards.errors import UsageError
from skyshards.format.schema import Column, Schema
from skyshards.read.hf_builder import ShardBuilder

NUMBER, TEXT = datasets.Value("float64"), datasets.Value("string")


def _columns(n_galaxies: int) -> dict[str, Column]:
    """Make the columns of all methods. For two galaxies, their words are in the shards of earlier versions."""
    two = n_galaxies == 2

    def each(value: datasets.Value) -> datasets.Sequence:
        return datasets.Sequence(value, length=n_galaxies)

    return {
        "image": Column(
            datasets.Array2D((SIZE, SIZE), "float32"),
            f"the {'two ' if two else ''}galaxies and their noise, blended",
            deflate=False,
        ),
        "masks": Column(
            datasets.Array3D((n_galaxies, SIZE, SIZE), "uint8"),
            f"1 in the pixels of the central galaxy; of {'the' if two else 'each'} shifted galaxy",
        ),
        "flux": Column(each(NUMBER), "flux of each galaxy: 10 ** (-0.4 (mag - zeropoint)), 1 at the zero point"),
        "mag": Column(each(NUMBER), "magnitude of each galaxy, HST F160W", "mag"),
        "radius": Column(each(NUMBER), "radius of each galaxy", "pix"),
        "z": Column(each(NUMBER), "redshift of each galaxy; NaN where the catalogue has none"),
        "galtype": Column(
            each(TEXT),
            "type of each galaxy: disk, sph (spheroid), sphd (disk and spheroid), irr (irregular); may be empty",
        ),
        "galaxy_id": Column(each(datasets.Value("int64")), "ID of each galaxy in the archive's catalogue"),
        "shift": Column(
            datasets.Sequence(datasets.Value("int16"), length=2 * (n_galaxies - 1)),
            f"shift of the second galaxy as (dy, dx): rows, columns{'' if two else '; then those of the others'}",
            "pix",
        ),
        "distance": Column(
            NUMBER if two else datasets.Sequence(NUMBER, length=n_galaxies - 1),
            "length of the shift" if two else "length of each shift",
            "pix",
        ),
        "object_id": Column(TEXT, "seed, split and number of the blend"),
        "ra": Column(NUMBER, "right ascension (J2000) of the central galaxy", "deg"),
        "dec": Column(NUMBER, "declination (J2000) of the central galaxy", "deg"),
        "healpix": Column(datasets.Value("int64"), "HEALPix pixel of the central galaxy, NESTED"),
        "fold": Column(
            datasets.Value("int8"),
            f"part of the sky of {'both' if two else 'all'} galaxies, 0 to 9; -1 if they have different ones or none",
        ),
        "source": Column(TEXT, f"the split that the {'pair' if two else 'blend'} was drawn for"),
    }


def _target(method: str, n_galaxies: int) -> Column:
    two = n_galaxies == 2
    if method == "single_images":
        words = f"the {'two ' if two else ''}galaxies, which sum to the image"
        return Column(datasets.Array3D((n_galaxies, SIZE, SIZE), "float32"), words, deflate=False)
    words = {
        "ogg_masks": "overlap, central galaxy, " + ("shifted galaxy" if two else "shifted galaxies"),
        "bogg_masks": "background, overlap, central galaxy alone, "
        + ("shifted galaxy alone" if two else "shifted galaxies alone"),
    }[method]
    shape = (SIZE, SIZE, channels(method, n_galaxies))
    return Column(datasets.Array3D(shape, "uint8"), f"{words}; channels last")


@cache
def schema_of(method: str, n_galaxies: int = 2) -> Schema:
    """Build the schema for a `--method` and number of galaxies: beside `masks`, the target made from them."""
    if method not in METHODS:
        raise UsageError(f"method: expected one of {', '.join(METHODS)}, found {method!r}")
    columns, targets = _columns(n_galaxies), ["masks"]
    if method != "gg_masks":
        targets.append("galaxies" if method == "single_images" else method)
        columns[targets[-1]] = _target(method, n_galaxies)
    return Schema(columns, configs={"segmentation": ("image", *targets, "object_id")})


SCHEMA = schema_of("gg_masks")


class CandelsBlend(ShardBuilder):
    """Blended HST CANDELS galaxies, with the mask and flux of each, and the stored target."""

    schema = SCHEMA
