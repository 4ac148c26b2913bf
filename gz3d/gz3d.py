"""Galaxy Zoo 3D: its columns, and the `datasets` builder that reads them.

`import gz3d` registers `load_dataset("gz3d", data_dir=...)`. Under `datasets` 3 this file is also a loading script.
"""

import math
from dataclasses import dataclass

from datasets import Array3D, Sequence, Value

from skyshards.format.schema import Column, Schema
from skyshards.read.hf_builder import ShardBuilder, ShardConfig

SIZE = 525
"""Height and width of the images and masks, in pixels."""

CLASSES = ("center", "star", "spiral", "bar")
"""Classes of the four masks, in the order of HDUs 1 to 4 of a GZ3D file."""

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
        "total_classifications": Column(Value("int16"), "Galaxy Zoo 2 classifications", missing=-1),
        "gz_bar_votes": Column(Value("int16"), "Galaxy Zoo 2 votes for a bar", missing=-1),
        "gz_spiral_votes": Column(Value("int16"), "Galaxy Zoo 2 votes for spiral arms", missing=-1),
        "iauname": Column(Value("string"), "name from the position, such as J075832.40+391634.3"),
        "nsa_id": Column(Value("int64"), "number in the NASA-Sloan Atlas", missing=-1),
        "ifudesignsize": Column(Value("float64"), "fibres of the MaNGA IFU", missing=math.nan),
        "manga_tileid": Column(Value("float64"), "MaNGA tile", missing=math.nan),
        "sample": Column(Value("string"), "part of the MaNGA target selection", missing=""),
        "subject_id": Column(Value("int64"), "Zooniverse subject, from the file's name"),
        "source": Column(Value("string"), "name of the FITS file that the row was read from"),
    },
    configs={"images": ("object_id", "ra", "dec", "healpix", "image", "scale", "total_classifications", "gz_bar_votes",
                        "gz_spiral_votes")},
)  # fmt: skip


@dataclass
class GZ3DConfig(ShardConfig):
    """Common options, and `vote_fraction_cut`: the minimum bar or spiral vote fraction (0 keeps all)."""

    vote_fraction_cut: float = 0.0


class GZ3D(ShardBuilder):
    """Galaxy Zoo 3D masks of MaNGA galaxies."""

    BUILDER_CONFIG_CLASS = GZ3DConfig
    schema = SCHEMA

    def select(self, table):
        table = super().select(table)
        if self.config.vote_fraction_cut <= 0:
            return table
        fractions = table.select_columns(["segmentation.vote_fraction"])[:]["segmentation"]["vote_fraction"]
        return table.select(fractions.max(axis=1, initial=-1) >= self.config.vote_fraction_cut)
