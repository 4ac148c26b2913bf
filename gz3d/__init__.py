"""Galaxy Zoo 3D: masks of bars, spiral arms, centres and foreground stars, drawn by volunteers on MaNGA galaxies."""

from typing import TYPE_CHECKING

from skyshards.read.registration import importing, register_when_needed

if TYPE_CHECKING:
    from gz3d.drawings import drawn
    from gz3d.gz3d import CLASSES, GZ3D, SCHEMA
    from gz3d.masks import THRESHOLD, fraction, spaxel_masks, threshold
    from gz3d.sky import wcs

__all__ = ["CLASSES", "GZ3D", "SCHEMA", "THRESHOLD", "drawn", "fraction", "spaxel_masks", "threshold", "wcs"]

__getattr__ = importing(
    __name__,
    {
        "CLASSES": "gz3d",
        "GZ3D": "gz3d",
        "SCHEMA": "gz3d",
        "THRESHOLD": "masks",
        "drawn": "drawings",
        "fraction": "masks",
        "spaxel_masks": "masks",
        "threshold": "masks",
        "wcs": "sky",
    },
)

register_when_needed("gz3d", "gz3d.gz3d")
