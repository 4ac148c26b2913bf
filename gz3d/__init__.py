"""Galaxy Zoo 3D: masks of bars, spiral arms, centres and foreground stars, drawn by volunteers on MaNGA galaxies."""

from typing import TYPE_CHECKING

from skyshards.read.registration import importing, register_when_needed

if TYPE_CHECKING:
    from gz3d.gz3d import CLASSES, GZ3D, SCHEMA

__all__ = ["CLASSES", "GZ3D", "SCHEMA"]

__getattr__ = importing(
    __name__,
    {
        "CLASSES": "gz3d",
        "GZ3D": "gz3d",
        "SCHEMA": "gz3d",
    },
)

register_when_needed("gz3d", "gz3d.gz3d")
