"""Galaxy Zoo 3D: its columns, and the `datasets` builder that reads them.

`import gz3d` registers `load_dataset("gz3d", data_dir=...)`. Under `datasets` 3 this file is also a loading script.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from datasets import Array3D, Sequence, Value

from gz3d.sky import SIZE
from skyshards.format.schema import Column, Schema
from skyshards.read.hf_builder import ShardBuilder, ShardConfig

CLASSES = ("center", "star", "spiral", "bar")
"""Classes of the four masks, in the order of HDUs 1 to 4 of a GZ3D file."""

TASKS = {"center_star": 8, "spiral": 9, "bar": 10}
"""What volunteers were asked to mark, and the HDU with their drawings. For each task, others saw the picture."""

_INTEGERS, _FLOATS = Sequence(Value("int32")), Sequence(Value("float64"))


def _clusters(of: str) -> dict[str, Column]:
    """Declare the columns of HDU 6 or 7: a value per cluster of points, in the order of the file."""
    return {
        "x": Column(_FLOATS, f"{of}: mean column of the points, from the image's left edge", "pix"),
        "y": Column(_FLOATS, f"{of}: mean row of the points, from the image's upper edge", "pix"),
        "var_x": Column(_FLOATS, f"{of}: variance of x", "pix2"),
        "var_y": Column(_FLOATS, f"{of}: variance of y", "pix2"),
        "var_x_y": Column(_FLOATS, f"{of}: covariance of x and y", "pix2"),
        "ra": Column(_FLOATS, f"{of}: mean right ascension (ICRS)", "deg"),
        "dec": Column(_FLOATS, f"{of}: mean declination (ICRS)", "deg"),
        "var_ra": Column(_FLOATS, f"{of}: variance of ra, of coordinate degrees", "deg2"),
        "var_dec": Column(_FLOATS, f"{of}: variance of dec", "deg2"),
        "var_ra_dec": Column(_FLOATS, f"{of}: covariance of ra and dec", "deg2"),
        "count": Column(_INTEGERS, f"{of}: number of points"),
    }


def _points(of: str) -> dict[str, Column]:
    return {
        "x": Column(_FLOATS, f"{of}: column of each point", "pix"),
        "y": Column(_FLOATS, f"{of}: row of each point", "pix"),
        "volunteer": Column(_INTEGERS, f"{of}: who marked each point, as a place in classification_id.center_star"),
    }


def _paths(of: str, task: str) -> dict[str, Column]:
    return {
        "x": Column(_FLOATS, f"{of}: columns of the corners, path by path", "pix"),
        "y": Column(_FLOATS, f"{of}: rows of the corners, path by path", "pix"),
        "corners": Column(_INTEGERS, f"{of}: number of corners of each path"),
        "volunteer": Column(_INTEGERS, f"{of}: who drew each path, as a place in classification_id.{task}"),
    }


POLYGONS = {
    "classification_id": {
        task: Column(Sequence(Value("int64")), f"Zooniverse classification of each volunteer, HDU {hdu}")
        for task, hdu in TASKS.items()
    },
    "center_points": _points("points on centres"),
    "star_points": _points("points on stars"),
    "spiral_paths": _paths("outlines of spiral arms", "spiral"),
    "bar_paths": _paths("outlines of bars", "bar"),
}
"""Columns that `--polygons` adds: all that the volunteers drew; `gz3d.drawn` unpacks it."""

SCHEMA = Schema(
    columns={
        "object_id": Column(Value("string"), "MaNGA ID: names a galaxy, which may have been observed more than once"),
        "ra": Column(Value("float64"), "right ascension (ICRS) of the image's centre; a float32 in the source", "deg"),
        "dec": Column(Value("float64"), "declination (ICRS) of the image's centre; a float32 in the source", "deg"),
        "image": Column(
            Array3D((SIZE, SIZE, 3), "uint8"),
            "gri colour image as volunteers saw it, with the magenta hexagon of the IFU; RGB, north up, east left",
        ),
        "scale": Column(Value("float64"), "angular extent of a pixel, from the WCS of HDU 1", "deg"),
        "segmentation": {
            "class": Column(Sequence(Value("string"), length=4), "what each mask marks: center, star, spiral, bar"),
            "vote_fraction": Column(
                Sequence(Value("float64"), length=4),
                "share of the volunteers who saw a spiral, a bar; -0.5 where unknown; -1 for center and star",
            ),
            "array": Column(
                Array3D((4, SIZE, SIZE), "uint8"),
                "spiral, bar: polygons drawn over each pixel; center, star: points marked in the cluster there",
            ),
        },
        "volunteers": {
            task: Column(Value("int16"), f"volunteers who did the task, also those who drew nothing (HDU {hdu})")
            for task, hdu in TASKS.items()
        },
        "drew": {
            task: Column(Value("int16"), f"volunteers who drew something in the task (HDU {hdu})")
            for task, hdu in TASKS.items()
        },
        "center_clusters": _clusters("clusters of points on centres"),
        "star_clusters": _clusters("clusters of points on stars"),
        "total_classifications": Column(Value("int16"), "Galaxy Zoo 2 classifications", missing=-1),
        "gz_bar_votes": Column(Value("int16"), "Galaxy Zoo 2 votes for a bar", missing=-1),
        "gz_spiral_votes": Column(Value("int16"), "Galaxy Zoo 2 votes for spiral arms", missing=-1),
        "iauname": Column(Value("string"), "name from the position, such as J075832.40+391634.3"),
        "nsa_id": Column(Value("int64"), "number in the NASA-Sloan Atlas", missing=-1),
        "plateifu": Column(
            Value("string"), "MaNGA's observation, such as 8485-1901, from --drpall; blanks between several", missing=""
        ),
        "ifudesignsize": Column(Value("float64"), "fibres of the MaNGA IFU", missing=math.nan),
        "hexagon": {
            "x": Column(
                Sequence(Value("float64"), length=6), "columns of the IFU's corners, from the western by south", "pix"
            ),
            "y": Column(Sequence(Value("float64"), length=6), "rows of the IFU's corners", "pix"),
        },
        "manga_tileid": Column(Value("float64"), "MaNGA tile", missing=math.nan),
        "sample": Column(Value("string"), "part of the MaNGA target selection", missing=""),
        "explorer_link": {
            "url": Column(Value("string"), "page of SDSS's Navigate tool, without the position", missing=""),
            "ra": Column(Value("float64"), "right ascension in the link", "deg", missing=math.nan),
            "dec": Column(Value("float64"), "declination in the link", "deg", missing=math.nan),
        },
        "subject_id": Column(Value("int64"), "Zooniverse subject, from the file's name"),
        "source": Column(Value("string"), "name of the FITS file that the row was read from"),
    },
    configs={"images": ("object_id", "ra", "dec", "healpix", "image", "scale", "total_classifications", "gz_bar_votes",
                        "gz_spiral_votes")},
)  # fmt: skip


@functools.cache
def schema_of(polygons: bool) -> Schema:
    """Return the schema, with or without the columns of `POLYGONS`."""
    return Schema({**SCHEMA.columns, **POLYGONS}, SCHEMA.configs) if polygons else SCHEMA


def passes(
    fractions: np.ndarray, vote_fraction_cut: float = 0.0, bars_only: float = 0.0, spirals_only: float = 0.0
) -> np.ndarray:
    """Tell which galaxies meet all cuts on their vote fractions (`[..., 4]`, in the order of `CLASSES`).

    A cut of 0 keeps all galaxies, also unclassified ones, whose fractions are negative.
    """
    spiral, bar = fractions[..., CLASSES.index("spiral")], fractions[..., CLASSES.index("bar")]
    cuts = ((np.maximum(spiral, bar), vote_fraction_cut), (bar, bars_only), (spiral, spirals_only))
    return np.logical_and.reduce([(values >= cut) | (cut <= 0) for values, cut in cuts])


@dataclass
class GZ3DConfig(ShardConfig):
    """Common options, and minimum vote fractions (0 keeps all).

    Parameters
    ----------
    vote_fraction_cut : float
        Minimum of the larger one of the bar and spiral vote fractions.
    bars_only, spirals_only : float
        Minimum bar or spiral vote fraction.
    """

    vote_fraction_cut: float = 0.0
    bars_only: float = 0.0
    spirals_only: float = 0.0

    @property
    def cuts(self) -> tuple[float, float, float]:
        return self.vote_fraction_cut, self.bars_only, self.spirals_only


class GZ3D(ShardBuilder):
    """Galaxy Zoo 3D masks of MaNGA galaxies."""

    BUILDER_CONFIG_CLASS = GZ3DConfig
    schema = SCHEMA

    def select(self, table):
        table = super().select(table)
        if max(self.config.cuts) <= 0:
            return table
        fractions = table.select_columns(["segmentation.vote_fraction"])[:]["segmentation"]["vote_fraction"]
        return table.select(passes(fractions, *self.config.cuts))
