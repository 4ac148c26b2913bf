"""Galaxy Zoo DECaLS: images of ring and other galaxies, volunteers' votes, and learnt representations."""

from gz_decals.gz_decals import SCHEMA, GZDecals
from skyshards.read.hf_names import register

register("gz_decals", "gz_decals.gz_decals")

__all__ = ["GZDecals", "SCHEMA"]
