"""Galaxy Zoo DECaLS: images of ring and other galaxies, and volunteers' votes."""

from typing import TYPE_CHECKING

from skyshards.read.registration import importing, register_when_needed

if TYPE_CHECKING:
    from gz_decals.gz_decals import SCHEMA, GZDecals

__all__ = ["GZDecals", "SCHEMA"]

__getattr__ = importing(
    __name__,
    {
        "GZDecals": "gz_decals",
        "SCHEMA": "gz_decals",
    },
)

register_when_needed("gz_decals", "gz_decals.gz_decals")
