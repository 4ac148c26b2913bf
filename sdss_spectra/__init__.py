"""SDSS spectra: optical spectra with redshifts and classes, for the galaxies of any catalogue."""

from typing import TYPE_CHECKING

from skyshards.read.registration import importing, register_when_needed

if TYPE_CHECKING:
    from sdss_spectra.sdss_spectra import CLASSES, SCHEMA, SDSSSpectra

__all__ = ["CLASSES", "SCHEMA", "SDSSSpectra"]

__getattr__ = importing(__name__, dict.fromkeys(__all__, "sdss_spectra"))

register_when_needed("sdss_spectra", "sdss_spectra.sdss_spectra")
