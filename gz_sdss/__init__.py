"""Galaxy Zoo on SDSS: galaxies that volunteers were sure about, spiral or elliptical, each with a colour cutout."""

from typing import TYPE_CHECKING

from skyshards.read.registration import importing, register_when_needed

if TYPE_CHECKING:
    from gz_sdss.gz_sdss import GZSDSS, LABELS, SCHEMA
    from gz_sdss.hips2fits import Hips2Fits_access, download_with_retries, session
    from gz_sdss.tables import safe_to_numeric
    from gz_sdss.tar_files import save_images_to_TAR

__all__ = [
    "GZSDSS",
    "Hips2Fits_access",
    "LABELS",
    "SCHEMA",
    "download_with_retries",
    "safe_to_numeric",
    "save_images_to_TAR",
    "session",
]

__getattr__ = importing(
    __name__,
    {
        "GZSDSS": "gz_sdss",
        "Hips2Fits_access": "hips2fits",
        "LABELS": "gz_sdss",
        "SCHEMA": "gz_sdss",
        "download_with_retries": "hips2fits",
        "safe_to_numeric": "tables",
        "save_images_to_TAR": "tar_files",
        "session": "hips2fits",
    },
)

register_when_needed("gz_sdss", "gz_sdss.gz_sdss")
