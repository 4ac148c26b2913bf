"""Galaxy Zoo 3D: masks of bars, spiral arms, centres and foreground stars, drawn by volunteers on MaNGA galaxies."""

from gz3d.gz3d import CLASSES, GZ3D, SCHEMA
from skyshards.read.hf_names import register

register("gz3d", "gz3d.gz3d")

__all__ = ["CLASSES", "GZ3D", "SCHEMA"]
