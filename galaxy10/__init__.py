"""Galaxy10 DECaLS: colour images of galaxies of the DESI Legacy Imaging Surveys in ten classes of shape."""

from typing import TYPE_CHECKING

from skyshards.read.registration import importing, register_when_needed

if TYPE_CHECKING:
    from galaxy10.galaxy10 import CLASSES, SCHEMA, Galaxy10

__all__ = ["CLASSES", "Galaxy10", "SCHEMA"]

__getattr__ = importing(__name__, dict.fromkeys(__all__, "galaxy10"))

register_when_needed("galaxy10", "galaxy10.galaxy10")
