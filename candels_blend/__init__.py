"""Blended pairs of HST CANDELS galaxies: training data for deblending, in shards, in files, or on the fly."""

from candels_blend.blends import Blends
from candels_blend.candels_blend import SCHEMA, CandelsBlend
from skyshards.read.hf_names import register

register("candels_blend", "candels_blend.candels_blend")

__all__ = ["SCHEMA", "Blends", "CandelsBlend"]
