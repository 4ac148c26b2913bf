"""Galaxy10 DECaLS: its columns, and the `datasets` builder that reads them.

`import galaxy10` registers `load_dataset("galaxy10", data_dir=...)`.
"""

import math

from datasets import Array3D, ClassLabel, Value

from skyshards import Column, Schema
from skyshards.read.hf_builder import ShardBuilder

SIZE = 256
"""Height and width of the images, pixels."""

CLASSES = (
    "Disturbed", "Merging", "Round Smooth", "In-between Round Smooth", "Cigar Shaped Smooth", "Barred Spiral",
    "Unbarred Tight Spiral", "Unbarred Loose Spiral", "Edge-on without Bulge", "Edge-on with Bulge",
)  # fmt: skip
"""Names of the classes, in the order of their numbers (https://astronn.readthedocs.io/en/latest/galaxy10.html)."""

SCHEMA = Schema(
    {
        "object_id": Column(Value("string"), "row of the galaxy in the published file, from 0"),
        "image": Column(Array3D((SIZE, SIZE, 3), "uint8"), "grz colour image, in RGB"),
        "label": Column(ClassLabel(names=list(CLASSES)), "class of shape, from the volunteers' votes"),
        "scale": Column(Value("float64"), "angular extent of a pixel", "deg"),
        "redshift": Column(Value("float64"), "redshift", missing=math.nan),
    }
)


class Galaxy10(ShardBuilder):
    """Galaxy10 DECaLS: images in ten classes."""

    schema = SCHEMA
