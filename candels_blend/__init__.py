"""Blended pairs of HST CANDELS galaxies: training data for deblending, in shards, in files, or on the fly."""

from typing import TYPE_CHECKING

from skyshards.read.registration import importing, register_when_needed

if TYPE_CHECKING:
    from candels_blend.blends import Blends
    from candels_blend.candels_blend import SCHEMA, CandelsBlend

__all__ = ["Blends", "CandelsBlend", "SCHEMA"]

__getattr__ = importing(
    __name__,
    {
        "Blends": "blends",
        "CandelsBlend": "candels_blend",
        "SCHEMA": "candels_blend",
    },
)

register_when_needed("candels_blend", "candels_blend.candels_blend")
