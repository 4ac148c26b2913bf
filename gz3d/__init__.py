"""Galaxy Zoo 3D: masks of bars, spiral arms, centres and foreground stars, drawn by volunteers on MaNGA galaxies."""

from gz3d.gz3d import CLASSES, GZ3D, SCHEMA
from skyshards.read.hf_builder import register

register("gz3d", GZ3D)

__all__ = ["CLASSES", "GZ3D", "SCHEMA"]
