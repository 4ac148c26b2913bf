"""Galaxy Zoo DECaLS: its columns, and the `datasets` builder that reads them.

`import gz_decals` registers `load_dataset("gz_decals", data_dir=...)`. The columns depend on the catalogue that a
dataset was built from; the builder reads them from the built folder.
"""

from __future__ import annotations

import functools
import math

from datasets import Image, Value

from skyshards.format.schema import Column, Schema
from skyshards.read.hf_builder import ShardBuilder

BASIC = (
    ("ring", "int64"),
    ("smooth-or-featured_featured-or-disk_fraction", "float64"),
    ("disk-edge-on_no_fraction", "float64"),
    ("has-spiral-arms_no_fraction", "float64"),
)
"""Columns of the basic ring catalogue."""

_KNOWN = {
    "ring": ("1 if a volunteer tagged it as a ring on the Galaxy Zoo forum, 0 if none did", ""),
    "redshift": ("heliocentric redshift (NASA-Sloan Atlas)", ""),
    "petro_theta": ("Petrosian radius in r (NASA-Sloan Atlas)", "arcsec"),
    "petro_th50": ("radius of half the Petrosian flux in r (NASA-Sloan Atlas)", "arcsec"),
    "petro_th90": ("radius of 90 % of the Petrosian flux in r (NASA-Sloan Atlas)", "arcsec"),
    "elpetro_absmag_r": ("absolute magnitude in r from elliptical Petrosian fluxes (NASA-Sloan Atlas)", "mag"),
    "sersic_nmgy_r": ("Sersic flux in r, in nanomaggies of 3.631 uJy (NASA-Sloan Atlas)", "3.631e-06Jy"),
    "mag_r": ("22.5 - 2.5 log10(sersic_nmgy_r)", "mag"),
    "wrong_size_statistic": ("mean distance of all bright pixels from the centre", "pix"),
    "wrong_size_warning": ("true if wrong_size_statistic is over 161: the image shows too wide a field", ""),
}


def published_column(name: str, dtype: str) -> Column:
    """Column of a published table under its own name, such as `{question}_{answer}`."""
    missing = {"string": "", "float32": math.nan, "float64": math.nan}.get(dtype)  # others have no gaps
    if name in _KNOWN:
        return Column(Value(dtype), *_KNOWN[name], missing=missing)
    question, _, answer = name.partition("_")
    if answer in ("total", "total-votes"):
        words = f"number of answers to the question {question!r}"
    elif answer == "proportion_volunteers_asked":
        words = f"estimated share of volunteers who would be asked the question {question!r}"
    elif answer.endswith("_fraction"):
        words = f"share of the answers to {question!r} that are {answer.removesuffix('_fraction')!r}"
    elif answer.endswith("_debiased"):
        words = f"the share of {answer.removesuffix('_debiased')!r} to {question!r}, as it would be at a lower redshift"
    elif answer and dtype == "int64":
        words = f"number of answers {answer!r} to the question {question!r}"
    else:
        words = "as published"
    return Column(Value(dtype), words, missing=missing)


@functools.lru_cache(16)
def schema(values: tuple[tuple[str, str], ...]) -> Schema:
    """Build the schema with these published columns (name, dtype)."""
    columns = {
        "object_id": Column(Value("string"), "the galaxy's name in the catalogue"),
        "iauname": Column(Value("string"), "name from the position, such as J000411.19+020924.0"),
        "ra": Column(
            Value("float64"), "right ascension (ICRS), the catalogue's, or the name's where it has none", "deg"
        ),
        "dec": Column(Value("float64"), "declination (ICRS), the catalogue's, or the name's where it has none", "deg"),
        "image": Column(
            Image(), "grz colour image in RGB: the file's own bytes, or a PNG where it was resampled or not RGB"
        ),
        "image_file": Column(Value("string"), "path of the file that the image is, below its folder or in its archive"),
        "scale": Column(Value("float64"), "angular extent of a pixel of the stored image", "deg", missing=math.nan),
        **{name: published_column(name, dtype) for name, dtype in values},
        "source": Column(Value("string"), "file or archive's member that the image was read from"),
    }
    return Schema(columns, {"images": ("object_id", "ra", "dec", "healpix", "image", "scale")})


SCHEMA = schema(BASIC)
"""Schema with the basic ring catalogue."""

FIXED = frozenset(SCHEMA.specs) - {name for name, _ in BASIC}
"""Columns that do not come from a catalogue."""


class GZDecals(ShardBuilder):
    """Galaxy Zoo DECaLS: images and votes."""

    schema = SCHEMA
